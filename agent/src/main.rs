//! The `inquest-agent` program.

use std::path::PathBuf;
use std::process::ExitCode;

use agent::settings::Settings;
use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// Sees every service of this host without touching it, and tells Inquest.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Settings; without it, those of /etc/inquest/agent.toml when it is there.
    #[arg(long, short, global = true)]
    config: Option<PathBuf>,
    /// Where telemetry goes, OTLP over gRPC.
    #[arg(long, global = true)]
    server: Option<String>,
    /// Where what must survive a restart is kept.
    #[arg(long, global = true)]
    data: Option<PathBuf>,
    /// Where /metrics is served; "" for nowhere.
    #[arg(long, global = true)]
    metrics: Option<String>,
}

#[derive(Subcommand)]
enum Command {
    /// Watches until told to stop (the default).
    Run,
    /// Says which features this kernel and these privileges allow, and why not.
    Check,
}

const SETTINGS: &str = "/etc/inquest/agent.toml";
/// What to log, as `info,agent=debug`.
const LOG: &str = "INQUEST_LOG";

fn main() -> ExitCode {
    match start(Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(arguments: Arguments) -> Result<ExitCode> {
    let settings = settings(&arguments)?;
    if matches!(arguments.command, Some(Command::Check)) {
        // Its runtime is what links of programs ask for.
        let (text, works) = agent::check::check(&settings);
        print(&text);
        print(&agent::check::tls(&settings));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        print(&runtime.block_on(agent::surroundings::check(&settings)));
        return Ok(if works { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_from_env(LOG).unwrap_or_else(|_| EnvFilter::new("info")))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .init();
    if let Err(error) = raise_descriptor_limit() {
        tracing::warn!(error = format!("{error:#}"), "may run out of descriptors for log files and probes");
    }
    // While privileges last, and before there are threads.
    if let Err(error) = agent::kernel::show_trace_points() {
        tracing::warn!("{error:#}");
    }
    if let Err(error) = agent::manners::give_way() {
        tracing::warn!(error = format!("{error:#}"), "competes with what it watches for the processors");
    }
    if let Err(error) = agent::privileges::drop_others() {
        tracing::warn!(error = format!("{error:#}"), "runs with more privileges than it needs");
    }
    // One thread sends and follows logs; events are read by a thread apart.
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime =
        runtime.worker_threads(1).enable_all().on_thread_unpark(agent::manners::forgo_turn).build()?;
    runtime.block_on(async {
        let stop = CancellationToken::new();
        let told = stop.clone();
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
        let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
        tokio::spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            told.cancel();
        });
        agent::run::run(settings, stop).await
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Lets this process have as many files open as the system allows it to. The usual 1024 are a protection for programs that call `select`;
/// log files alone may be as many, and each probe takes one.
fn raise_descriptor_limit() -> Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
        .context("the limit of descriptors stays")
}

fn settings(arguments: &Arguments) -> Result<Settings> {
    let mut settings = match &arguments.config {
        Some(path) => Settings::read(path)?,
        None if std::path::Path::new(SETTINGS).exists() => Settings::read(SETTINGS.as_ref())?,
        None => Settings::default(),
    };
    if let Some(server) = &arguments.server {
        settings.server.clone_from(server);
    }
    if let Some(data) = &arguments.data {
        settings.data.clone_from(data);
    }
    if let Some(text) = &arguments.metrics {
        settings.metrics = agent::settings::address(text).with_context(|| format!("--metrics {text:?}"))?;
    }
    Ok(settings)
}

fn print(text: &str) {
    use std::io::Write as _;
    // A reader that went away is no failure of ours.
    let _ = std::io::stdout().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_files_may_be_open_as_the_system_allows() {
        let before = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: Some(256), ..before }).expect("lowered");
        raise_descriptor_limit().expect("raised");
        let after = getrlimit(Resource::Nofile);
        assert_eq!((after.current, after.maximum), (before.maximum, before.maximum));
    }
}
