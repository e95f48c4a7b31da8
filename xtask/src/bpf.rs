//! The agent's kernel side: built where there is a toolchain for it, and checked against what is committed.
//!
//! The stripped object and a checksum of its sources are committed beside the sources, so that building the agent needs no BPF
//! toolchain. Two routes lead to the object: Debian's compiler, which brings `core` for BPF, and a nightly that builds it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::step;

const CRATE: &str = "agent-bpf";
const OBJECT: &str = "agent-bpf.o";
const SUM: &str = "agent-bpf.sum";
const TARGET: &str = "bpfel-unknown-none";
/// Where `bpf-linker` for Debian's LLVM is kept.
const DEBIAN_TOOLS: &str = "/opt/bpf-tools/bin";
/// Newest first. Any of them strips in the same way.
const OBJCOPY: [&str; 6] = [
    "llvm-objcopy",
    "llvm-objcopy-22",
    "llvm-objcopy-19",
    "llvm-objcopy-16",
    "llvm-objcopy-14",
    "rust-objcopy",
];

/// `bpf`: rebuild and keep. `bpf --check`: fail when the sources and the object differ.
pub fn run(arguments: &[String]) -> Result<()> {
    let check = match arguments {
        [] => false,
        [only] if only == "--check" => true,
        _ => bail!("usage: cargo xtask bpf [--check]"),
    };
    let folder = step::root().join(CRATE);
    let sum = checksum(&folder)?;
    if check {
        let kept = std::fs::read_to_string(folder.join(SUM))
            .context("no checksum is committed: run `cargo xtask bpf`")?;
        if kept.lines().next() != Some(sum.as_str()) {
            bail!(
                "{CRATE} has changed since {OBJECT} was built: run `cargo xtask bpf` and commit the object"
            );
        }
        println!("{OBJECT} was built from these sources");
    }
    let Some(route) = Route::find() else {
        if check {
            println!(
                "no whole BPF toolchain here (a nightly needs rust-src and bpf-linker): the object was not built again to compare its bytes"
            );
            return Ok(());
        }
        bail!(
            "no BPF toolchain: install Debian's rustc-web, cargo-web, libstd-rust-web-dev-bpf and bpf-linker, or a nightly \
               with rust-src and bpf-linker"
        );
    };
    let built = build(&folder, route)?;
    if !check {
        std::fs::copy(&built, folder.join(OBJECT))?;
        std::fs::write(folder.join(SUM), format!("{sum}\n{}\n", route.compiler()?))?;
        println!("{OBJECT} is new: commit it with its sources");
        return Ok(());
    }
    let kept = std::fs::read_to_string(folder.join(SUM))?;
    if kept.lines().nth(1) != Some(route.compiler()?.as_str()) {
        println!("{OBJECT} was built by another toolchain, whose bytes differ: not compared");
        return Ok(());
    }
    if std::fs::read(&built)? != std::fs::read(folder.join(OBJECT))? {
        bail!("{OBJECT} is not what these sources build: run `cargo xtask bpf` and commit the object");
    }
    println!("{OBJECT} is, byte for byte, what these sources build");
    Ok(())
}

#[derive(Clone, Copy)]
enum Route {
    Debian,
    Nightly,
}

impl Route {
    fn find() -> Option<Self> {
        let debian = Path::new("/usr/lib/rustlib").join(TARGET).is_dir()
            && Path::new(DEBIAN_TOOLS).join("bpf-linker").is_file();
        if debian {
            return Some(Self::Debian);
        }
        let answers = |program: &str, arguments: &[&str]| {
            Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
        };
        (answers("bpf-linker", &["--version"]) && core_source().is_some()).then_some(Self::Nightly)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Debian => "debian",
            Self::Nightly => "nightly",
        }
    }

    /// The route and its compiler: another one may build other bytes.
    fn compiler(self) -> Result<String> {
        let (program, arguments): (&str, &[&str]) = match self {
            Self::Debian => ("/usr/bin/rustc", &["--version"]),
            Self::Nightly => ("rustc", &["+nightly", "--version"]),
        };
        let output = Command::new(program).args(arguments).output().context(program)?;
        Ok(format!("{} {}", self.name(), String::from_utf8_lossy(&output.stdout).trim()))
    }

    /// A cargo that sees nothing of the one that runs this recipe.
    fn cargo(self) -> Command {
        let mut command = Command::new(match self {
            Self::Debian => "/usr/bin/cargo",
            Self::Nightly => "cargo",
        });
        for (name, _) in std::env::vars() {
            let inner = ["CARGO_HOME", "RUSTUP_HOME"].contains(&name.as_str());
            if !inner
                && ["CARGO", "RUSTC", "RUSTUP", "RUSTFLAGS", "RUSTDOC"]
                    .iter()
                    .any(|start| name.starts_with(start))
            {
                command.env_remove(name);
            }
        }
        match self {
            Self::Debian => {
                command
                    .env("PATH", format!("{DEBIAN_TOOLS}:/usr/bin:/bin"))
                    .env("RUSTC", "/usr/bin/rustc")
                    // Its compiler is a stable one, and the target is not.
                    .env("RUSTC_BOOTSTRAP", "1")
                    .arg("build");
            }
            Self::Nightly => {
                command.args(["+nightly", "build", "-Zbuild-std=core"]);
            }
        }
        command
    }
}

