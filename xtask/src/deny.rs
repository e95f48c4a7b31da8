//! `cargo xtask deny`: what deny.toml says about the lock file.

use anyhow::{Result, bail};

use crate::{step, tools};

/// Runs cargo-deny; arguments go to `cargo deny check`, such as `licenses bans sources` where no network is at hand.
pub fn run(arguments: &[String]) -> Result<()> {
    if !tools::has_cargo("deny") {
        bail!("this recipe needs cargo-deny: `cargo install --locked cargo-deny`");
    }
    let mut command = step::cargo(&["deny", "check"]);
    step::run("deny", command.args(arguments))
}
