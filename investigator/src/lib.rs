//! From a window of telemetry to an explained incident.
//!
//! An investigation has two steps. [`observe::observe`] asks the store typed questions and gets small aggregates back
//! (async, SQL). [`reason::reason`] turns them into evidence, hypotheses and a verdict (pure, synchronous,
//! deterministic). [`narrate`] then phrases the diagnosis from templates. [`investigate`] runs all three.
//!
//! Deliberately absent: clocks, SQL, language models, any name of a service or metric.

pub mod markdown;
pub mod narrate;
pub mod observe;
pub mod question;
pub mod reason;
pub mod redact;
pub mod terminal;

pub use observe::{Observations, Progress};
pub use question::Question;

use domain::Report;
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

/// Observes, reasons and narrates. `progress` hears of each check as it ends.
pub async fn investigate(
    store: &Store,
    question: &Question,
    progress: impl Fn(Progress) + Send + Sync,
) -> Result<Report, Error> {
    let observations = observe::observe(store, question, progress).await?;
    let diagnosis = reason::reason(&observations);
    Ok(narrate::narrate(diagnosis)?)
}
