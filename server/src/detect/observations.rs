//! What is looked at once a minute, beside the rounds that ask whether users are hurt: metrics and log patterns. On its own
//! clock, so that a long look delays no incident.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use domain::{Finding, UnixNanos};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::{Detector, Look, log_patterns, series};

/// How often.
const EVERY: Duration = Duration::from_secs(60);

/// What the latest look found. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Observations(Arc<Mutex<Vec<Finding>>>);

impl Observations {
    /// The findings, notices all of them.
    pub fn findings(&self) -> Vec<Finding> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Looks until `stop`. What is found is an alert like any other, and what of it is held back as noise is not kept.
    pub async fn keep(&self, detector: &Detector, stop: CancellationToken) {
        let Detector { look, metrics, clock, .. } = detector;
        // Half a beat after a round of objectives, never with one: two at once would make the urgent one wait.
        let first = Instant::now() + detector.every / 2;
        let mut ticks = tokio::time::interval_at(first, EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let began = Instant::now();
            let found = tokio::select! {
                () = stop.cancelled() => return,
                found = at(look, clock.now()) => found,
            };
            match found {
                Ok(findings) => {
                    let held_back = detector.held_back(&findings).await;
                    let heard = findings.into_iter().zip(held_back).filter(|(_, held_back)| !held_back);
                    self.take(heard.map(|(finding, _)| finding).collect());
                }
                Err(error) => {
                    tracing::error!(error = format!("{error:#}"), "metrics and logs could not be looked at");
                    metrics.failed_evaluations.inc();
                }
            }
            metrics.observation_seconds.observe(began.elapsed().as_secs_f64());
        }
    }

    /// A finding that goes on began when it was first seen, unless it knows better.
    fn take(&self, mut findings: Vec<Finding>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let first: BTreeMap<String, UnixNanos> =
            known.iter().map(|finding| (finding.fingerprint(), finding.started)).collect();
        for finding in &mut findings {
            let since = first.get(&finding.fingerprint()).copied().unwrap_or(finding.started);
            finding.started = finding.started.min(since);
        }
        *known = findings;
    }
}

/// What is to be observed at `now`, which may be long past.
pub async fn at(look: &Look, now: UnixNanos) -> anyhow::Result<Vec<Finding>> {
    let (mut findings, patterns) = futures::try_join!(
        series::findings(&look.store, &look.limits, now),
        log_patterns::findings(&look.store, now)
    )?;
    findings.extend(patterns);
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::incidents::grouping::tests::finding;

    #[test]
    fn what_goes_on_keeps_its_start() {
        let (observations, first) = (Observations::default(), finding("cart"));
        let later = Finding { started: first.started.plus(EVERY), ..first.clone() };
        observations.take(vec![first.clone()]);
        observations.take(vec![later.clone(), finding("ads")]);
        assert_eq!(observations.findings(), [first, finding("ads")]);
        observations.take(Vec::new());
        observations.take(vec![later.clone()]);
        assert_eq!(observations.findings(), [later]);
    }
}
