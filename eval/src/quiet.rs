//! Fault-free windows of recordings: what the investigator says where nothing is wrong.

use std::path::Path;
use std::time::Duration;

use domain::{UnixNanos, Window};
use investigator::{Observations, Question, observe};
use storage::Store;
use storage::recording::Recording;

use crate::case::question;

/// Windows taken from one long baseline.
const PIECES: i64 = 3;
/// Shortest quiet time that is worth asking about.
const SHORTEST: Duration = Duration::from_secs(240);
/// Kept clear of the first change or the first sign of harm.
const CLEARANCE: Duration = Duration::from_secs(300);

/// Questions about times of a recording at which nothing was wrong, as if somebody had been alarmed.
pub fn questions(recording: &Recording) -> Vec<Question> {
    let asked = question(recording);
    let ask = |baseline: Window, window: Window| {
        let third = Duration::from_secs_f64(window.seconds() / 3.0);
        let changes = asked.changes.iter().filter(|change| change.at < window.end).cloned().collect();
        let started = Some(window.start.plus(third));
        Question { window, baseline: Some(baseline), started, changes, ..asked.clone() }
    };
    let length = asked.window.duration();
    match recording.meta.baseline {
        Some(long) if long.duration() > length * 8 => (1..=PIECES)
            .map(|piece| {
                let start = UnixNanos(long.start.0 + (long.end.0 - long.start.0) * piece / (PIECES + 1));
                ask(Window::new(long.start, start), Window::new(start, start.plus(length)))
            })
            .collect(),
        Some(_) => Vec::new(),
        None => {
            let first_change =
                asked.changes.iter().map(|change| change.at).filter(|at| *at > asked.window.start).min();
            let end = first_change
                .unwrap_or(recording.meta.detected_at)
                .minus(CLEARANCE)
                .min(recording.meta.detected_at.minus(CLEARANCE));
            if end < asked.window.start.plus(2 * SHORTEST) {
                return Vec::new();
            }
            let middle = UnixNanos(i64::midpoint(asked.window.start.0, end.0));
            vec![ask(Window::new(asked.window.start, middle), Window::new(middle, end))]
        }
    }
}

/// Observes those fault-free windows of a recording that are `wanted`.
pub async fn observed(
    dir: &Path,
    wanted: impl FnMut(&Recording, &Question) -> bool,
) -> anyhow::Result<Vec<Observations>> {
    let recording = storage::recording::read(dir)?;
    let mut wanted = wanted;
    let questions: Vec<Question> =
        questions(&recording).into_iter().filter(|question| wanted(&recording, question)).collect();
    if questions.is_empty() {
        return Ok(Vec::new());
    }
    let store = Store::scratch().await?;
    let outcome = async {
        let notes = storage::recording::load(&store, dir).await?.notes;
        let mut seen = Vec::new();
        for question in questions {
            let question = Question { notes: notes.clone(), ..question };
            seen.push(observe::observe(&store, &question, |_| {}).await?);
        }
        anyhow::Ok(seen)
    }
    .await;
    store.close().await?;
    outcome
}
