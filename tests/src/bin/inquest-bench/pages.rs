//! How soon a reader has an answer: the pages of an incident of the demo, and `why`, from a server that was started again
//! on its folder.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use reqwest::Client;
use serde_json::Value;
use system_tests::program::{self, Program};

use crate::{mebibytes, median};

const FAULT: &str = "n-plus-one";
const RUNS: usize = 21;

/// Lets the demo break and explain, then asks for each page several times.
pub async fn run() -> Result<()> {
    let data = tempfile::tempdir().context("failed to make a data folder")?;
    explain(data.path())?;
    let program = Program::serve(data.path()).await?;
    let http = Client::new();
    let incidents: Value = serde_json::from_str(&get(&http, &program, "/api/v1/incidents").await?)?;
    let incident = incidents.as_array().and_then(|all| all.first()).context("the demo left no incident")?;
    let id = incident["id"].as_str().context("an incident without an id")?;
    let service = incident["service"].as_str().context("an incident of no service")?;
    for path in [
        format!("/incidents/{id}"),
        "/incidents".to_owned(),
        "/".to_owned(),
        format!("/services/{service}"),
        format!("/api/v1/why/{service}"),
    ] {
        let (mut took, mut bytes) = (Vec::new(), 0);
        for _ in 0..RUNS {
            let asked = Instant::now();
            bytes = get(&http, &program, &path).await?.len();
            took.push(asked.elapsed().as_secs_f64());
        }
        let slowest = took.iter().copied().fold(0.0, f64::max);
        println!(
            "{path:<26} {:>4.0} ms, median of {RUNS}; {:.0} at most; {} KiB",
            1000.0 * median(took),
            1000.0 * slowest,
            bytes / 1024
        );
    }
    println!("resident {} at most", mebibytes(program.usage()?.peak_bytes));
    program.stop().await
}

/// Runs the demo until it has explained its fault, and keeps its folder.
fn explain(data: &Path) -> Result<()> {
    let status = Command::new(program::binary()?)
        .args(["demo", "--fault", FAULT, "--exit-after-answer", "--data"])
        .arg(data)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()?;
    ensure!(status.success(), "the demo did not explain {FAULT}: {status}");
    Ok(())
}

async fn get(http: &Client, program: &Program, path: &str) -> Result<String> {
    let answer = http.get(format!("{}{path}", program.url())).send().await?;
    Ok(answer.error_for_status().with_context(|| format!("GET {path}"))?.text().await?)
}
