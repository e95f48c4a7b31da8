//! Service level objectives and what they apply to.

use domain::Sli;
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

/// One objective to measure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Goal {
    /// What is measured.
    pub sli: Sli,
    /// Share that must be good, 0 to 1.
    pub objective: f64,
    /// Latency: the threshold in milliseconds.
    pub threshold_ms: Option<f64>,
}

impl Objectives {
    /// The two goals: requests succeed, and are fast.
    pub const fn goals(&self) -> [Goal; 2] {
        [
            Goal { sli: Sli::Availability, objective: self.availability, threshold_ms: None },
            Goal { sli: Sli::Latency, objective: self.latency_ratio, threshold_ms: Some(self.latency_ms) },
        ]
    }
}

/// What a rule of the table covers.
#[derive(Clone, Debug)]
pub struct Scope {
    /// Services.
    pub services: GlobMatcher,
    /// Endpoints of these; `None` covers the service as a whole and all its endpoints.
    pub endpoints: Option<GlobMatcher>,
}

/// Overrides by service and endpoint: the last match wins.
#[derive(Clone, Debug, Default)]
pub struct ObjectiveTable {
    default: Objectives,
    overrides: Vec<(Scope, Objectives)>,
}

impl ObjectiveTable {
    /// A table with a default and overrides in order.
    pub fn new(default: Objectives, overrides: Vec<(Scope, Objectives)>) -> Self {
        Self { default, overrides }
    }

    /// The objectives of a service as a whole.
    pub fn of(&self, service: &str) -> Objectives {
        self.find(|scope| scope.endpoints.is_none() && scope.services.is_match(service))
    }

    /// The objectives of an endpoint of a service.
    pub fn of_endpoint(&self, service: &str, endpoint: &str) -> Objectives {
        self.find(|scope| {
            scope.services.is_match(service)
                && scope.endpoints.as_ref().is_none_or(|endpoints| endpoints.is_match(endpoint))
        })
    }

    /// Every latency threshold that can apply, in milliseconds, each once.
    pub fn thresholds(&self) -> Vec<f64> {
        let all = self.overrides.iter().map(|(_, objectives)| objectives.latency_ms);
        let mut all: Vec<f64> = std::iter::once(self.default.latency_ms).chain(all).collect();
        all.sort_by(f64::total_cmp);
        all.dedup();
        all
    }

    fn find(&self, covers: impl Fn(&Scope) -> bool) -> Objectives {
        let matching = self.overrides.iter().rev().find(|(scope, _)| covers(scope));
        matching.map_or(self.default, |(_, objectives)| *objectives)
    }
}
