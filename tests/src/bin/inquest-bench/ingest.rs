//! Spans a second over OTLP gRPC, what the server needs for it, and whether anything that it acknowledged is lost.
//!
//! Every span id tells the request that it came in, so "lost" is a comparison of sets and not of counts: a request that
//! was stored without an answer cannot hide one that was answered and lost.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use storage::{Location, Options as StoreOptions, Store};
use system_tests::load::{self, Behaviour, Outcome, Signal, SpanTemplate};
use system_tests::program::{Program, usage};

use crate::mebibytes;

const SPANS_PER_REQUEST: u32 = 1_000;
/// Requests under way on each connection: the next one is on its way while the server stores the first.
const IN_FLIGHT: u64 = 2;
/// Templates with other attribute values, so that the data does not compress better than real data.
const VARIANTS: u32 = 8;
const SEED: u16 = 0x5eed;
/// Pause after the server said that it is busy.
const BACK_OFF: Duration = Duration::from_millis(20);

/// What to measure.
#[derive(Debug)]
pub struct Options {
    /// How long to send.
    pub seconds: u64,
    /// Connections to send over.
    pub connections: u64,
    /// SIGKILL the server half-way, and start it again on the same folder.
    pub kill: bool,
}

/// What the senders share.
struct Shared {
    templates: Vec<SpanTemplate>,
    next: AtomicU64,
    stop: AtomicBool,
    acknowledged: Mutex<BTreeSet<u64>>,
    busy: AtomicU64,
    unknown: AtomicU64,
    rejected: AtomicU64,
    refused: Mutex<Option<String>>,
}

/// Runs the measurement and prints it.
pub async fn run(options: &Options) -> Result<()> {
    let data = tempfile::tempdir().context("failed to make a data folder")?;
    let templates: Vec<_> = (0..VARIANTS)
        .map(|variant| SpanTemplate::new(SPANS_PER_REQUEST, Behaviour::Healthy, variant))
        .collect();
    let size = templates.first().map_or(0, SpanTemplate::size_bytes);
    println!(
        "{SPANS_PER_REQUEST} spans and {} KiB a request, {} connections with {IN_FLIGHT} requests each, {} s",
        size / 1024,
        options.connections,
        options.seconds
    );
    let shared = Arc::new(Shared {
        templates,
        next: AtomicU64::new(0),
        stop: AtomicBool::new(false),
        acknowledged: Mutex::default(),
        busy: AtomicU64::new(0),
        unknown: AtomicU64::new(0),
        rejected: AtomicU64::new(0),
        refused: Mutex::default(),
    });

    let program = Program::serve(data.path()).await?;
    let endpoint = program.grpc_url();
    let started = Instant::now();
    let senders: Vec<_> = (0..options.connections)
        .flat_map(|_| {
            let channel = load::connect(&endpoint);
            (0..IN_FLIGHT).map(move |_| channel.as_ref().ok().cloned())
        })
        .flatten()
        .map(|channel| tokio::spawn(sender(Arc::clone(&shared), channel)))
        .collect();
    let program = if options.kill {
        kill_half_way(program, &shared, options).await?
    } else {
        progress(&program, &shared, started, options.seconds).await?;
        Some(program)
    };
    shared.stop.store(true, Ordering::Relaxed);
    for sender in senders {
        sender.await?;
    }
    let seconds = started.elapsed().as_secs_f64();

    let acknowledged = shared.acknowledged.lock().map_err(|_| anyhow::anyhow!("a sender panicked"))?.clone();
    if let Some(refused) = shared.refused.lock().map_err(|_| anyhow::anyhow!("a sender panicked"))?.clone() {
        println!("refused for good: {refused}");
    }
    let spans = acknowledged.len() as u64 * u64::from(SPANS_PER_REQUEST);
    println!("acknowledged      {spans} spans in {seconds:.1} s");
    println!("sustained         {:.0} spans/s", spans as f64 / seconds);
    println!("told to wait      {} requests", shared.busy.load(Ordering::Relaxed));
    println!("without answer    {} requests", shared.unknown.load(Ordering::Relaxed));
    println!("rejected          {} spans", shared.rejected.load(Ordering::Relaxed));
    if let Some(program) = program {
        report_usage(&program)?;
        let stopping = Instant::now();
        program.stop().await?;
        println!("orderly stop      {:.1} s", stopping.elapsed().as_secs_f64());
    }
    verify(data.path(), &acknowledged).await
}

