//! How long an answer takes over an hour of telemetry: a million spans, a million logs, two thousand series.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use system_tests::load::{self, Behaviour, Channel, Outcome, Signal, SpanTemplate};
use system_tests::program::{self, Program};

use crate::{mebibytes, median};

const SPANS: u64 = 1_000_000;
const LOGS: u64 = 1_000_000;
const SERIES: u32 = 2_000;
const PER_REQUEST: u32 = 1_000;
const REQUESTS: u64 = SPANS / PER_REQUEST as u64;
const HOUR_NS: u64 = 3_600_000_000_000;
/// The last sixth of the hour is the incident.
const INCIDENT_FROM: u64 = REQUESTS * 5 / 6;
const MINUTE_NS: u64 = 60_000_000_000;
const RUNS: usize = 5;
const SEED: u16 = 0x1ace;

/// Fills a store through the front door, then asks five times.
pub async fn run() -> Result<()> {
    let data = tempfile::tempdir().context("failed to make a data folder")?;
    let program = Program::serve(data.path()).await?;
    let filling = Instant::now();
    fill(&program.grpc_url()).await?;
    println!("filled in         {:.0} s", filling.elapsed().as_secs_f64());

    let mut seconds = Vec::new();
    let mut answer = String::new();
    for run in 0..RUNS {
        let started = Instant::now();
        let output = Command::new(program::binary()?)
            .args([
                "why",
                load::SERVICES[0],
                "--since",
                "10m",
                "--format",
                "text",
                "--server",
                &program.url(),
            ])
            .stdin(Stdio::null())
            .output()?;
        let took = started.elapsed().as_secs_f64();
        ensure!(output.status.success(), "why failed: {}", String::from_utf8_lossy(&output.stderr));
        println!("run {}             {took:.2} s", run + 1);
        seconds.push(took);
        answer = String::from_utf8_lossy(&output.stdout).into_owned();
    }
    println!("median            {:.2} s", median(seconds).unwrap_or_default());
    println!("resident          {} at most", mebibytes(program.usage()?.peak_bytes));
    println!("\n{answer}");
    program.stop().await
}

async fn fill(endpoint: &str) -> Result<()> {
    let channel = load::connect(endpoint)?;
    let healthy = SpanTemplate::new(PER_REQUEST, Behaviour::Healthy, 0);
    let failing = SpanTemplate::new(PER_REQUEST, Behaviour::PaymentFails, 0);
    let begin = load::now_ns() - HOUR_NS;
    let step = HOUR_NS / REQUESTS;
    for number in 0..REQUESTS {
        let at = begin + number * step;
        let (template, behaviour) = if number >= INCIDENT_FROM {
            (&failing, Behaviour::PaymentFails)
        } else {
            (&healthy, Behaviour::Healthy)
        };
        let spans = template.request(SEED, number, at, step);
        let logs = load::log_request((LOGS / REQUESTS) as u32, behaviour, number, at, step);
        let (spans, logs) =
            tokio::join!(deliver(&channel, Signal::Traces, spans), deliver(&channel, Signal::Logs, logs));
        spans?;
        logs?;
    }
    for minute in 0..HOUR_NS / MINUTE_NS {
        let samples = load::metric_request(SERIES, begin + minute * MINUTE_NS);
        deliver(&channel, Signal::Metrics, samples).await?;
    }
    Ok(())
}

async fn deliver(channel: &Channel, signal: Signal, request: bytes::Bytes) -> Result<()> {
    loop {
        match load::send(channel, signal, request.clone()).await {
            Outcome::Acknowledged { rejected: 0 } => return Ok(()),
            Outcome::Busy => tokio::time::sleep(Duration::from_millis(20)).await,
            other => bail!("{signal:?} not delivered: {other:?}"),
        }
    }
}
