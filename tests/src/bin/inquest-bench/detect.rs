//! How long a round of detection takes over stored aggregates: 500 services with ten endpoints, 20 metric series and 50 log
//! patterns each, three days of requests and a week of patterns known.
//!
//! The store is filled with what the views would have made of the spans, the program is started on it, and its own measure
//! of each round is read. A few services fail, so that rounds find something, ask who calls whom and open incidents.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use domain::{UnixNanos, Window};
use storage::{Location, Options, Store};
use system_tests::load::now_ns;
use system_tests::program::Program;

use crate::{mebibytes, median};

const SERVICES: u32 = 500;
const ENDPOINTS: u32 = 10;
/// Buckets of latency that an endpoint fills in a minute.
const BUCKETS: u32 = 8;
/// Minutes known; beyond them hours. Some are still to come when the program starts.
const MINUTES: u32 = 8 * 60;
const MINUTES_AHEAD: u32 = 10;
const HOURS: u32 = 72;
/// Services that fail, for the last ten minutes.
const FAILING: u32 = 5;
/// Calls between services a minute, seen from both ends.
const CALLS: u32 = 30_000;
/// Metric series of a service, four instances of each metric, and hours of them at 15 s.
const SERIES: u32 = 20;
const INSTANCES: u32 = 4;
const METRIC_HOURS: u32 = 6;
/// Log patterns of a service, known for a week.
const PATTERNS: u32 = 50;
const STARTS: usize = 3;
/// Rounds after the first that are measured for each start.
const ROUNDS: u32 = 4;
/// Looks at metrics and log patterns that are measured for each start, one a minute.
const LOOKS: u32 = 3;
const PATIENCE: Duration = Duration::from_secs(240);

/// Fills a store, starts the program on it several times, and prints what its rounds took.
pub async fn run() -> Result<()> {
    let data = tempfile::tempdir().context("failed to make a data folder")?;
    let filling = Instant::now();
    fill(data.path()).await?;
    println!("filled in         {:.0} s", filling.elapsed().as_secs_f64());
    questions(data.path()).await?;
    let (mut first, mut later) = (Vec::new(), Vec::new());
    let (mut first_look, mut later_looks) = (Vec::new(), Vec::new());
    let mut peak_bytes = 0;
    for _ in 0..STARTS {
        let program = Program::serve(data.path()).await?;
        let rounds = measured(&program, "inquest_evaluation_seconds", ROUNDS + 1).await?;
        println!(
            "rounds            {}",
            rounds.iter().map(|s| format!("{s:.3} s")).collect::<Vec<_>>().join(", ")
        );
        first.extend(rounds.first());
        later.extend(rounds.iter().skip(1));
        let looks = measured(&program, "inquest_observation_seconds", LOOKS).await?;
        first_look.extend(looks.first());
        later_looks.extend(looks.iter().skip(1));
        peak_bytes = peak_bytes.max(program.usage()?.peak_bytes);
        let findings = reqwest::get(format!("{}/api/v1/findings", program.url())).await?;
        let findings: Vec<serde_json::Value> = findings.json().await?;
        ensure!(findings.len() == FAILING as usize, "{} findings instead of {FAILING}", findings.len());
        program.stop().await?;
    }
    println!("first round       {:.3} s, median of {STARTS}: everything is asked for", median(first));
    println!("later rounds      {:.3} s, median of {}", median(later.clone()), later.len());
    println!("first look        {:.3} s, median of {STARTS}: metrics and log patterns", median(first_look));
    println!(
        "later looks       {:.3} s, median of {}: once a minute",
        median(later_looks.clone()),
        later_looks.len()
    );
    println!("resident          {} at most", mebibytes(peak_bytes));
    Ok(())
}

/// What the two questions take that are asked once a minute.
async fn questions(data: &Path) -> Result<()> {
    let store = Store::open(Location::Embedded { dir: data.to_owned() }, Options::default()).await?;
    let now = UnixNanos(i64::try_from(now_ns())?);
    for _ in 0..STARTS {
        let began = Instant::now();
        let series = store.metric_values(Window::new(now.minus(Duration::from_secs(3600)), now)).await?.len();
        let metrics = began.elapsed();
        let services = store.log_patterns(now).await?.len();
        let logs = began.elapsed() - metrics;
        println!(
            "asked             {series} series {metrics:.2?}, patterns of {services} services {logs:.2?}"
        );
    }
    Ok(store.close().await?)
}

/// The seconds that each of the first `wanted` took, by the program's own summary of that name.
async fn measured(program: &Program, summary: &str, wanted: u32) -> Result<Vec<f64>> {
    let url = format!("{}/metrics", program.url());
    let started = Instant::now();
    let (mut seen, mut sum) = (0.0, 0.0);
    let mut times = Vec::new();
    while times.len() < wanted as usize {
        ensure!(started.elapsed() < PATIENCE, "{} of {summary} in {} s", times.len(), PATIENCE.as_secs());
        tokio::time::sleep(Duration::from_millis(100)).await;
        let text = reqwest::get(&url).await?.text().await?;
        let value = |name: &str| -> f64 {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|value| value.trim().parse().ok()).unwrap_or(0.0)
        };
        let (count, total) = (value(&format!("{summary}_count ")), value(&format!("{summary}_sum ")));
        ensure!(value("inquest_failed_evaluations_total ") == 0.0, "a round failed");
        if count > seen {
            times.push((total - sum) / (count - seen));
            (seen, sum) = (count, total);
        }
    }
    Ok(times)
}

