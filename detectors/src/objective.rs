//! Service level objectives and which service they apply to.

use globset::GlobMatcher;

/// What callers of a service are promised.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Objectives {
    /// Share of requests that succeed, 0 to 1.
    pub availability: f64,
    /// Threshold of the latency objective, milliseconds.
    pub latency_ms: f64,
    /// Share of requests answered within the threshold, 0 to 1.
    pub latency_ratio: f64,
}

/// 99% succeed, 99% within 500 ms: what the field uses where nothing was agreed.
impl Default for Objectives {
    fn default() -> Self {
        Self { availability: 0.99, latency_ms: 500.0, latency_ratio: 0.99 }
    }
}

/// Overrides by service name: the last match wins.
#[derive(Clone, Debug, Default)]
pub struct ObjectiveTable {
    default: Objectives,
    overrides: Vec<(GlobMatcher, Objectives)>,
}

impl ObjectiveTable {
    /// A table with a default and overrides in order.
    pub fn new(default: Objectives, overrides: Vec<(GlobMatcher, Objectives)>) -> Self {
        Self { default, overrides }
    }

    /// The objectives of a service.
    pub fn of(&self, service: &str) -> Objectives {
        let matching = self.overrides.iter().rev().find(|(glob, _)| glob.is_match(service));
        matching.map_or(self.default, |(_, objectives)| *objectives)
    }
}