/// Where the nightly toolchain has the source of `core`, which it has to build for the target; none without the toolchain or without its
/// `rust-src`.
fn core_source() -> Option<PathBuf> {
    let output = Command::new("rustc").args(["+nightly", "--print", "sysroot"]).output().ok()?;
    let sysroot = output.status.success().then(|| String::from_utf8(output.stdout).ok())??;
    source_of_core(Path::new(sysroot.trim()))
}

fn source_of_core(sysroot: &Path) -> Option<PathBuf> {
    let source = sysroot.join("lib/rustlib/src/rust/library/core");
    source.join("Cargo.toml").is_file().then_some(source)
}

/// Builds and strips; the path of the result.
fn build(folder: &Path, route: Route) -> Result<PathBuf> {
    let target = step::root().join("target").join("bpf");
    let mut command = route.cargo();
    command.args(["--release", "--locked", "--target-dir"]).arg(&target).current_dir(folder);
    command.arg("--config").arg(format!("target.{TARGET}.rustflags={:?}", remapped(folder)?));
    step::run(&format!("build {CRATE} ({})", route.name()), &mut command)?;
    let stripped = target.join(OBJECT);
    std::fs::copy(target.join(TARGET).join("release").join(CRATE), &stripped).context("nothing was built")?;
    // Debug information names folders of this machine. What the kernel needs stays.
    for program in OBJCOPY {
        match Command::new(program).arg("--strip-debug").arg(&stripped).status() {
            Ok(status) if status.success() => return Ok(stripped),
            Ok(status) => bail!("{program}: {status}"),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).context(program),
        }
    }
    bail!("none of {OBJCOPY:?} is installed")
}

/// Line information names source files: without their folders, so that every checkout builds the same bytes.
fn remapped(folder: &Path) -> Result<Vec<String>> {
    let remap = |from: &Path, to: &str| format!("--remap-path-prefix={}={to}", from.display());
    let mut flags = vec![remap(folder, CRATE)];
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let registries = home.context("neither CARGO_HOME nor HOME is set")?.join("registry").join("src");
    for registry in std::fs::read_dir(registries).into_iter().flatten() {
        flags.push(remap(&registry?.path(), "registry"));
    }
    Ok(flags)
}

/// Of everything that the object is built from: FNV-1a with 64 bits over names and contents, in order of the names. It guards against
/// forgetting, not against malice.
fn checksum(folder: &Path) -> Result<String> {
    let mut files = Vec::new();
    for place in ["Cargo.toml", "Cargo.lock", ".cargo/config.toml", "src", "events"] {
        collect(&folder.join(place), &mut files)?;
    }
    files.sort();
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for path in files {
        let name = path.strip_prefix(folder)?.to_string_lossy().into_owned();
        let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
        for byte in name.bytes().chain([0]).chain(bytes).chain([0]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    let mut text = String::new();
    write!(text, "{hash:016x}")?;
    Ok(text)
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    if path.is_file() {
        files.push(path.to_owned());
        return Ok(());
    }
    for entry in std::fs::read_dir(path).with_context(|| path.display().to_string())? {
        collect(&entry?.path(), files)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_toolchain_without_the_source_of_core_cannot_build() {
        let sysroot = tempfile::tempdir().expect("a folder");
        assert_eq!(source_of_core(sysroot.path()), None);
        let source = sysroot.path().join("lib/rustlib/src/rust/library/core");
        std::fs::create_dir_all(&source).expect("folders");
        std::fs::write(source.join("Cargo.toml"), "").expect("written");
        assert_eq!(source_of_core(sysroot.path()), Some(source));
    }
}
