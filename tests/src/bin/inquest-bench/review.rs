//! What the review of alerts costs where there are many of them, with a month of past.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use domain::UnixNanos;
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use system_tests::program::Program;

use crate::{mebibytes, median};

const SERVICES: u32 = 100;
const RULES: u32 = 10;
/// Per service and rule.
const PATTERNS: u32 = 5;
const DAYS: i64 = 30;
/// Alerts of each pattern in a day.
const A_DAY: i64 = 2;
/// As many as Alertmanager may send at once.
const AT_ONCE: usize = 2000;
/// As many as are learned from.
const DECISIONS: usize = 500;
const RUNS: usize = 9;

/// Sends the alerts of a month, decides on some of them, and asks.
pub async fn run() -> Result<()> {
    let data = tempfile::tempdir().context("failed to make a data folder")?;
    let program = Program::serve(data.path()).await?;
    let http = Client::new();
    let patterns = SERVICES * RULES * PATTERNS;
    let began = Instant::now();
    let sent = fill(&http, &program).await?;
    println!(
        "{patterns} patterns of {SERVICES} services, {sent} alerts of {DAYS} days in {:.0} s",
        began.elapsed().as_secs_f64()
    );
    let began = Instant::now();
    decide(&http, &program).await?;
    println!("{DECISIONS} decisions      {:.1} s in all", began.elapsed().as_secs_f64());

    for (what, path) in [
        ("whole queue, JSON", "/api/v1/alerts"),
        ("of one service", "/api/v1/alerts?service=svc7"),
        ("/review", "/review"),
        ("/review/rules", "/review/rules"),
    ] {
        let mut took = Vec::new();
        for _ in 0..RUNS {
            let asked = Instant::now();
            let answer = http.get(format!("{}{path}", program.url())).send().await?.error_for_status()?;
            answer.bytes().await?;
            took.push(asked.elapsed().as_secs_f64());
        }
        println!("{what:<18} {:.0} ms, median of {RUNS}", 1000.0 * median(took));
    }

    let queue: Vec<Value> =
        http.get(format!("{}/api/v1/alerts?service=svc99", program.url())).send().await?.json().await?;
    let mut took = Vec::new();
    for one in queue.iter().filter(|one| one["service"] == "svc99").take(RUNS) {
        let fingerprint = one["fingerprint"].as_str().context("an alert without a fingerprint")?;
        let url = format!("{}/review/{fingerprint}/reject", program.url());
        let decided = Instant::now();
        // The page that it leads to is measured above.
        let answer = form(no_redirects()?.post(url), "note", "").send().await?;
        ensure!(answer.status().is_redirection(), "{}", answer.status());
        took.push(decided.elapsed().as_secs_f64());
    }
    println!("a decision         {:.0} ms, median of {RUNS}", 1000.0 * median(took));
    println!("resident           {} at most", mebibytes(program.usage()?.peak_bytes));
    program.stop().await?;
    let again = Program::serve(data.path()).await?;
    println!("ready again after  {:.2} s", again.ready_after.as_secs_f64());
    again.stop().await
}

fn form(request: RequestBuilder, field: &str, value: &str) -> RequestBuilder {
    let escaped: String = value.bytes().map(|byte| format!("%{byte:02X}")).collect();
    request.header("content-type", "application/x-www-form-urlencoded").body(format!("{field}={escaped}"))
}

fn no_redirects() -> Result<Client> {
    Ok(Client::builder().redirect(reqwest::redirect::Policy::none()).build()?)
}

fn summary(rule: u32, pattern: u32) -> String {
    const WORDS: [&str; 10] = [
        "retry",
        "timeout",
        "backlog",
        "reset",
        "refused",
        "slow",
        "evicted",
        "stale",
        "skipped",
        "rebalanced",
    ];
    let word = |number: u32| WORDS[(number % 10) as usize];
    format!(
        "{} of {} while waiting for {}: took 17 ms",
        word(rule),
        word(pattern + 3),
        word(rule * 3 + pattern)
    )
}

async fn fill(http: &Client, program: &Program) -> Result<usize> {
    let now = i64::try_from(system_tests::load::now_ns() / 1_000_000_000)?;
    let (mut batch, mut sent) = (Vec::with_capacity(AT_ONCE), 0);
    for turn in (1..=DAYS * A_DAY).rev() {
        for service in 0..SERVICES {
            for kind in 0..RULES * PATTERNS {
                // Not all of them at the same hour.
                let at = now - turn * 86_400 / A_DAY + i64::from((service * 7 + kind * 13) % 40) * 1000;
                batch.push(json!({
                    "status": "firing", "endsAt": "0001-01-01T00:00:00Z", "fingerprint": "f",
                    "startsAt": UnixNanos::from_seconds(at).to_string(),
                    "labels": {"alertname": format!("Rule{}", kind / PATTERNS), "service": format!("svc{service}"),
                        "severity": "warning", "pod": "a"},
                    "annotations": {"summary": summary(kind / PATTERNS, kind % PATTERNS)},
                }));
                if batch.len() == AT_ONCE {
                    sent += post(http, program, &mut batch).await?;
                }
            }
        }
    }
    Ok(sent + post(http, program, &mut batch).await?)
}

async fn post(http: &Client, program: &Program, batch: &mut Vec<Value>) -> Result<usize> {
    let count = batch.len();
    let body = json!({"version": "4", "status": "firing", "alerts": std::mem::take(batch)});
    let url = format!("{}/api/v1/alerts/alertmanager", program.url());
    http.post(url).json(&body).send().await?.error_for_status()?;
    Ok(count)
}

/// By a file, as from Git: two of three are noise.
async fn decide(http: &Client, program: &Program) -> Result<()> {
    let queue: Vec<Value> =
        http.get(format!("{}/api/v1/alerts", program.url())).send().await?.error_for_status()?.json().await?;
    let policies: Vec<Value> = queue
        .iter()
        .step_by((queue.len() / DECISIONS).max(1))
        .take(DECISIONS)
        .enumerate()
        .map(|(number, one)| {
            json!({"rule": one["rule"], "service": one["service"], "pattern": one["pattern"],
                "fingerprint": one["fingerprint"], "decision": if number % 3 == 0 { "keep" } else { "suppress" }})
        })
        .collect();
    // JSON is YAML.
    let yaml = json!({"format": 1, "policies": policies}).to_string();
    let answer = form(http.post(format!("{}/review/policies", program.url())), "yaml", &yaml).send().await?;
    let said = answer.error_for_status()?.text().await?;
    ensure!(said.contains(&format!("{DECISIONS} policies changed")), "the decisions were not taken");
    Ok(())
}
