//! `cargo xtask recordings [FAULT...]`: our own recordings, made anew from runs of the demo.
//!
//! They are committed and small; a change of the export format, the shop or its faults is the reason to run this.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};

use crate::step;

/// Faults recorded when none is named: one with a change to blame, one in a database, one with no change to blame.
const FAULTS: [&str; 3] = ["n-plus-one", "database-lock", "traffic-surge"];

pub fn run(arguments: &[String]) -> Result<()> {
    step::run(
        "build inquest",
        &mut step::cargo(&["build", "--locked", "--release", "--package", "server", "--bin", "inquest"]),
    )?;
    let faults: Vec<&str> =
        if arguments.is_empty() { FAULTS.to_vec() } else { arguments.iter().map(String::as_str).collect() };
    for fault in faults {
        let folder = step::root().join("eval/recordings").join(format!("shop-{fault}"));
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("failed to remove {}", folder.display()))?;
        }
        let mut demo = Command::new(step::built("release").join("inquest"));
        demo.args(["demo", "--fault", fault, "--exit-after-answer", "--record"])
            .arg(&folder)
            .current_dir(step::root());
        step::run(&format!("record {fault}"), &mut demo)?;
    }
    Ok(())
}
