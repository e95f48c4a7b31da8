//! `cargo xtask fuzz NAME [--seconds N]`: one fuzz target for a bounded time.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::{step, tools};

const SECONDS: u64 = 60;
/// Inputs beyond this teach nothing new about a parser, and slow the fuzzer.
const MAX_INPUT_BYTES: u64 = 64 * 1024;

pub fn run(arguments: &[String]) -> Result<()> {
    let targets = targets()?;
    let names = || targets.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
    let Some((name, rest)) = arguments.split_first() else { bail!("which target? there are: {}", names()) };
    let seconds = match rest {
        [] => SECONDS,
        [flag, value] if flag == "--seconds" => value.parse().context("--seconds takes a whole number")?,
        _ => bail!("usage: cargo xtask fuzz NAME [--seconds N]"),
    };
    let Some((_, folder)) = targets.iter().find(|(known, _)| known == name) else {
        bail!("no fuzz target {name:?}; there are: {}", names());
    };
    if !tools::has_cargo("fuzz") {
        bail!("this recipe needs cargo-fuzz and a nightly toolchain: `cargo install --locked cargo-fuzz`");
    }
    // `cargo +nightly` needs the rustup proxy, not the toolchain's own cargo that started us.
    let mut command = std::process::Command::new("rustup");
    command.args(["run", "nightly", "cargo", "fuzz", "run", "--fuzz-dir"]).arg(folder).arg(name).arg("--");
    command.arg(format!("-max_total_time={seconds}")).arg(format!("-max_len={MAX_INPUT_BYTES}"));
    // The toolchain that built this recipe must not leak into the one that fuzzes.
    command.env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO").env_remove("RUSTC").current_dir(step::root());
    step::run(&format!("fuzz {name} for {seconds} s"), &mut command)
}

/// Targets of the workspace with the fuzz crate that holds each: `fuzz/` or `CRATE/fuzz/`.
fn targets() -> Result<Vec<(String, PathBuf)>> {
    let mut targets = Vec::new();
    let mut look = |crate_folder: &Path| -> Result<()> {
        let fuzz = crate_folder.join("fuzz");
        let Ok(entries) = fs::read_dir(fuzz.join("fuzz_targets")) else { return Ok(()) };
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "rs")
                && let Some(name) = path.file_stem().and_then(|stem| stem.to_str())
            {
                targets.push((name.to_owned(), fuzz.clone()));
            }
        }
        Ok(())
    };
    look(&step::root())?;
    for entry in fs::read_dir(step::root())? {
        let path = entry?.path();
        if path.join("Cargo.toml").exists() {
            look(&path)?;
        }
    }
    targets.sort();
    Ok(targets)
}
