//! Failure patterns of a folder of one's own, read again every hour: a checkout that somebody pulls is known without a restart.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use investigator::Knowledge;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

/// How often the folder is read again.
pub const EVERY: Duration = Duration::from_secs(3600);

/// Reads the folder again every hour until `stop`. What cannot be used is told in the log, and what was known stays.
pub async fn keep(knowledge: Arc<Knowledge>, folder: PathBuf, stop: CancellationToken) {
    let mut ticks = tokio::time::interval_at(Instant::now() + EVERY, EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let (known, from) = (knowledge.clone(), folder.clone());
        match tokio::task::spawn_blocking(move || known.read_again(&from)).await {
            Ok(Ok(patterns)) => tracing::debug!(patterns, "read the folder of failure patterns again"),
            Ok(Err(error)) => tracing::warn!(
                %error,
                "cannot use the folder of failure patterns as it is now; what was known stays"
            ),
            Err(error) => tracing::error!(%error, "reading the folder of failure patterns ended badly"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_folder_is_read_again_every_hour_and_faults_change_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let write = |title: &str, mechanism: &str| {
            let text = format!(
                "+++\ntitle = '{title}'\nmechanisms = ['{mechanism}']\nsymptoms = ['y']\nmechanism = 'X.'\nchecks = ['Look.']\nfixes = ['Fix.']\n+++\n"
            );
            std::fs::write(folder.path().join("ours.md"), text).unwrap();
        };
        write("First", "down");
        let knowledge = Arc::new(Knowledge::built_in().with_folder(folder.path()).unwrap());
        let stop = CancellationToken::new();
        let keeping = tokio::spawn(keep(knowledge.clone(), folder.path().to_owned(), stop.clone()));
        let title = || knowledge.patterns().iter().find(|one| one.name == "ours").unwrap().title.clone();
        let later = async |hours: f64| {
            tokio::time::sleep(EVERY.mul_f64(hours)).await;
            // Files are read outside of the clock.
            for _ in 0..200 {
                std::thread::yield_now();
                tokio::task::yield_now().await;
            }
        };
        write("Second", "down");
        later(0.5).await;
        assert_eq!(title(), "First");
        let mut waited = 0;
        while title() == "First" {
            assert!(waited < 20, "never read again");
            later(1.0).await;
            waited += 1;
        }
        write("Third", "gremlins");
        later(3.0).await;
        assert_eq!(title(), "Second");
        stop.cancel();
        keeping.await.unwrap();
    }
}
