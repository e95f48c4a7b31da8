//! One recorded incident: found, loaded, investigated.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::Context;
use domain::{Report, Window};
use investigator::{Observations, Question, narrate, observe, reason};
use storage::Store;

/// How long before its detection an incident of unknown extent is looked at.
const LOOK_BACK: Duration = Duration::from_secs(1800);
/// And how long after.
const LOOK_AHEAD: Duration = Duration::from_secs(300);

/// A recording, investigated.
pub struct Investigated {
    /// System it was recorded on.
    pub system: String,
    /// What was seen.
    pub observations: Observations,
    /// The answer.
    pub report: Report,
    /// Time to load it into a store.
    pub load: Duration,
    /// Time to investigate it.
    pub elapsed: Duration,
    /// The part of that in which the store was not asked any more.
    pub reason: Duration,
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
    let around = Window::new(meta.detected_at.minus(LOOK_BACK), meta.detected_at.plus(LOOK_AHEAD));
    let mut question = Question::new(meta.impacted_service.clone(), meta.window.unwrap_or(around));
    question.baseline = meta.baseline;
    question.started = Some(meta.detected_at);
    question.changes.clone_from(&recording.changes);
    question.edges.clone_from(&recording.edges);
    question.notes.clone_from(&recording.notes);
    question
}

/// Empty stores, ready for the next recording: making one anew takes longer than loading most recordings.
#[derive(Default)]
pub struct Stores(Mutex<Vec<Store>>);

impl Stores {
    async fn take(&self) -> anyhow::Result<Store> {
        let idle = self.idle().pop();
        match idle {
            Some(store) => Ok(store),
            None => Ok(Store::scratch().await?),
        }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Store>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    async fn give_back(&self, store: Store) -> anyhow::Result<()> {
        let store = store.emptied().await?;
        self.idle().push(store);
        Ok(())
    }

    /// Closes them.
    pub async fn close(self) -> anyhow::Result<()> {
        for store in self.0.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
            store.close().await?;
        }
        Ok(())
    }
}

/// Loads a recording into a store of its own and investigates it. `tick` tells elapsed time: the clock is the caller's.
pub async fn investigate(dir: &Path, tick: impl Fn() -> Duration) -> anyhow::Result<Investigated> {
    let stores = Stores::default();
    let outcome = investigate_in(&stores, dir, tick).await;
    stores.close().await?;
    outcome
}

/// [`investigate`], in one of several stores.
pub async fn investigate_in(
    stores: &Stores,
    dir: &Path,
    tick: impl Fn() -> Duration,
) -> anyhow::Result<Investigated> {
    let began = tick();
    let store = stores.take().await?;
    let outcome = load_and_investigate(&store, dir, began, tick).await;
    stores.give_back(store).await?;
    outcome.with_context(|| format!("investigate {}", dir.display()))
}

async fn load_and_investigate(
    store: &Store,
    dir: &Path,
    began: Duration,
    tick: impl Fn() -> Duration,
) -> anyhow::Result<Investigated> {
    let recording = storage::recording::load(store, dir).await?;
    let loaded = tick();
    let observations = observe::observe(store, &question(&recording), |_| {}).await?;
    let observed = tick();
    let report = narrate::narrate(reason::reason(&observations))?;
    let answered = tick();
    let (elapsed, reason) = (answered.saturating_sub(loaded), answered.saturating_sub(observed));
    let load = loaded.saturating_sub(began);
    Ok(Investigated { system: recording.meta.system, observations, report, load, elapsed, reason })
}
