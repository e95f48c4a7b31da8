//! The clocks of the running agent: the one place that reads the system's time.

use std::time::Duration;

use domain::UnixNanos;
use rustix::time::{ClockId, Timespec, clock_gettime};

fn nanos(time: Timespec) -> i64 {
    time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec)
}

/// The wall clock.
pub fn now() -> UnixNanos {
    UnixNanos(nanos(clock_gettime(ClockId::Realtime)))
}

/// By how much the wall clock is ahead of the monotonic clock, which the kernel times events by.
pub fn wall_minus_monotonic() -> i64 {
    now().0 - nanos(clock_gettime(ClockId::Monotonic))
}

/// Nanoseconds of the monotonic clock.
pub fn monotonic_ns() -> u64 {
    nanos(clock_gettime(ClockId::Monotonic)).max(0).unsigned_abs()
}

/// Processor time that this process has used.
pub fn processor_time() -> Duration {
    Duration::from_nanos(nanos(clock_gettime(ClockId::ProcessCPUTime)).max(0).unsigned_abs())
}
