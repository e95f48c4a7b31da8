//! Many cases, some at a time; the results are in order whatever ends first.

use std::path::{Path, PathBuf};
use std::time::Duration;

use domain::Report;
use futures::{StreamExt as _, stream};
use serde::Serialize;

use crate::floors::{self, Floor};
use crate::summary::Summary;
use crate::{CaseResult, Label, Marks, case, score};

/// All that is known of one case after a run.
pub struct Outcome {
    /// What the JSON says.
    pub result: CaseResult,
    /// What else is scored.
    pub marks: Marks,
    /// What naive methods score.
    pub floors: [Floor; 4],
    /// The answer.
    pub report: Report,
    /// The right one, if known.
    pub label: Option<Label>,
    /// Time to load, milliseconds.
    pub load_ms: u64,
    /// Time to reason and to phrase the answer, milliseconds; the rest of the result's time went into observing.
    pub reason_ms: u64,
}

/// A run: outcomes in the order of the folders, and what could not be investigated.
#[derive(Default)]
pub struct Run {
    /// Cases.
    pub outcomes: Vec<Outcome>,
    /// Errors, one line each.
    pub failures: Vec<String>,
}

#[derive(Serialize)]
struct Document<'a> {
    cases: Vec<&'a CaseResult>,
    summary: Summary,
}

impl Run {
    /// The results as JSON; with the same cases the same bytes but for elapsed times.
    pub fn json(&self) -> anyhow::Result<String> {
        let cases = self.outcomes.iter().map(|outcome| &outcome.result).collect();
        Ok(serde_json::to_string_pretty(&Document { cases, summary: Summary::new(&self.outcomes) })? + "\n")
    }

    /// The cases alone.
    pub fn results(&self) -> Vec<CaseResult> {
        self.outcomes.iter().map(|outcome| outcome.result.clone()).collect()
    }
}

/// Investigates every folder, `jobs` at a time. `tick` tells elapsed time, `ended` hears of each case as it ends.
pub async fn run(
    dirs: &[PathBuf],
    jobs: usize,
    tick: impl Fn() -> Duration + Copy,
    ended: impl Fn(&Path),
) -> Run {
    let mut run = Run::default();
    let stores = case::Stores::default();
    let mut done = stream::iter(dirs)
        .map(|dir| {
            let (ended, stores) = (&ended, &stores);
            async move {
                let outcome = run_case(stores, dir, tick).await;
                ended(dir);
                outcome
            }
        })
        .buffered(jobs.max(1));
    while let Some(outcome) = done.next().await {
        match outcome {
            Ok(outcome) => run.outcomes.push(outcome),
            Err(error) => run.failures.push(format!("{error:#}")),
        }
    }
    drop(done);
    if let Err(error) = stores.close().await {
        run.failures.push(format!("{error:#}"));
    }
    run
}

/// Investigates and scores one case.
pub async fn run_case(
    stores: &case::Stores,
    dir: &Path,
    tick: impl Fn() -> Duration,
) -> anyhow::Result<Outcome> {
    let label = Label::read(dir)?;
    let seen = case::investigate_in(stores, dir, tick).await?;
    let id = dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let elapsed_ms = seen.elapsed.as_millis() as u64;
    let (result, marks) = score::score(&id, &seen.system, &seen.report.diagnosis, label.as_ref(), elapsed_ms);
    let floors = label.as_ref().map(|label| floors::floors(&seen.observations, label)).unwrap_or_default();
    let (load_ms, reason_ms) = (seen.load.as_millis() as u64, seen.reason.as_millis() as u64);
    Ok(Outcome { result, marks, floors, report: seen.report, label, load_ms, reason_ms })
}
