//! What a detector saw.

use serde::{Deserialize, Serialize};

use crate::{UnixNanos, Window};

/// How bad it is, mildest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth a look in working hours.
    Warning,
    /// People are being hurt now.
    Critical,
}

/// Which objective is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sli {
    /// Share of requests that succeed.
    Availability,
    /// Share of requests answered within the threshold.
    Latency,
}

impl Sli {
    /// The word used in titles and the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Availability => "availability",
            Self::Latency => "latency",
        }
    }
}

/// An objective being missed faster than its budget allows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// The service whose callers are hurt.
    pub service: String,
    /// What is missed.
    pub sli: Sli,
    /// The objective, 0 to 1.
    pub objective: f64,
    /// Latency objectives: the threshold in milliseconds.
    pub threshold_ms: Option<f64>,
    /// How bad.
    pub severity: Severity,
    /// Burn rate over the long window: bad share / (1 - objective).
    pub burn_long: f64,
    /// The same over the short window.
    pub burn_short: f64,
    /// The burn rate that pages.
    pub burn_limit: f64,
    /// Share of good requests over the short window, 0 to 1.
    pub good_ratio: f64,
    /// Requests in the short window.
    pub requests: u64,
    /// First bad minute of the present run.
    pub started: UnixNanos,
    /// The evidence's window.
    pub window: Window,
}
