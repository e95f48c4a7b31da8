//! `cargo xtask test`: everything a change must pass, cheapest check first, closing with one line that counts.

use std::collections::BTreeSet;
use std::time::Instant;

use anyhow::{Result, bail};

use crate::{bpf, browser, node, step};

/// What a test prints that passes because something that it needs is not here (a program, a privilege, recordings), before saying what.
const LACKING: &str = "skipped: ";

/// Tests counted over several runners.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub passed: u64,
    pub failed: u64,
    pub skipped: u64,
}

impl Tally {
    /// Takes in a closing line of `cargo test`, `test result: ok. 3 passed; 0 failed; 1 ignored; ...`; other lines count nothing.
    pub fn read_cargo(&mut self, line: &str) {
        let Some(rest) = line.strip_prefix("test result: ") else { return };
        for part in rest.split([';', '.']) {
            let mut words = part.split_whitespace();
            let (Some(count), Some(what)) = (words.next(), words.next()) else { continue };
            let Ok(count) = count.parse::<u64>() else { continue };
            match what {
                "passed" => self.passed += count,
                "failed" => self.failed += count,
                "ignored" => self.skipped += count,
                _ => {}
            }
        }
    }

    /// Takes in a closing line of Node's runner in TAP form, `# pass 3`; other lines count nothing.
    pub fn read_node(&mut self, line: &str) {
        let mut words = line.split_whitespace();
        let (Some("#"), Some(what), Some(Ok(count))) =
            (words.next(), words.next(), words.next().map(str::parse::<u64>))
        else {
            return;
        };
        match what {
            "pass" => self.passed += count,
            "fail" | "cancelled" => self.failed += count,
            "skipped" | "todo" => self.skipped += count,
            _ => {}
        }
    }
}

/// Runs every step, even after one has failed, so that one run shows all there is to mend.
pub fn run(arguments: &[String]) -> Result<()> {
    let mut with_browser = true;
    for argument in arguments {
        match argument.as_str() {
            "--no-browser" => with_browser = false,
            other => bail!("unknown argument {other:?}; `cargo xtask test` knows --no-browser"),
        }
    }
    let started = Instant::now();
    let mut tally = Tally::default();
    let mut failures = Vec::new();
    let mut lacking = BTreeSet::new();
    let mut note = |outcome: Result<()>| {
        if let Err(error) = outcome {
            failures.push(format!("{error:#}"));
        }
    };

    note(step::run("format", &mut step::cargo(&["fmt", "--all", "--check"])));
    note(step::run(
        "clippy",
        &mut step::cargo(&["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"]),
    ));
    note(step::lines(
        "cargo test",
        // With what passing tests print: what they lacked is told at the end.
        &mut step::cargo(&["test", "--locked", "--workspace", "--no-fail-fast", "--", "--show-output"]),
        |line| {
            tally.read_cargo(line);
            lacking.extend(line.strip_prefix(LACKING).map(str::to_owned));
        },
    ));
    note(bpf::run(&["--check".to_owned()]));
    if with_browser {
        note(node::modules().and_then(|modules| browser::test(&modules, &mut tally)));
    }

    let minutes = started.elapsed().as_secs_f64() / 60.0;
    println!();
    for what in &lacking {
        println!("passed without being tried: {what}");
    }
    for failure in &failures {
        println!("failed: {failure}");
    }
    let steps = if with_browser { "format, clippy, tests, browser tests" } else { "format, clippy, tests" };
    println!(
        "{steps}: {} in {minutes:.1} min",
        if failures.is_empty() { "all passed" } else { "not all passed" }
    );
    // A step that is not made of tests counts as one when it fails, so that the closing line never hides it.
    let failed = tally.failed.max(failures.len() as u64);
    println!("{} passed, {failed} failed, {} skipped", tally.passed, tally.skipped);
    if failures.is_empty() { Ok(()) } else { bail!("{} of the steps failed", failures.len()) }
}

#[cfg(test)]
mod tests {
    use super::Tally;

    #[test]
    fn counts_closing_lines_and_nothing_else() {
        let mut tally = Tally::default();
        for line in [
            "running 4 tests",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.02s",
            "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.02s",
            "test passed ... ok",
        ] {
            tally.read_cargo(line);
        }
        for line in
            ["# tests 6", "# pass 4", "# fail 1", "# skipped 1", "# duration_ms 12.5", "ok 1 - # pass 9"]
        {
            tally.read_node(line);
        }
        assert_eq!(tally, Tally { passed: 8, failed: 3, skipped: 2 });
    }
}
