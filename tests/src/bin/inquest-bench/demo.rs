//! How often, and how soon, the demo names what it broke: every fault, several times.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use system_tests::program;

use crate::median;

const FAULTS: [&str; 5] = ["n-plus-one", "database-lock", "flag-error", "slow-dependency", "traffic-surge"];

/// What `demo --json` says; see `server::demo::Outcome`.
#[derive(Debug, Deserialize)]
struct Outcome {
    result: String,
    seconds_to_answer: Option<f64>,
    answer: Option<Answer>,
}

#[derive(Debug, Deserialize)]
struct Answer {
    service: String,
    mechanism: String,
    change: Option<String>,
    confidence: String,
}

/// Runs each fault `runs` times, each time with another seed.
pub async fn run(runs: u64) -> Result<()> {
    let mut wrong = 0;
    for fault in FAULTS {
        let mut seconds = Vec::new();
        let mut right = 0;
        for seed in 1..=runs {
            let outcome = once(fault, seed)?;
            let passed = outcome.result == "pass";
            right += u64::from(passed);
            seconds.extend(outcome.seconds_to_answer);
            println!("{fault:<16} seed {seed:<3} {}", describe(&outcome));
        }
        wrong += runs - right;
        let slowest = seconds.iter().copied().fold(0.0, f64::max);
        println!(
            "{fault:<16} {right} of {runs} right; answer after {:.0} s, median, {slowest:.0} s at most",
            median(seconds)
        );
    }
    ensure!(wrong == 0, "{wrong} answers were wrong or missing");
    Ok(())
}

fn once(fault: &str, seed: u64) -> Result<Outcome> {
    let output = Command::new(program::binary()?)
        .args(["demo", "--fault", fault, "--seed", &seed.to_string(), "--exit-after-answer", "--json"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(text.trim())
        .with_context(|| format!("the demo ended with {} and said {text:?}", output.status))
}

fn describe(outcome: &Outcome) -> String {
    let after =
        outcome.seconds_to_answer.map_or_else(|| "never".to_owned(), |seconds| format!("{seconds:.0} s"));
    match &outcome.answer {
        Some(Answer { service, mechanism, change, confidence }) => {
            let change = change.as_deref().unwrap_or("no change");
            format!(
                "{}: {service}, {mechanism}, {change}, {confidence} confidence, after {after}",
                outcome.result
            )
        }
        None => format!("{}: no answer", outcome.result),
    }
}
