//! What an idle server costs: the time until it is ready, and its memory.

use std::time::Duration;

use anyhow::{Context, Result};
use system_tests::program::Program;

use crate::{mebibytes, median};

const STARTS: usize = 5;
/// Long enough for every schedule to have run more than once.
const IDLE: Duration = Duration::from_secs(60);

/// Starts it several times on one folder, then leaves the last one alone for a while.
pub async fn run() -> Result<()> {
    let data = tempfile::tempdir().context("failed to make a data folder")?;
    // The first start may fetch the engine and makes the schema; it is told apart.
    let first = Program::serve(data.path()).await?;
    println!("first ready after {:.2} s", first.ready_after.as_secs_f64());
    first.stop().await?;
    let mut ready = Vec::new();
    for _ in 0..STARTS {
        let program = Program::serve(data.path()).await?;
        ready.push(program.ready_after.as_secs_f64());
        program.stop().await?;
    }
    println!("ready after       {:.2} s, median of {STARTS}", median(ready));
    let program = Program::serve(data.path()).await?;
    tokio::time::sleep(IDLE).await;
    let usage = program.usage()?;
    println!(
        "resident          {} after {} s idle, {} at most",
        mebibytes(usage.resident_bytes),
        IDLE.as_secs(),
        mebibytes(usage.peak_bytes)
    );
    program.stop().await
}
