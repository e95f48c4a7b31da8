//! How long an answer takes: about the last ten minutes of an hour, or of less, that holds a million spans or more, a million
//! logs, two thousand series.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures::{StreamExt as _, TryStreamExt as _};
use system_tests::load::{self, Behaviour, Channel, Outcome, Signal, SpanTemplate};
use system_tests::program::{self, Program};

use crate::{mebibytes, median};

/// Spans, unless told otherwise.
pub const SPANS: u64 = 1_000_000;
const LOGS: u64 = 1_000_000;
const SERIES: u32 = 2_000;
const PER_REQUEST: u32 = 1_000;
/// Requests on their way at once, so that the server can store them together.
const IN_FLIGHT: usize = 16;
const MINUTE_NS: u64 = 60_000_000_000;
const RUNS: usize = 5;
const SEED: u16 = 0x1ace;

/// Length of the incident, at the end of the time filled.
const INCIDENT_NS: u64 = 10 * MINUTE_NS;

/// Fills a store through the front door with `spans` spans of the last `minutes`, then asks five times.
pub async fn run(spans: u64, minutes: u64) -> Result<()> {
    ensure!(
        (20..=1440).contains(&minutes),
        "--minutes: ten of the incident, and ten before at least; a day at most"
    );
    let data = tempfile::tempdir().context("failed to make a data folder")?;
    let program = Program::serve(data.path()).await?;
    let (filling, end) = (Instant::now(), load::now_ns());
    fill(&program.grpc_url(), spans / u64::from(PER_REQUEST), minutes, end).await?;
    println!("filled in         {:.0} s", filling.elapsed().as_secs_f64());

    let mut seconds = Vec::new();
    let mut answer = String::new();
    for run in 0..RUNS {
        let started = Instant::now();
        let output = Command::new(program::binary()?)
            .args([
                "why",
                load::SERVICES[0],
                // The filling took its time: the question is of the time filled.
                "--at",
                &(end / 1_000_000_000).to_string(),
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
    println!("median            {:.2} s", median(seconds));
    println!("resident          {} at most", mebibytes(program.usage()?.peak_bytes));
    println!("\n{answer}");
    program.stop().await
}

async fn fill(endpoint: &str, requests: u64, minutes: u64, end: u64) -> Result<()> {
    ensure!(requests > 0, "at least {PER_REQUEST} spans");
    let channel = load::connect(endpoint)?;
    let healthy = SpanTemplate::new(PER_REQUEST, Behaviour::Healthy, 0);
    let failing = SpanTemplate::new(PER_REQUEST, Behaviour::PaymentFails, 0);
    let length = minutes * MINUTE_NS;
    let begin = end - length;
    let step = length / requests;
    let deliveries = (0..requests).map(|number| {
        let at = begin + number * step;
        let (template, behaviour) = if number * step >= length - INCIDENT_NS {
            (&failing, Behaviour::PaymentFails)
        } else {
            (&healthy, Behaviour::Healthy)
        };
        let logs_of = |number| u32::try_from(LOGS * number / requests).unwrap_or(u32::MAX);
        let spans = template.request(SEED, number, at, step);
        let logs = load::log_request(logs_of(number + 1) - logs_of(number), behaviour, number, at, step);
        let channel = &channel;
        async move {
            tokio::try_join!(deliver(channel, Signal::Traces, spans), deliver(channel, Signal::Logs, logs))
        }
    });
    futures::stream::iter(deliveries).buffer_unordered(IN_FLIGHT).try_for_each(|_| async { Ok(()) }).await?;
    for minute in 0..minutes {
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
