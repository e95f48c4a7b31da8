//! From a window of telemetry to an explained incident.
//!
//! An investigation has two steps. [`observe::observe`] asks the store typed questions and gets small aggregates back
//! (async, SQL). [`reason::reason`] turns them into evidence, hypotheses and a verdict (pure, synchronous,
//! deterministic). [`diagnose`] does both. [`narrate`] then phrases the diagnosis: from templates, as [`investigate`] does, or
//! in the checked words of a language model, whose prompts pass through [`redact`].
//!
//! Deliberately absent: clocks, SQL, any name of a service or metric.

pub mod answer;
pub mod ask;
pub mod knowledge;
pub mod lookup;
pub mod markdown;
pub mod narrate;
pub mod observe;
pub mod question;
pub mod reason;
pub mod redact;
pub mod similar;
pub mod terminal;

pub use knowledge::Knowledge;
pub use observe::{Observations, Progress};
pub use question::Question;

use domain::{Diagnosis, Report};
use storage::Store;

/// Why an investigation could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store did not answer.
    #[error("ask the store")]
    Store(#[from] storage::Error),
    /// A template of ours is broken.
    #[error("render the answer from its templates")]
    Template(#[from] minijinja::Error),
}

/// Observes and reasons. `progress` hears of each check as it ends.
pub async fn diagnose(
    store: &Store,
    question: &Question,
    progress: impl Fn(Progress) + Send + Sync,
) -> Result<Diagnosis, Error> {
    let observations = observe::observe(store, question, progress).await?;
    Ok(reason::reason(&observations))
}

/// Observes, reasons and narrates from templates.
pub async fn investigate(
    store: &Store,
    question: &Question,
    progress: impl Fn(Progress) + Send + Sync,
) -> Result<Report, Error> {
    Ok(narrate::narrate(diagnose(store, question, progress).await?)?)
}
