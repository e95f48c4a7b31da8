//! From arguments to behaviour: settings from file and flags, then the command, then the exit code.

use std::io::IsTerminal as _;

use anyhow::Context as _;

use crate::cli::{Cli, Command, ConfigCommand, DetectCommand, EvalCommand, ServeArgs, StoreArgs};
use crate::clock::SystemClock;
use crate::config::Config;
use crate::{anomalies, demo, evaluate, lifecycle, logging, logs, narrative, output, recording, serve, why};

/// Runs what was asked. `false` when it ended well but the answer is no.
pub async fn run(cli: Cli) -> anyhow::Result<bool> {
    logging::start(match cli.command {
        // Retention is applied anew at each start, statement by statement.
        Command::Serve(_) => "info,storage::retention=warn",
        _ => "warn",
    })?;
    match cli.command {
        Command::Serve(arguments) => serve(serve_config(&arguments)?).await.map(|()| true),
        Command::Why(arguments) => why::run(&arguments).await.map(|()| true),
        Command::Recording(command) => recording::run(&command).await.map(|()| true),
        Command::Logs(command) => logs::run(&command).map(|()| true),
        Command::Eval(EvalCommand::Run(arguments)) => evaluate::run(&arguments).await,
        Command::Eval(EvalCommand::Narrative(arguments)) => narrative::run(&arguments).await,
        Command::Eval(EvalCommand::Suppression(arguments)) => evaluate::suppression(&arguments).await,
        Command::Detect(DetectCommand::Anomalies(arguments)) => anomalies::run(&arguments).map(|()| true),
        Command::Demo(arguments) => demo::run(arguments).await,
        Command::Config(command) => config(&command).map(|()| true),
    }
}

/// The settings of a command that opens a store.
pub fn store_config(arguments: &StoreArgs) -> anyhow::Result<Config> {
    let mut config = match &arguments.config {
        Some(path) => Config::read(path)?,
        None => Config::default(),
    };
    if let Some(data) = &arguments.data {
        config.storage.data.clone_from(data);
        config.storage.clickhouse = None;
    }
    if let Some(url) = &arguments.clickhouse {
        config.storage.clickhouse = Some(url.clone());
    }
    Ok(config)
}

/// The settings of `serve`.
fn serve_config(arguments: &ServeArgs) -> anyhow::Result<Config> {
    let mut config = store_config(&arguments.store)?;
    config.listen.pages = arguments.listen.unwrap_or(config.listen.pages);
    config.listen.grpc = arguments.grpc.unwrap_or(config.listen.grpc);
    config.listen.http = arguments.http.unwrap_or(config.listen.http);
    Ok(config)
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let signals = lifecycle::signals()?;
    let place = match &config.storage.clickhouse {
        Some(_) => format!("ClickHouse, database {}", config.storage.database),
        None => config.storage.data.display().to_string(),
    };
    fetch_engine(&config).await?;
    let running = serve::start(config, SystemClock::shared()).await?;
    let addresses = running.addresses();
    output::line(&format!("Pages and API    {}", addresses.pages_url()));
    output::line(&format!("OTLP over gRPC   {}", addresses.grpc_url()));
    output::line(&format!("OTLP over HTTP   {}", addresses.http_url()));
    output::line(&format!("Data             {place}"));
    let failed = tokio::select! {
        () = signals.drain.cancelled() => None,
        error = running.failed() => Some(error),
    };
    if std::io::stderr().is_terminal() {
        tracing::info!("stopping; once more to stop at once");
    }
    tokio::select! {
        outcome = running.shutdown() => outcome?,
        () = signals.stop.cancelled() => anyhow::bail!("stopped at once"),
    }
    failed.map_or(Ok(()), Err)
}

/// Fetches the engine where it will be needed, with a progress bar, before anything else is begun.
pub async fn fetch_engine(config: &Config) -> anyhow::Result<()> {
    if config.storage.clickhouse.is_none() {
        let fetched = tokio::task::spawn_blocking(|| storage::engine::fetch::ensure(true)).await?;
        fetched.context("cannot get the ClickHouse engine")?;
    }
    Ok(())
}

fn config(command: &ConfigCommand) -> anyhow::Result<()> {
    match command {
        ConfigCommand::Check { file } => {
            Config::read(file)?;
            output::line(&format!("{} is fine", file.display()));
        }
        ConfigCommand::Defaults => output::text(&toml::to_string_pretty(&Config::default())?),
    }
    Ok(())
}
