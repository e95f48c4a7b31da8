//! Runs the shop from a terminal: `shop --otlp http://127.0.0.1:4317 --fault n-plus-one --fault-after 60s`.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use shop::{BareOptions, Fault, ShopOptions};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// A small real shop under load, whose telemetry goes to an OTLP endpoint.
#[derive(Parser)]
struct Arguments {
    /// Where telemetry goes, by OTLP over gRPC.
    #[arg(long, default_value = "http://127.0.0.1:4317")]
    otlp: String,
    /// What goes wrong: n-plus-one, database-lock, flag-error, slow-dependency or traffic-surge.
    #[arg(long)]
    fault: Option<Fault>,
    /// How long after the start it goes wrong: 45s, 2m, 500ms.
    #[arg(long, default_value = "60s", value_parser = duration)]
    fault_after: Duration,
    /// Visitors per second.
    #[arg(long, default_value_t = 40.0)]
    rate: f64,
    /// Decides arrivals, choices and delays.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where deploys and flags are posted, such as http://127.0.0.1:8080/api/v1/changes.
    #[arg(long)]
    changes: Option<String>,
    /// Runs each service as a process of its own and sends no telemetry at all: what an agent on the host has to find out alone.
    #[arg(long)]
    bare: bool,
    /// Port of the first service without telemetry; the others follow.
    #[arg(long, default_value_t = 18300)]
    first_port: u16,
    /// Which service this process is; how the shop starts its processes.
    #[arg(long, hide = true)]
    serve: Option<String>,
    /// Folder of the database files; by default one of its own below the system's temporary folder.
    #[arg(long)]
    data_dir: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    // The exporters say through `tracing` when an endpoint is gone.
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "error".into()),
        )
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let own_directory = std::env::temp_dir().join(format!("inquest-shop-{}", std::process::id()));
    let options = ShopOptions {
        otlp_endpoint: arguments.otlp,
        seed: arguments.seed,
        requests_per_second: arguments.rate,
        fault: arguments.fault.map(|fault| (fault, arguments.fault_after)),
        change_endpoint: arguments.changes,
        data_dir: arguments.data_dir.clone().unwrap_or_else(|| own_directory.clone()),
    };
    let cancel = CancellationToken::new();
    let (sender, mut events) = mpsc::channel(64);
    let printer = tokio::spawn(async move {
        while let Some(event) = events.recv().await {
            // A closed terminal does not stop the shop.
            let _ = writeln!(std::io::stdout(), "{event}");
        }
    });
    let stop = cancel.clone();
    tokio::spawn(async move {
        interrupted().await;
        stop.cancel();
    });
    let bare = BareOptions {
        first_port: arguments.first_port,
        seed: options.seed,
        requests_per_second: options.requests_per_second,
        fault: options.fault,
        data_dir: options.data_dir.clone(),
    };
    let outcome = match &arguments.serve {
        Some(service) => {
            drop(sender);
            shop::serve_bare(service, bare, cancel).await
        }
        None if arguments.bare => shop::run_bare(bare, sender, cancel).await,
        None => shop::run(options, sender, cancel).await,
    };
    let _ = printer.await;
    if arguments.data_dir.is_none() {
        // Left over files in the temporary folder are the system's to clear.
        let _ = std::fs::remove_dir_all(own_directory);
    }
    outcome
}

/// Ctrl-C, or the signal service managers send.
async fn interrupted() {
    #[cfg(unix)]
    if let Ok(mut terminate) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
        return;
    }
    let _ = tokio::signal::ctrl_c().await;
}

fn duration(text: &str) -> anyhow::Result<Duration> {
    let split = text.find(|letter: char| letter.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: f64 =
        number.trim().parse().with_context(|| format!("`{text}` is not a duration such as 60s"))?;
    let seconds = match unit {
        "" | "s" => number,
        "ms" => number / 1e3,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        _ => anyhow::bail!("unknown unit `{unit}`; known are ms, s, m and h"),
    };
    Duration::try_from_secs_f64(seconds).with_context(|| format!("`{text}` is out of range"))
}
