//! The node modules of the browser tests: locked, kept in a cache outside the clone so that all checkouts share them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{step, tools};

/// Lowest major version of Node.js that Playwright runs on.
const NODE_MAJOR: u32 = 20;

/// The folder that holds `node_modules` for the present lock file, filled on first use.
pub fn modules() -> Result<PathBuf> {
    check_node()?;
    let sources = step::root().join("tests/browser");
    let lock = fs::read(sources.join("package-lock.json"))
        .context("failed to read tests/browser/package-lock.json")?;
    let folder = cache()?.join("inquest/node").join(format!("{:016x}", hash(&lock)));
    let done = folder.join("complete");
    if done.exists() {
        return Ok(folder);
    }
    // A folder of its own and a rename: two checkouts may do this at once, and a broken install is never seen as whole.
    let fresh = folder.with_extension(format!("{}", std::process::id()));
    fs::create_dir_all(&fresh).with_context(|| format!("failed to create {}", fresh.display()))?;
    for name in ["package.json", "package-lock.json"] {
        fs::copy(sources.join(name), fresh.join(name)).with_context(|| format!("failed to copy {name}"))?;
    }
    let mut install = Command::new("npm");
    install.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(&fresh);
    step::run("node modules of the browser tests", &mut install)?;
    fs::write(fresh.join("complete"), "")?;
    publish(&fresh, &folder)?;
    Ok(folder)
}

fn publish(fresh: &Path, folder: &Path) -> Result<()> {
    if fs::rename(fresh, folder).is_err() {
        // Somebody else was first, or an earlier try left an incomplete folder.
        if !folder.join("complete").exists() {
            fs::remove_dir_all(folder)?;
            fs::rename(fresh, folder)?;
        } else {
            fs::remove_dir_all(fresh)?;
        }
    }
    Ok(())
}

fn check_node() -> Result<()> {
    let version = tools::answers(Command::new("node").arg("--version"));
    let major = version
        .as_deref()
        .and_then(|text| text.trim().trim_start_matches('v').split('.').next()?.parse::<u32>().ok());
    match major {
        Some(major) if major >= NODE_MAJOR => Ok(()),
        Some(major) => bail!("the browser tests need Node.js {NODE_MAJOR} or newer, and found {major}"),
        None => bail!(
            "the browser tests need Node.js {NODE_MAJOR} or newer with npm ; `cargo xtask test --no-browser` runs the rest"
        ),
    }
}

pub fn cache() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty()) {
        return Ok(PathBuf::from(path));
    }
    let home = std::env::var_os("HOME").context("neither XDG_CACHE_HOME nor HOME is set")?;
    Ok(PathBuf::from(home).join(".cache"))
}

/// FNV-1a, 64 bits: a name for a folder, not a check of what is in it (npm checks that against the lock file).
fn hash(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    #[test]
    fn lock_file_names_no_download_address() {
        let lock = include_str!("../../tests/browser/package-lock.json");
        assert!(
            !lock.contains("resolved"),
            "run `npm install --package-lock-only --omit-lockfile-registry-resolved`"
        );
        assert!(!lock.contains("registry"), "the lock file names a registry");
    }

    #[test]
    fn hash_is_fnv() {
        assert_eq!(super::hash(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(super::hash(b"foobar"), 0x8594_4171_f739_67e8);
    }
}
