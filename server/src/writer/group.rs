//! Submissions that are stored together, and taken apart again when that fails.

use domain::Batch;
use ingest::{StoreFailed, Submission};
use tokio::sync::oneshot;

/// Whom to tell how a submission fared.
type Done = oneshot::Sender<Result<(), StoreFailed>>;

/// Several submissions as one batch.
#[derive(Debug, Default)]
pub(super) struct Group {
    batch: Batch,
    parts: Vec<Part>,
}

/// The rows of one submission, by signal, and its sender.
#[derive(Debug)]
struct Part {
    spans: usize,
    logs: usize,
    samples: usize,
    profiles: usize,
    changes: usize,
    done: Done,
}

impl Group {
    pub(super) fn push(&mut self, submission: Submission) {
        let Submission { batch, done } = submission;
        self.parts.push(Part {
            spans: batch.spans.len(),
            logs: batch.logs.len(),
            samples: batch.samples.len(),
            profiles: batch.profiles.len(),
            changes: batch.changes.len(),
            done,
        });
        if self.batch.is_empty() {
            self.batch = batch;
        } else {
            self.batch.append(batch);
        }
    }

    pub(super) fn rows(&self) -> usize {
        self.batch.len()
    }

    pub(super) fn submissions(&self) -> usize {
        self.parts.len()
    }

    pub(super) const fn batch(&self) -> &Batch {
        &self.batch
    }

    pub(super) const fn batch_mut(&mut self) -> &mut Batch {
        &mut self.batch
    }

    /// Tells every sender the same.
    pub(super) fn answer(self, outcome: &Result<(), StoreFailed>) {
        for part in self.parts {
            // A sender that no longer waits has its rows stored all the same, and will send them again.
            let _ = part.done.send(outcome.clone());
        }
    }

    /// One group per submission, each with its own rows again. Rows added to the batch since are dropped.
    pub(super) fn split(self) -> Vec<Self> {
        let Batch { spans, logs, samples, profiles, changes } = self.batch;
        let (mut spans, mut logs) = (spans.into_iter(), logs.into_iter());
        let (mut samples, mut profiles) = (samples.into_iter(), profiles.into_iter());
        let mut changes = changes.into_iter();
        self.parts
            .into_iter()
            .map(|part| Self {
                batch: Batch {
                    spans: spans.by_ref().take(part.spans).collect(),
                    logs: logs.by_ref().take(part.logs).collect(),
                    samples: samples.by_ref().take(part.samples).collect(),
                    profiles: profiles.by_ref().take(part.profiles).collect(),
                    changes: changes.by_ref().take(part.changes).collect(),
                },
                parts: vec![part],
            })
            .collect()
    }
}
