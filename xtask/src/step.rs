//! Running one command as a named step: what it is, what it prints, how long it took.
//!
//! Deliberately absent: parallel steps. Cargo already uses every core.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

/// The root of the workspace.
pub fn root() -> PathBuf {
    let mut path = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    path.pop();
    path
}

/// The folder that holds the built programs of `profile` (`debug` or `release`).
pub fn built(profile: &str) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    target.join(profile)
}

/// The cargo that started us.
pub fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root());
    command
}

/// Runs `command` with its output shown; an exit other than 0 is an error.
pub fn run(title: &str, command: &mut Command) -> Result<()> {
    lines(title, command, |_| {})
}

/// Like [`run`], and hands each line of its standard output to `line` as well.
pub fn lines(title: &str, command: &mut Command, mut line: impl FnMut(&str)) -> Result<()> {
    println!("== {title}");
    let started = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("failed to start {:?}", command.get_program()))?;
    let output = child.stdout.take().context("no output pipe")?;
    let mut reader = BufReader::new(output);
    let mut bytes = Vec::new();
    // Programs under test may print bytes that are not UTF-8.
    while reader.read_until(b'\n', &mut bytes)? > 0 {
        let text = String::from_utf8_lossy(&bytes);
        print!("{text}");
        std::io::stdout().flush()?;
        line(text.trim_end());
        bytes.clear();
    }
    let status = child.wait()?;
    let seconds = started.elapsed().as_secs_f64();
    if !status.success() {
        println!("-- {title}: failed after {seconds:.1} s");
        bail!("{title}: {status}");
    }
    println!("-- {title}: {seconds:.1} s");
    Ok(())
}
