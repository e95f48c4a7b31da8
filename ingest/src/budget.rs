//! Bytes in flight, bounded: a request reserves what it holds and gives it back when it is gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::Semaphore;

use crate::refusal::Refusal;

/// The bytes that all requests together may hold.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    free: Arc<Semaphore>,
    gauge: Gauge,
}

impl Budget {
    pub(crate) fn new(bytes: usize, gauge: Gauge) -> Self {
        Self { free: Arc::new(Semaphore::new(bytes.min(Semaphore::MAX_PERMITS))), gauge }
    }

    /// A reservation of nothing yet.
    pub(crate) fn open(&self) -> Reservation {
        Reservation { budget: self.clone(), held: AtomicUsize::new(0) }
    }
}

/// What one request holds. Grows as its bytes arrive, so that nobody is trusted about lengths.
#[derive(Debug)]
pub(crate) struct Reservation {
    budget: Budget,
    held: AtomicUsize,
}

impl Reservation {
    /// Takes `bytes` more, or refuses at once: a queue of waiting bodies would be the memory we mean to save.
    pub(crate) fn grow(&self, bytes: usize) -> Result<(), Refusal> {
        let permits = u32::try_from(bytes).map_err(|_| Refusal::Busy)?;
        self.budget.free.try_acquire_many(permits).map_err(|_| Refusal::Busy)?.forget();
        self.held.fetch_add(bytes, Ordering::Relaxed);
        self.budget.gauge.inc_by(i64::from(permits));
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let held = *self.held.get_mut();
        self.budget.free.add_permits(held);
        self.budget.gauge.dec_by(i64::try_from(held).unwrap_or(i64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_beyond_the_bound_and_takes_back_what_is_dropped() {
        let budget = Budget::new(100, Gauge::default());
        let first = budget.open();
        assert_eq!(first.grow(60), Ok(()));
        assert_eq!(budget.open().grow(60), Err(Refusal::Busy));
        assert_eq!(first.grow(40), Ok(()));
        assert_eq!(budget.gauge.get(), 100);
        drop(first);
        assert_eq!(budget.gauge.get(), 0);
        assert_eq!(budget.open().grow(100), Ok(()));
    }
}
