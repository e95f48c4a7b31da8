//! Programs that recipes need and cargo does not bring: found, installed where that is one safe command, or named in an error.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::step;

/// Where Chromium may be, smallest first.
const CHROMIUM_PATHS: [&str; 4] = [
    "/usr/bin/chromium-headless-shell",
    "/usr/bin/chromium",
    "/usr/bin/chromium-browser",
    "/usr/bin/google-chrome",
];

/// A Chromium to drive: `INQUEST_CHROMIUM`, or an installed one. As root on Debian it is installed when missing.
pub fn chromium() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("INQUEST_CHROMIUM") {
        let path = PathBuf::from(path);
        if path.exists() {
            return Ok(path);
        }
        bail!("INQUEST_CHROMIUM names {}, which does not exist", path.display());
    }
    if let Some(path) = installed_chromium() {
        return Ok(path);
    }
    if can_install() {
        install(&["chromium-headless-shell"])?;
    }
    match installed_chromium() {
        Some(path) => Ok(path),
        None => bail!(
            "the browser tests need Chromium: install Debian's package chromium-headless-shell (or chromium), or name a \
             Chromium in INQUEST_CHROMIUM; `cargo xtask test --no-browser` runs the rest"
        ),
    }
}

fn installed_chromium() -> Option<PathBuf> {
    CHROMIUM_PATHS.iter().map(PathBuf::from).find(|path| path.exists())
}

/// Whether this is Debian's administrator.
pub fn can_install() -> bool {
    answers(Command::new("id").arg("-u")).is_some_and(|id| id.trim() == "0")
        && Path::new("/usr/bin/apt-get").exists()
}

/// Installs packages of Debian, and nothing that they only recommend.
pub fn install(packages: &[&str]) -> Result<()> {
    let apt_get = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    step::run("package lists", &mut apt_get(&["update", "--quiet"]))?;
    let mut install = apt_get(&["install", "--quiet", "--yes", "--no-install-recommends"]);
    step::run(&format!("install {}", packages.join(" ")), install.args(packages))
}

/// Whether `cargo SUBCOMMAND` is installed.
pub fn has_cargo(subcommand: &str) -> bool {
    answers(step::cargo(&[subcommand, "--version"]).stderr(Stdio::null())).is_some()
}

/// What a command prints, if it can be run and succeeds.
pub fn answers(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
