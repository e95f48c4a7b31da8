//! What the program says of itself while it runs: one line per event on standard error.

use tracing_subscriber::EnvFilter;

/// What to log, as `info,ingest=debug`.
const VARIABLE: &str = "INQUEST_LOG";

/// Starts logging, at `level` unless the environment says otherwise.
pub fn start(level: &str) -> anyhow::Result<()> {
    let filter = match std::env::var(VARIABLE) {
        Ok(text) => {
            EnvFilter::try_new(&text).map_err(|error| anyhow::anyhow!("{VARIABLE}={text}: {error}"))?
        }
        Err(_) => EnvFilter::new(level),
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .try_init()
        .map_err(|error| anyhow::anyhow!("cannot start logging: {error}"))
}
