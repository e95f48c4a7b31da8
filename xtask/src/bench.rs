//! `cargo xtask bench ...`: the measurements behind the figures in README, always of a release build.
//!
//! The measuring itself is the program `inquest-bench` of tests/: a process apart from the server that it loads.

use std::process::Command;

use anyhow::Result;

use crate::step;

pub fn run(arguments: &[String]) -> Result<()> {
    if arguments.first().is_some_and(|name| name == "nab") {
        return nab();
    }
    if arguments.first().is_some_and(|name| name == "agent") {
        return agent(&arguments[1..]);
    }
    step::run(
        "build, release",
        &mut step::cargo(&[
            "build",
            "--locked",
            "--release",
            "--package",
            "server",
            "--package",
            "system-tests",
            "--package",
            "shop",
            "--bin",
            "inquest",
            "--bin",
            "inquest-bench",
            "--bin",
            "shop",
        ]),
    )?;
    let built = step::built("release");
    let mut bench = Command::new(built.join("inquest-bench"));
    bench.args(arguments).env("INQUEST_BIN", built.join("inquest")).current_dir(step::root());
    step::run("bench", &mut bench)
}

/// What the agent costs a server that it watches, which needs neither engine nor server of ours.
fn agent(arguments: &[String]) -> Result<()> {
    let build =
        ["build", "--locked", "--release", "--package", "inquest-agent", "--bins", "--example", "overhead"];
    step::run("build, release", &mut step::cargo(&build))?;
    let mut bench = Command::new(step::built("release").join("examples/overhead"));
    step::run("bench agent", bench.args(arguments).current_dir(step::root()))
}

/// The Numenta benchmark, which needs neither engine nor server.
fn nab() -> Result<()> {
    let data = step::root().join("../shared/data/nab");
    let mut run =
        step::cargo(&["run", "--locked", "--release", "--package", "eval", "--example", "nab", "--"]);
    step::run("bench nab", run.arg(data))
}
