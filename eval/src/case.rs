//! One recorded incident: loaded, investigated, scored.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Context;
use domain::{Report, Verdict};
use investigator::Question;
use serde::Serialize;
use storage::Store;

use crate::Label;

/// A service the investigator ranked.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ranked {
    /// Service.
    pub service: String,
    /// Mechanism.
    pub mechanism: String,
    /// Reference of the blamed change.
    pub change: Option<String>,
    /// Score, 0 to 1.
    pub score: f64,
}

/// The outcome of a case.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CaseResult {
    /// Case id.
    pub id: String,
    /// System it was recorded on.
    pub system: String,
    /// `cause`, `no_change` or `inconclusive`.
    pub verdict: Verdict,
    /// 0 to 1.
    pub confidence: f64,
    /// Services, best first.
    pub ranked: Vec<Ranked>,
    /// Rank of the first right service, from 1; `None` when none is ranked or nothing is known.
    pub correct_service_rank: Option<usize>,
    /// Whether the blamed change (or blaming none) is right; `None` when nothing is known.
    pub culprit_correct: Option<bool>,
    /// Time to load, milliseconds.
    pub load_ms: u64,
    /// Time to investigate, milliseconds.
    pub elapsed_ms: u64,
}

/// Folders below `root` (or `root` itself) that hold `incident.json`, in order.
pub fn cases_below(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = BTreeSet::new();
    let mut pending = vec![root.to_path_buf()];
    while let Some(dir) = pending.pop() {
        if dir.join("incident.json").exists() {
            found.insert(dir);
            continue;
        }
        for entry in std::fs::read_dir(&dir).with_context(|| format!("read folder {}", dir.display()))? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                pending.push(entry.path());
            }
        }
    }
    Ok(found.into_iter().collect())
}

/// The question that a recording asks. The label is not opened.
pub fn question(recording: &storage::recording::Recording) -> Question {
    let meta = &recording.meta;
    let day_before = domain::Window::new(
        meta.detected_at.minus(std::time::Duration::from_secs(1800)),
        meta.detected_at.plus(std::time::Duration::from_secs(300)),
    );
    let mut question = Question::new(meta.impacted_service.clone(), meta.window.unwrap_or(day_before));
    question.baseline = meta.baseline;
    question.started = Some(meta.detected_at);
    question.changes.clone_from(&recording.changes);
    question.edges.clone_from(&recording.edges);
    question.notes.clone_from(&recording.notes);
    question
}

/// Loads a recording into a store of its own and investigates it.
pub async fn investigate(
    dir: &Path,
    tick: impl Fn() -> std::time::Duration,
) -> anyhow::Result<(Report, String, u64, u64)> {
    let began = tick();
    let store = Store::scratch().await?;
    let loaded = storage::recording::load(&store, dir).await;
    let loaded_at = tick();
    let outcome = match loaded {
        Ok(recording) => {
            let question = question(&recording);
            let report = investigator::investigate(&store, &question, |_| {}).await;
            report.map(|report| (report, recording.meta.system)).map_err(anyhow::Error::from)
        }
        Err(error) => Err(error.into()),
    };
    let ended = tick();
    store.close().await?;
    let (report, system) = outcome.with_context(|| format!("investigate {}", dir.display()))?;
    Ok((report, system, (loaded_at - began).as_millis() as u64, (ended - loaded_at).as_millis() as u64))
}

/// Runs and scores one case. `tick` tells elapsed time: the clock is the caller's.
pub async fn run_case(dir: &Path, tick: impl Fn() -> std::time::Duration) -> anyhow::Result<CaseResult> {
    let label = Label::read(dir)?;
    let (report, system, load_ms, elapsed_ms) = investigate(dir, tick).await?;
    let id = dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(score(id, system, &report, label.as_ref(), load_ms, elapsed_ms))
}

fn score(
    id: String,
    system: String,
    report: &Report,
    label: Option<&Label>,
    load_ms: u64,
    elapsed_ms: u64,
) -> CaseResult {
    let mut ranked: Vec<Ranked> = Vec::new();
    let mut hypotheses: Vec<_> =
        report.diagnosis.hypotheses.iter().filter(|hypothesis| hypothesis.score > 0.0).collect();
    hypotheses.sort_by(|left, right| right.score.total_cmp(&left.score));
    for hypothesis in hypotheses {
        if !ranked.iter().any(|known| known.service == hypothesis.service) {
            ranked.push(Ranked {
                service: hypothesis.service.clone(),
                mechanism: hypothesis.mechanism.as_str().to_owned(),
                change: hypothesis.change.clone(),
                score: hypothesis.score,
            });
        }
    }
    let correct_service_rank = label
        .and_then(|label| ranked.iter().position(|ranked| label.accepts(&ranked.service)))
        .map(|place| place + 1);
    let culprit_correct = label.and_then(|label| label.culprit_change.as_deref()).map(|culprit| {
        let blamed = report
            .diagnosis
            .changes
            .iter()
            .find(|change| change.blamed)
            .map(|change| change.change.reference.as_str());
        blamed.unwrap_or("none") == culprit
    });
    CaseResult {
        id,
        system,
        verdict: report.diagnosis.verdict,
        confidence: report.diagnosis.confidence.score,
        ranked,
        correct_service_rank,
        culprit_correct,
        load_ms,
        elapsed_ms,
    }
}
