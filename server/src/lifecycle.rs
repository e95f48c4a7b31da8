//! Starting and stopping: one token and one tracker from `main` to every task; first signal drains, second stops.

use std::future::Future;
use std::time::Duration;

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Longest that one stage of an orderly stop may take before it is given up.
pub const STAGE_TIMEOUT: Duration = Duration::from_secs(10);

/// What tasks of one stage hold: when to stop, and where they are counted.
#[derive(Clone, Debug, Default)]
pub struct Stage {
    token: CancellationToken,
    tasks: TaskTracker,
}

impl Stage {
    /// Cancelled when the stage should end.
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// Runs a task of this stage.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Asks the tasks to end and waits for them, at most [`STAGE_TIMEOUT`]. Whether all of them ended.
    pub async fn stop(&self) -> bool {
        self.token.cancel();
        self.tasks.close();
        tokio::time::timeout(STAGE_TIMEOUT, self.tasks.wait()).await.is_ok()
    }
}

/// What the first and the second signal ask for.
#[derive(Clone, Debug)]
pub struct Signals {
    /// Cancelled by the first: finish what was begun, then end.
    pub drain: CancellationToken,
    /// Cancelled by the second: end now.
    pub stop: CancellationToken,
}

/// Listens for SIGINT and SIGTERM.
pub fn signals() -> anyhow::Result<Signals> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let signals = Signals { drain: CancellationToken::new(), stop: CancellationToken::new() };
    let cancelled = signals.clone();
    tokio::spawn(async move {
        for token in [cancelled.drain, cancelled.stop] {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            token.cancel();
        }
    });
    Ok(signals)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_stage_waits_for_its_tasks_but_not_for_ever() {
        let stage = Stage::default();
        let token = stage.token();
        stage.spawn(async move { token.cancelled().await });
        assert!(stage.stop().await);

        let stuck = Stage::default();
        stuck.spawn(std::future::pending());
        assert!(!stuck.stop().await);
    }
}
