//! The browser tests: the real program, a real incident, a real browser.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::test::Tally;
use crate::{node, step, tools};

/// The pictures in README.
const PICTURES: [&str; 2] = ["incident-light.png", "incident-dark.png"];

/// `cargo xtask browser [--pictures]`; the flag puts new pictures into docs/.
pub fn run(arguments: &[String]) -> Result<()> {
    let renew = match arguments {
        [] => false,
        [flag] if flag == "--pictures" => true,
        _ => bail!("usage: cargo xtask browser [--pictures]"),
    };
    let mut tally = Tally::default();
    let outcome = node::modules().and_then(|modules| test(&modules, &mut tally));
    if renew && outcome.is_ok() {
        for picture in PICTURES {
            let target = step::root().join("docs").join(picture);
            fs::copy(step::built("screenshots").join(picture), &target)
                .with_context(|| format!("failed to write {}", target.display()))?;
        }
    }
    println!("{} passed, {} failed, {} skipped", tally.passed, tally.failed, tally.skipped);
    outcome
}

/// Builds the program, then runs every test of tests/browser against it.
pub fn test(modules: &Path, tally: &mut Tally) -> Result<()> {
    let chromium = tools::chromium()?;
    // As the tests before it have built it: another profile or choice of packages would compile dependencies once more.
    step::run(
        "build inquest",
        &mut step::cargo(&["build", "--locked", "--workspace", "--tests", "--bin", "inquest"]),
    )?;
    let mut command = Command::new("node");
    command
        .args(["--test", "--test-reporter=tap"])
        .args(test_files()?)
        .current_dir(step::root())
        .env("INQUEST_BIN", step::built("debug").join("inquest"))
        .env("INQUEST_NODE_MODULES", modules.join("node_modules"))
        .env("INQUEST_CHROMIUM", chromium)
        .env("INQUEST_SCREENSHOTS", step::built("screenshots"));
    step::lines("browser tests", &mut command, |line| tally.read_node(line))
}

/// `tests/browser/*.test.mjs`, named one by one: what Node does with a folder differs from version to version.
fn test_files() -> Result<Vec<PathBuf>> {
    let folder = step::root().join("tests/browser");
    let mut files = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("failed to read {}", folder.display()))? {
        let path = entry?.path();
        if path.to_str().is_some_and(|path| path.ends_with(".test.mjs")) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
