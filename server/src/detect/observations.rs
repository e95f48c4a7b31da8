//! What is looked at once a minute: metrics and log patterns. Objectives, which say that users are hurt, are looked at in
//! every round.

use std::collections::BTreeMap;
use std::time::Duration;

use detectors::inspections::Limits;
use domain::{Finding, UnixNanos};
use storage::Store;

use super::{log_patterns, series};

/// How often.
const EVERY: Duration = Duration::from_secs(60);

/// What the last look found.
#[derive(Debug, Default)]
pub struct Observations {
    at: Option<UnixNanos>,
    findings: Vec<Finding>,
    /// When each thing that goes on was first seen, by fingerprint.
    first: BTreeMap<String, UnixNanos>,
}

impl Observations {
    /// What is observed at `now`, or was within the last minute.
    pub async fn findings(
        &mut self,
        store: &Store,
        limits: &Limits,
        now: UnixNanos,
    ) -> anyhow::Result<Vec<Finding>> {
        if self.at.is_none_or(|at| at.plus(EVERY) <= now || now < at) {
            let (series, patterns) =
                futures::try_join!(series::findings(store, limits, now), log_patterns::findings(store, now))?;
            self.take(series.into_iter().chain(patterns).collect());
            self.at = Some(now);
        }
        Ok(self.findings.clone())
    }

    /// A finding that goes on began when it was first seen, unless it knows better.
    fn take(&mut self, mut findings: Vec<Finding>) {
        let mut first = BTreeMap::new();
        for finding in &mut findings {
            let fingerprint = finding.fingerprint();
            let since = self.first.get(&fingerprint).copied().unwrap_or(finding.started);
            finding.started = finding.started.min(since);
            first.insert(fingerprint, finding.started);
        }
        (self.findings, self.first) = (findings, first);
    }
}