async fn fill(data: &Path) -> Result<()> {
    let store = Store::open(Location::Embedded { dir: data.to_owned() }, Options::default()).await?;
    let end = now_ns() / 60_000_000_000 * 60 + u64::from(MINUTES_AHEAD) * 60;
    let endpoints = SERVICES * ENDPOINTS;
    let names = format!(
        "concat('service-', toString(intDiv(endpoint, {ENDPOINTS}))) AS ServiceName, \
         concat('GET /resource/', toString(endpoint % {ENDPOINTS})) AS SpanName"
    );
    let failed = format!(
        "if(intDiv(endpoint, {ENDPOINTS}) < {FAILING} AND ago <= {}, 3, 0) AS Errors",
        MINUTES_AHEAD + 10
    );
    let per_minute = endpoints * BUCKETS;
    // Part by part, as telemetry comes: one block of everything would be one sort in memory.
    for part in 0..MINUTES / 30 {
        let query = format!(
            "INSERT INTO span_minutes SELECT toDateTime({end} - 60 * ago) AS Minute, {names}, 'Server' AS SpanKind, '' AS Peer, \
               toInt16(44 + bucket * 2) AS Bucket, toUInt64(8) AS Requests, {failed}, toUInt64(0) AS DurationNs FROM \
             (SELECT intDiv(number, {per_minute}) + {} AS ago, intDiv(number % {per_minute}, {BUCKETS}) AS endpoint, \
                number % {BUCKETS} AS bucket FROM numbers({}))",
            part * 30 + 1,
            u64::from(per_minute) * 30
        );
        store.client().query(&query).execute().await?;
    }
    let per_hour = u64::from(per_minute);
    let hours = format!(
        "INSERT INTO request_hours SELECT toStartOfHour(toDateTime({end} - 3600 * (ago + {}))) AS Hour, {}, toUInt8(1) AS Timed, \
           toInt16(44 + bucket * 2) AS Bucket, toUInt64(480) AS Requests, toUInt64(0) AS Errors FROM \
         (SELECT intDiv(number, {per_hour}) + 1 AS ago, intDiv(number % {per_hour}, {BUCKETS}) AS endpoint, \
            number % {BUCKETS} AS bucket FROM numbers({}))",
        MINUTES / 60,
        names.replace("SpanName", "Endpoint"),
        per_hour * u64::from(HOURS - MINUTES / 60)
    );
    store.client().query(&hours).execute().await?;
    let calls = format!(
        "INSERT INTO call_ends SELECT toDateTime({end} - 60 * intDiv(number, {})) AS Minute, intDiv(number, 2) AS CallKey, \
           if(number % 2 = 0, concat('service-', toString(intDiv(intDiv(number, 2) % {SERVICES}, 3))), '') AS Caller, \
           if(number % 2 = 1, concat('service-', toString(intDiv(number, 2) % {SERVICES})), '') AS Callee, \
           toUInt64(1000000) AS DurationNs, toUInt8(0) AS Failed FROM numbers({})",
        2 * CALLS,
        u64::from(2 * CALLS) * u64::from(15 + MINUTES_AHEAD)
    );
    store.client().query(&calls).execute().await?;
    fill_metrics(&store, end).await?;
    fill_log_patterns(&store, end).await?;
    Ok(store.close().await?)
}

/// Gauges that waver, of four instances of each service.
async fn fill_metrics(store: &Store, end: u64) -> Result<()> {
    let series = SERVICES * SERIES;
    let named = format!(
        "INSERT INTO metric_series SELECT number + 1 AS Id, concat('metric_', toString(number % {})) AS Name, \
           map('service', concat('service-', toString(intDiv(number, {SERIES}))), 'instance', concat('pod-', toString(number % {INSTANCES}))) AS Labels, \
           'gauge' AS Kind, '' AS Unit, concat('service-', toString(intDiv(number, {SERIES}))) AS ServiceName FROM numbers({series})",
        SERIES / INSTANCES
    );
    store.client().query(&named).execute().await?;
    for hour in 0..METRIC_HOURS {
        let samples = format!(
            "INSERT INTO metric_samples SELECT number % {series} + 1 AS SeriesId, \
               toDateTime64({end} - {} - 15 * intDiv(number, {series}), 3) AS Timestamp, \
               toFloat64(SeriesId % 97) + toFloat64(cityHash64(number) % 1000) / 100 AS Value FROM numbers({})",
            3600 * hour,
            u64::from(series) * 240
        );
        store.client().query(&samples).execute().await?;
    }
    Ok(())
}

/// A week of patterns, each written in every `rank`-th minute or so, as words are: few often, many rarely.
async fn fill_log_patterns(store: &Store, end: u64) -> Result<()> {
    let patterns = SERVICES * PATTERNS;
    let told = format!(
        "INSERT INTO log_patterns (Id, Severity, General, Template, Learned) SELECT number + 1, 9, 0, \
           concat('request ', toString(number), ' of <*> took <*> ms on its way through the service'), 0 FROM numbers({patterns})"
    );
    store.client().query(&told).execute().await?;
    for day in 0..7_u32 {
        let written = format!(
            "INSERT INTO log_pattern_minutes SELECT toDateTime({end} - {} - 60 * intDiv(number, {patterns})) AS Minute, \
               concat('service-', toString(intDiv(number % {patterns}, {PATTERNS}))) AS ServiceName, number % {patterns} + 1 AS PatternId, \
               9 AS Severity, toUInt64(1 + intDiv(30, number % {PATTERNS} + 1)) AS Messages FROM numbers({}) \
             WHERE cityHash64(number) % (number % {PATTERNS} + 1) = 0",
            86_400 * day,
            u64::from(patterns) * 1440
        );
        store.client().query(&written).execute().await?;
    }
    Ok(())
}
