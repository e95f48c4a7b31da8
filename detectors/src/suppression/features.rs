//! What a decision is made of: a few numbers about an alert, all between about 0 and 1.

use domain::{Alert, Severity, UnixNanos};
use serde::{Deserialize, Serialize};

use super::history::{History, MAX_HOURS};

/// How many there are.
pub const COUNT: usize = 7;

/// The numbers that the score is computed from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Features {
    /// How often: `ln(1 + alerts per day) / ln(1 + 1000)`, at most 1.
    pub frequency: f64,
    /// How long it is known, as a share of 30 days.
    pub known: f64,
    /// The share of its alerts that came during incidents.
    pub with_incidents: f64,
    /// How unsteady: the highest hour over all of the last week. 1 when it came in one burst.
    pub burst: f64,
    /// 0 for a notice, 1 for a warning or worse.
    pub severity: f64,
    /// The share of decisions on the same rule that approved, with one of each added.
    pub rule_approved: f64,
    /// What the nearest decided alerts say: 0 signal, 1 noise, 0.5 nothing.
    pub neighbours: f64,
}

impl Features {
    /// The part that its own past tells; the rest stays at "nothing known".
    pub fn of(alert: &Alert, history: &History, now: UnixNanos) -> Self {
        let days = history.first.map_or(0.0, |first| now.seconds_since(first).max(0.0) / 86_400.0);
        let month = MAX_HOURS as f64 / 24.0;
        let counted: f64 = history.hours.values().map(|count| f64::from(*count)).sum();
        let per_day = counted / days.clamp(1.0, month);
        let week = history.hourly(now, 168);
        let total: f64 = week.iter().sum();
        Self {
            frequency: ((1.0 + per_day).ln() / 1001_f64.ln()).min(1.0),
            known: (days / month).min(1.0),
            with_incidents: history.in_incidents as f64 / history.total.max(1) as f64,
            burst: if total > 0.0 { week.iter().copied().fold(0.0, f64::max) / total } else { 1.0 },
            severity: if alert.severity >= Severity::Warning { 1.0 } else { 0.0 },
            rule_approved: 0.5,
            neighbours: 0.5,
        }
    }

    /// As a row of a matrix.
    pub const fn row(&self) -> [f64; COUNT] {
        [
            self.frequency,
            self.known,
            self.with_incidents,
            self.burst,
            self.severity,
            self.rule_approved,
            self.neighbours,
        ]
    }
}
