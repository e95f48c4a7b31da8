//! The clock of the running program: the one place that reads the system's time.
//!
//! Everything else is handed a [`Clock`], or an instant.

use std::sync::Arc;

use domain::{Clock, UnixNanos};

/// The system's wall clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl SystemClock {
    /// The clock, ready to be shared.
    pub fn shared() -> Arc<dyn Clock> {
        Arc::new(Self)
    }
}

impl Clock for SystemClock {
    #[allow(
        clippy::disallowed_methods,
        reason = "the composition root's clock: everything else is handed it"
    )]
    fn now(&self) -> UnixNanos {
        let nanos = jiff::Timestamp::now().as_nanosecond();
        UnixNanos(i64::try_from(nanos).unwrap_or(i64::MAX))
    }
}
