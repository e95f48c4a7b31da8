//! What ingest hands to storage in one piece.

use serde::{Deserialize, Serialize};

use crate::{Change, LogRecord, ProfileSample, Sample, Span};

/// Telemetry of any signals that is stored, and acknowledged, together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Batch {
    /// Finished spans.
    pub spans: Vec<Span>,
    /// Log records.
    pub logs: Vec<LogRecord>,
    /// Metric samples.
    pub samples: Vec<Sample>,
    /// Profile stacks.
    pub profiles: Vec<ProfileSample>,
    /// Changes made by people and pipelines.
    pub changes: Vec<Change>,
}

impl Batch {
    /// Rows of all signals.
    pub fn len(&self) -> usize {
        self.spans.len() + self.logs.len() + self.samples.len() + self.profiles.len() + self.changes.len()
    }

    /// Whether there is nothing to store.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Moves the rows of `other` to the end of this batch.
    pub fn append(&mut self, mut other: Self) {
        self.spans.append(&mut other.spans);
        self.logs.append(&mut other.logs);
        self.samples.append(&mut other.samples);
        self.profiles.append(&mut other.profiles);
        self.changes.append(&mut other.changes);
    }
}
