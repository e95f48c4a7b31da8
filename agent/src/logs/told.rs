//! What followers tell of themselves: what went by, and what went wrong.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// What went by, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Events that have arrived.
    pub sent: u64,
    /// Lines that were too long and have lost their end.
    pub cut: u64,
    /// Entries of the journal that were too long to be read at all.
    pub lost: u64,
    /// Times that a file became shorter, or another.
    pub truncated: u64,
    /// Times that something else than reading one file failed, and was tried again.
    pub failures: u64,
    /// Files that are followed at present.
    pub files: u64,
    /// Files that are not followed at present because [`FILES`](super::limits::FILES) others are.
    pub refused: u64,
    /// Files that cannot be read at present.
    pub unreadable: u64,
}

/// The counts of one follower, for whoever shows them while it runs.
#[derive(Clone, Debug, Default)]
pub struct Told(Arc<Mutex<Counts>>);

impl Told {
    /// As they stand.
    pub fn counts(&self) -> Counts {
        *self.lock()
    }

    /// What else failed is counted here alone.
    pub(super) fn tell(&self, counts: Counts) {
        self.change(|told| *told = Counts { failures: told.failures, ..counts });
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.lock());
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        // Counts are whole after any panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Between two warnings of one follower: what is tried again every few seconds would fill the log.
const QUIET: Duration = Duration::from_secs(600);

/// Errors that a follower outlives: each is counted, the first in a while is told.
#[derive(Debug)]
pub(super) struct Troubles {
    what: &'static str,
    told: Told,
    warned: Option<Instant>,
}

impl Troubles {
    /// Of who follows `what`.
    pub fn new(what: &'static str, told: Told) -> Self {
        Self { what, told, warned: None }
    }

    /// What there is, even if that is nothing.
    pub fn pass<T: Default>(&mut self, result: io::Result<T>) -> T {
        result.unwrap_or_else(|error| {
            self.note(&error);
            T::default()
        })
    }

    /// Counts an error, and tells it when none was told for a while.
    pub fn note(&mut self, error: &io::Error) {
        self.told.change(|counts| counts.failures += 1);
        if self.warned.is_none_or(|at| at.elapsed() >= QUIET) {
            self.warned = Some(Instant::now());
            tracing::warn!(%error, "trouble with {}: it is tried again", self.what);
        }
    }
}
