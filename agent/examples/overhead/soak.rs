//! What becomes of the agent's memory in the long run: requests, short-lived TLS connections and logs that rotate, for minutes.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::load::{Load, Web};
use crate::watcher::Watcher;

const SAMPLE: Duration = Duration::from_secs(10);
/// Lines are written in bursts.
const BURST: u64 = 100;
const BETWEEN_BURSTS: Duration = Duration::from_millis(100);
/// Lines after which a log is rotated.
const ROTATED: u64 = 20_000;

/// How much it was made to see.
#[derive(Default)]
struct Done {
    stop: AtomicBool,
    secure: AtomicU64,
    lines: AtomicU64,
}

/// Settings under which it follows the log of the soak.
pub fn settings(folder: &Path) -> Result<()> {
    let text = format!("[logs]\nfiles = [\"{}/soak*.log\"]\njournal = false\n", folder.display());
    Ok(fs::write(folder.join("soak.toml"), text)?)
}

/// Loads `watcher` for `minutes` and prints its memory.
pub async fn run(web: &Web, watcher: &Watcher, folder: &Path, minutes: u64) -> Result<()> {
    let done = Done::default();
    let from = Instant::now();
    let length = Duration::from_secs(minutes * 60);
    let mut samples: Vec<(f64, f64)> = Vec::new();
    println!("| minute | resident MB | peak MB | cores |\n|---|---|---|---|");
    std::thread::scope(|scope| {
        let threads = [
            scope.spawn(|| web.ask(Load::USUAL, length.as_secs()).map(|_| ())),
            scope.spawn(|| handshakes(web, &done)),
            scope.spawn(|| log(folder, &done)),
        ];
        let mut before = watcher.cost()?;
        while from.elapsed() < length {
            std::thread::sleep(SAMPLE.min(length.saturating_sub(from.elapsed())));
            let resident = watcher.resident_bytes()? as f64 / 1e6;
            let minute = from.elapsed().as_secs_f64() / 60.0;
            samples.push((minute, resident));
            if samples.len().is_multiple_of(6) {
                let now = watcher.cost()?;
                let cores = now.since(&before, now.health).cores();
                println!("| {minute:.0} | {resident:.1} | {:.1} | {cores:.3} |", now.peak_bytes as f64 / 1e6);
                before = now;
            }
        }
        done.stop.store(true, Ordering::Relaxed);
        for thread in threads {
            thread.join().map_err(|_| anyhow::anyhow!("a load has panicked"))??;
        }
        anyhow::Ok(())
    })?;
    let health = watcher.health().await?;
    let half = samples.split_off(samples.len() / 2);
    println!(
        "\nslope over the second half: {:+.2} MB an hour; events {:.0}, lost {:.0}, shed {:.0}; TLS connections {}, log lines {}",
        slope(&half) * 60.0,
        health.events,
        health.lost,
        health.shed,
        done.secure.load(Ordering::Relaxed),
        done.lines.load(Ordering::Relaxed)
    );
    Ok(())
}

/// One process and one connection for each request.
fn handshakes(web: &Web, done: &Done) -> Result<()> {
    while !done.stop.load(Ordering::Relaxed) {
        let mut curl = Command::new("curl");
        let status = curl
            .args(["-sk", "--http1.1", "-o", "/dev/null"])
            .arg(web.secure())
            .stderr(Stdio::null())
            .status()
            .context("curl")?;
        ensure!(status.success(), "curl failed: {status}");
        done.secure.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

fn log(folder: &Path, done: &Done) -> Result<()> {
    let path = folder.join("soak.log");
    let open = || -> Result<File> { Ok(OpenOptions::new().create(true).append(true).open(&path)?) };
    let mut file = open()?;
    let mut number = 0;
    while !done.stop.load(Ordering::Relaxed) {
        for _ in 0..BURST {
            number += 1;
            writeln!(file, "level=info order {number} placed in {} ms", number % 977)?;
        }
        done.lines.store(number, Ordering::Relaxed);
        if number.is_multiple_of(ROTATED) {
            fs::rename(&path, folder.join("soak-old.log"))?;
            file = open()?;
        }
        std::thread::sleep(BETWEEN_BURSTS);
    }
    Ok(())
}

/// Least squares.
fn slope(points: &[(f64, f64)]) -> f64 {
    let many = points.len().max(1) as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / many;
    let (x, y) = (mean(|it| it.0), mean(|it| it.1));
    let above: f64 = points.iter().map(|it| (it.0 - x) * (it.1 - y)).sum();
    let below: f64 = points.iter().map(|it| (it.0 - x).powi(2)).sum();
    above / below
}
