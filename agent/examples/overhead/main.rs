//! What the agent costs: wrk asks nginx over loopback, with and without the agent in turns. `cargo xtask bench agent`; needs root.
//!
//! Everything is measured from outside: wrk tells latencies, the kernel tells processor time, memory and the time of each program.

#![expect(clippy::print_stdout, reason = "it prints what it measured")]
#![expect(clippy::disallowed_methods, reason = "it measures by the wall clock")]

mod load;
mod sink;
mod soak;
mod watcher;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use load::{Load, Seen, Web};
use watcher::{Cost, Watcher};

const USAGE: &str = "usage: cargo xtask bench agent [--load singly|bursts|thrice] [--seconds N] [--rounds N] [--real-time] [--soak MINUTES]";

struct Options {
    loads: Vec<Load>,
    seconds: u64,
    rounds: u64,
    /// Server, client and agent run before everything else on the machine: the only way to a figure on one that has other work.
    real_time: bool,
    /// Instead of all that, watch its memory for so many minutes.
    soak: u64,
}

fn main() -> Result<()> {
    // What takes the telemetry would be on another machine: it must not compete with what is measured. The programs that are measured
    // are started by the main thread, which is as others are.
    let give_way = || {
        if let Err(error) = agent::manners::give_way_alone() {
            eprintln!("the sink competes with what is measured: {error:#}");
        }
    };
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime
        .worker_threads(1)
        .enable_all()
        .on_thread_unpark(agent::manners::forgo_turn)
        .on_thread_start(give_way)
        .build()?
        .block_on(bench())
}

async fn bench() -> Result<()> {
    let options = options()?;
    let folder = tempfile::tempdir()?;
    let sink = sink::start().await?;
    let web = Web::start(folder.path(), options.real_time)?;
    soak::settings(folder.path())?;
    let agent = || Watcher::start(&program()?, folder.path(), &sink.url, options.real_time);
    if options.soak > 0 {
        let watcher = agent()?;
        watcher.ready().await?;
        soak::run(&web, &watcher, folder.path(), options.soak).await?;
        let at_once = sink.logs();
        // What is late still comes; what is lost does not.
        let mut before = None;
        while before.replace(sink.logs()) != Some(sink.logs()) {
            tokio::time::sleep(QUIET).await;
        }
        println!("spans that arrived: {}", sink.spans());
        println!("log records that arrived: {at_once} by then, {} in the end", sink.logs());
        return watcher.stop();
    }

    println!("{HEAD}");
    for load in options.loads {
        let (mut without, mut again, mut with, mut costs) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for _ in 0..options.rounds {
            without.extend(web.calm(load, options.seconds)?);
            let watcher = agent()?;
            watcher.ready().await?;
            let before = watcher.cost()?;
            with.extend(web.calm(load, options.seconds)?);
            let after = watcher.cost()?;
            costs.push(after.since(&before, watcher.health().await?));
            watcher.stop()?;
            again.extend(web.calm(load, options.seconds)?);
        }
        print_row(load.name, "without", &without, None);
        print_row(load.name, "without, again", &again, None);
        print_row(load.name, "with", &with, Some(&costs));
    }

    // Counting the time of programs costs time of its own: apart from the rest.
    let counting = watcher::KernelClock::start()?;
    let watcher = agent()?;
    watcher.ready().await?;
    let (cost, kernel) = (watcher.cost()?, watcher.kernel_nanos()?);
    let seen = web.ask(Load::USUAL, options.seconds)?;
    let requests = (seen.per_second * options.seconds as f64).max(1.0);
    let kernel = (watcher.kernel_nanos()? - kernel) as f64 / requests;
    let user = (watcher.cost()?.processor - cost.processor).as_nanos() as f64 / requests;
    watcher.stop()?;
    drop(counting);
    println!(
        "\nfor each request, of which both ends are on this host: {kernel:.0} ns in the kernel's programs, {user:.0} ns in the agent"
    );
    println!("spans that arrived: {}", sink.spans());
    Ok(())
}

/// Of each second the median and the 99th percentile of latency; of those the median of all calm seconds and their lower quartile. How
/// far two rows without the agent are apart is how little can be measured on this machine.
const HEAD: &str = "\
| load | | seconds | requests/s | median µs | calm | p99 µs | calm | agent cores | agent MB | events | lost | shed | captured |
|---|---|---|---|---|---|---|---|---|---|---|---|---|---|";

fn print_row(load: &str, what: &str, seen: &[Seen], costs: Option<&[Cost]>) {
    if seen.is_empty() {
        println!("| {load} | {what} | 0: not one was calm | | | | | | | | | | | |");
        return;
    }
    let of = |share: f64, get: fn(&Seen) -> f64| quantile(share, seen.iter().map(get).collect());
    print!(
        "| {load} | {what} | {} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} |",
        seen.len(),
        of(0.5, |it| it.per_second),
        of(0.5, |it| it.median_us),
        of(0.25, |it| it.median_us),
        of(0.5, |it| it.p99_us),
        of(0.25, |it| it.p99_us),
    );
    match costs {
        None => println!(" | | | | | |"),
        Some(costs) => {
            let of = |get: fn(&Cost) -> f64| quantile(0.5, costs.iter().map(get).collect());
            println!(
                " {:.3} | {:.0} | {:.0} | {:.0} | {:.0} | {:.3} |",
                of(Cost::cores),
                of(|it| it.peak_bytes as f64 / 1e6),
                of(|it| it.health.events),
                of(|it| it.health.lost),
                of(|it| it.health.shed),
                of(|it| it.health.captured),
            );
        }
    }
}

/// The value that `share` of all are below; of two the lower.
fn quantile(share: f64, mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    values.get((last as f64 * share) as usize).copied().unwrap_or(f64::NAN)
}

fn options() -> Result<Options> {
    let loads = vec![Load::SINGLE, Load::USUAL, Load::THRICE];
    let mut options = Options { loads, seconds: 10, rounds: 5, real_time: false, soak: 0 };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || -> Result<u64> {
            arguments
                .next()
                .and_then(|it| it.parse().ok())
                .with_context(|| format!("{argument} takes a number"))
        };
        match argument.as_str() {
            "--load" => {
                options.loads = vec![match arguments.next().as_deref() {
                    Some("singly") => Load::SINGLE,
                    Some("bursts") => Load::USUAL,
                    Some("thrice") => Load::THRICE,
                    _ => bail!("{USAGE}"),
                }];
            }
            "--seconds" => options.seconds = number()?.max(1),
            "--rounds" => options.rounds = number()?.max(1),
            "--soak" => options.soak = number()?.max(1),
            "--real-time" => options.real_time = true,
            _ => bail!("{USAGE}"),
        }
    }
    Ok(options)
}

/// The agent, built beside this program.
fn program() -> Result<PathBuf> {
    let here = std::env::current_exe()?;
    let program = here
        .parent()
        .and_then(|it| it.parent())
        .context("this program is in no folder")?
        .join("inquest-agent");
    anyhow::ensure!(program.is_file(), "there is no {}: use `cargo xtask bench agent`", program.display());
    Ok(program)
}

/// After so long without a log record no more are waited for.
const QUIET: Duration = Duration::from_secs(10);
/// How long a program may take to be ready.
const READY: Duration = Duration::from_secs(30);
