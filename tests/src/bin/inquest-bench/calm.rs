//! What is said where nothing is wrong: the shop runs well, and each of its services is asked about, over and over.

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use system_tests::program::{self, Program};

const SERVICES: [&str; 6] = ["gateway", "catalog", "cart", "checkout", "inventory", "payment"];
/// Length of a window; windows do not overlap.
const WINDOW: Duration = Duration::from_secs(120);
/// What the first window is compared with.
const BEFORE: Duration = Duration::from_secs(300);

/// What `why --format json` says, as far as it is looked at.
#[derive(Debug, Deserialize)]
struct Answer {
    answer: Story,
    verdict: String,
    confidence: Confidence,
}

#[derive(Debug, Deserialize)]
struct Story {
    cause: Vec<Sentence>,
}

#[derive(Debug, Deserialize)]
struct Sentence {
    text: String,
}

#[derive(Debug, Deserialize)]
struct Confidence {
    score: f64,
}

/// A process that ends with the measurement.
struct Shop(Child);

impl Drop for Shop {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Lets the shop run well for `minutes`, and counts what each question in that time is answered with.
pub async fn run(minutes: u64) -> Result<()> {
    let data = tempfile::tempdir().context("failed to make a data folder")?;
    let program = Program::serve(data.path()).await?;
    let shop = Command::new(program::binary()?.with_file_name("shop"))
        .args(["--otlp", &program.grpc_url()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn();
    let _shop = Shop(shop.context("failed to start the shop")?);
    tokio::time::sleep(BEFORE).await;
    let mut verdicts = BTreeMap::<String, u64>::new();
    for window in 0..minutes * 60 / WINDOW.as_secs() {
        tokio::time::sleep(WINDOW).await;
        for service in SERVICES {
            let answer = ask(&program, service)?;
            println!(
                "window {:<3} {service:<10} {:<13} {:.3} {}",
                window + 1,
                answer.verdict,
                answer.confidence.score,
                answer.answer.cause.first().map_or("", |sentence| &sentence.text)
            );
            *verdicts.entry(answer.verdict).or_default() += 1;
        }
    }
    let asked: u64 = verdicts.values().sum();
    println!("{asked} questions: {verdicts:?}");
    program.stop().await
}

fn ask(program: &Program, service: &str) -> Result<Answer> {
    let since = format!("{}s", WINDOW.as_secs());
    let output = Command::new(program::binary()?)
        .args(["why", service, "--since", &since, "--format", "json", "--server", &program.url()])
        .stdin(Stdio::null())
        .output()?;
    ensure!(output.status.success(), "why failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}