async fn sender(shared: Arc<Shared>, channel: load::Channel) {
    while !shared.stop.load(Ordering::Relaxed) {
        let number = shared.next.fetch_add(1, Ordering::Relaxed);
        let template = &shared.templates[(number % u64::from(VARIANTS)) as usize];
        let request = template.request(SEED, number, load::now_ns(), 0);
        loop {
            match load::send(&channel, Signal::Traces, request.clone()).await {
                Outcome::Acknowledged { rejected } => {
                    shared.rejected.fetch_add(rejected, Ordering::Relaxed);
                    if let Ok(mut acknowledged) = shared.acknowledged.lock() {
                        acknowledged.insert(number);
                    }
                    break;
                }
                Outcome::Busy => {
                    shared.busy.fetch_add(1, Ordering::Relaxed);
                    if shared.stop.load(Ordering::Relaxed) {
                        break;
                    }
                    tokio::time::sleep(BACK_OFF).await;
                }
                Outcome::Unknown(_) => {
                    shared.unknown.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(BACK_OFF).await;
                    break;
                }
                Outcome::Refused(text) => {
                    if let Ok(mut refused) = shared.refused.lock() {
                        *refused = Some(text);
                    }
                    shared.stop.store(true, Ordering::Relaxed);
                    break;
                }
            }
        }
    }
}

async fn progress(program: &Program, shared: &Shared, started: Instant, seconds: u64) -> Result<()> {
    const EVERY: u64 = 10;
    let mut before = 0;
    for second in 1..=seconds {
        tokio::time::sleep_until((started + Duration::from_secs(second)).into()).await;
        if second % EVERY == 0
            && let Ok(acknowledged) = shared.acknowledged.lock()
        {
            let now = acknowledged.len() as u64 * u64::from(SPANS_PER_REQUEST);
            let usage = program.usage()?;
            println!(
                "{second:>4} s  {:>7} spans/s  {} resident",
                (now - before) / EVERY,
                mebibytes(usage.resident_bytes)
            );
            before = now;
        }
    }
    Ok(())
}

async fn kill_half_way(mut program: Program, shared: &Shared, options: &Options) -> Result<Option<Program>> {
    tokio::time::sleep(Duration::from_secs(options.seconds / 2)).await;
    // The senders go on sending into the kill; nothing is acknowledged after it.
    program.kill()?;
    shared.stop.store(true, Ordering::Relaxed);
    println!("killed after {} s", options.seconds / 2);
    Ok(None)
}

fn report_usage(program: &Program) -> Result<()> {
    let used = program.usage()?;
    println!(
        "resident          {} now, {} at most",
        mebibytes(used.resident_bytes),
        mebibytes(used.peak_bytes)
    );
    let threads: Vec<_> =
        used.threads.iter().take(6).map(|(name, seconds)| format!("{name} {seconds:.0} s")).collect();
    println!("processor time    {}", threads.join(", "));
    let own: f64 = usage(std::process::id())?.threads.iter().map(|(_, seconds)| seconds).sum();
    println!("sender            {own:.0} s of processor time");
    Ok(())
}

/// Compares the store, opened directly, with what was acknowledged.
async fn verify(data: &Path, acknowledged: &BTreeSet<u64>) -> Result<()> {
    let opening = Instant::now();
    let location = Location::Embedded { dir: data.to_owned() };
    let store =
        Store::open(location, StoreOptions::default()).await.context("failed to open the store again")?;
    println!("opened again in   {:.1} s", opening.elapsed().as_secs_f64());
    let rows: Vec<(u64, u64, u64)> = store
        .client()
        .query(
            "SELECT intDiv(reinterpretAsUInt64(reverse(unhex(SpanId))) % 281474976710656, ?) AS request, \
             count() AS spans, uniqExact(SpanId) AS ids FROM otel_traces GROUP BY request",
        )
        .bind(SPANS_PER_REQUEST)
        .fetch_all()
        .await?;
    store.close().await?;
    let stored: u64 = rows.iter().map(|(_, spans, _)| spans).sum();
    let whole: BTreeSet<u64> = rows
        .iter()
        .filter(|(_, _, ids)| *ids == u64::from(SPANS_PER_REQUEST))
        .map(|(request, _, _)| *request)
        .collect();
    let twice = rows.iter().map(|(_, spans, ids)| spans - ids).sum::<u64>();
    let lost = acknowledged.difference(&whole).count();
    println!("stored            {stored} spans, {twice} of them twice");
    println!("lost              {lost} acknowledged requests");
    ensure!(lost == 0, "{lost} acknowledged requests are not in the store");
    Ok(())
}
