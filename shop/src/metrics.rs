//! Every instrument of the shop. Names follow the OpenTelemetry semantic conventions where those have one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter, UpDownCounter};
use tokio::sync::Semaphore;

/// Advised by the conventions for durations in seconds, and stretched to the longest timeout of the shop.
const DURATION_BUCKETS: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// What every server counts.
pub(crate) struct ServerMetrics {
    /// Answered requests, with method, route and status.
    pub requests: Counter<u64>,
    /// Time from the first byte read to the answer.
    pub duration: Histogram<f64>,
    /// Requests in flight.
    pub active: UpDownCounter<i64>,
}

impl ServerMetrics {
    pub fn new(meter: &Meter) -> Self {
        Self {
            requests: meter.u64_counter("http.server.requests").with_unit("{request}").build(),
            duration: meter
                .f64_histogram("http.server.request.duration")
                .with_unit("s")
                .with_boundaries(DURATION_BUCKETS.to_vec())
                .build(),
            active: meter.i64_up_down_counter("http.server.active_requests").with_unit("{request}").build(),
        }
    }
}

/// The state of a connection pool, shared between the pool and the gauges that read it.
pub(crate) struct PoolState {
    pub name: &'static str,
    pub max: u32,
    pub permits: Arc<Semaphore>,
    pub waiting: AtomicU64,
}

impl PoolState {
    pub fn in_use(&self) -> u64 {
        u64::from(self.max).saturating_sub(self.permits.available_permits() as u64)
    }
}

/// What a connection pool records itself.
pub(crate) struct PoolMetrics {
    /// Time to get a connection.
    pub wait: Histogram<f64>,
    /// Callers that gave up waiting.
    pub timeouts: Counter<u64>,
}

impl PoolMetrics {
    /// Declares the instruments of a pool; its gauges read `state` whenever metrics are collected.
    pub fn new(meter: &Meter, state: &Arc<PoolState>) -> Self {
        gauge(meter, "db.client.connection.used", state, PoolState::in_use);
        gauge(meter, "db.client.connection.max", state, |state| u64::from(state.max));
        gauge(meter, "db.client.connection.pending_requests", state, |state| {
            state.waiting.load(Ordering::Relaxed)
        });
        Self {
            wait: meter
                .f64_histogram("db.client.connection.wait_time")
                .with_unit("s")
                .with_boundaries(DURATION_BUCKETS.to_vec())
                .build(),
            timeouts: meter.u64_counter("db.client.connection.timeouts").with_unit("{timeout}").build(),
        }
    }
}

fn gauge(meter: &Meter, name: &'static str, state: &Arc<PoolState>, read: fn(&PoolState) -> u64) {
    let state = Arc::clone(state);
    meter
        .u64_observable_gauge(name)
        .with_unit("{connection}")
        .with_callback(move |observer| {
            observer.observe(read(&state), &[KeyValue::new("db.client.connection.pool.name", state.name)]);
        })
        .build();
}
