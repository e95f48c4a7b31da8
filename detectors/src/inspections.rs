//! Inspections: questions with a yes or no about resources, each with a default limit and the reason for it.
//!
//! A row of [`table`] says which metrics it reads (by semantic conventions and common exporters), what it computes of them,
//! and from where on that is a finding. [`inspect`] is a pure function of series. Whether a value is unusual for its series
//! is the question of [`crate::anomaly`]; here it is whether it is bad for anybody.

pub mod growth;
pub mod measure;
pub mod names;
mod table;

use std::collections::{BTreeMap, BTreeSet};

use domain::{SeriesId, Severity, Window, text};
use serde::{Deserialize, Serialize};

pub use measure::Observed;
use measure::{Index, Measure, Subject};
pub use table::table;

/// Findings returned at most, so that a flood of series makes no flood of findings.
pub const MOST_FINDINGS: usize = 1000;

/// Which side of its limit is bad.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// More is bad.
    Above(f64),
    /// Less is bad.
    Below(f64),
}

impl Limit {
    /// The number.
    pub const fn value(self) -> f64 {
        match self {
            Self::Above(limit) | Self::Below(limit) => limit,
        }
    }

    fn is_crossed(self, value: f64) -> bool {
        match self {
            Self::Above(limit) => value > limit,
            Self::Below(limit) => value < limit,
        }
    }

    fn with(self, limit: f64) -> Self {
        match self {
            Self::Above(_) => Self::Above(limit),
            Self::Below(_) => Self::Below(limit),
        }
    }
}

/// What a value is measured in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// A share of 1.
    Share,
    /// A share of 1, per hour.
    SharePerHour,
    /// Seconds.
    Seconds,
    /// A number of things.
    Count,
    /// Things in an hour.
    PerHour,
}

impl Unit {
    /// The value in words ready to print.
    pub fn show(self, value: f64) -> String {
        match self {
            Self::Share => text::percent(value),
            Self::SharePerHour => format!("{} an hour", text::percent(value)),
            Self::Seconds if value.abs() >= 3600.0 && value < 0.0 => format!("{} ago", text::duration(value)),
            Self::Seconds if value.abs() >= 3600.0 => text::duration(value),
            Self::Seconds => text::seconds(value),
            Self::Count | Self::PerHour => text::number(value),
        }
    }
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Inspection {
    /// Its key in the config file.
    pub name: &'static str,
    /// What is measured, as it stands in a sentence.
    pub title: &'static str,
    /// What is computed of which metrics.
    pub measure: Measure,
    /// Labels that tell subjects apart, beside service and instance.
    pub by: &'static [&'static str],
    /// From where on it is a finding, unless the config file says otherwise.
    pub limit: Limit,
    /// What the limit is measured in.
    pub unit: Unit,
    /// Why this limit.
    pub reason: &'static str,
}

/// Limits that differ from the table's; `None` turns an inspection off. Names are those of the table.
pub type Limits = BTreeMap<String, Option<f64>>;

/// A resource beyond its limit.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// The inspection.
    pub inspection: &'static str,
    /// Service, or empty where the series do not say.
    pub service: String,
    /// Instance, or empty.
    pub instance: String,
    /// The device, pool, queue and so on, or empty.
    pub detail: String,
    /// What was measured, in `unit`.
    pub value: f64,
    /// The limit that it crossed.
    pub limit: f64,
    /// Unit of both.
    pub unit: Unit,
    /// Inspections warn: people are hurt when an objective is missed.
    pub severity: Severity,
    /// Series read.
    pub series: Vec<SeriesId>,
    /// When they were read.
    pub window: Window,
    /// All of it in a sentence.
    pub sentence: String,
}

/// Whether any inspection reads this metric: what to fetch.
pub fn reads(metric: &str) -> bool {
    static NAMES: std::sync::OnceLock<BTreeSet<&'static str>> = std::sync::OnceLock::new();
    let names = NAMES.get_or_init(|| table().flat_map(|inspection| inspection.measure.names()).collect());
    names.contains(names::plain(metric).as_str())
}

/// Runs every inspection. `window` is best an hour that ends now: growth and counts use all of it, levels the last ten
/// minutes. Findings come in the order of the table, then of subject, [`MOST_FINDINGS`] at most.
pub fn inspect(series: &[Observed], window: Window, limits: &Limits) -> Vec<Finding> {
    let index = Index::new(series);
    let mut findings = Vec::new();
    for inspection in table() {
        let limit = match limits.get(inspection.name) {
            Some(None) => continue,
            Some(Some(limit)) => inspection.limit.with(*limit),
            None => inspection.limit,
        };
        for (subject, reading) in measure::measure(&inspection.measure, inspection.by, &index, window) {
            // Counts per hour are counts of a window that need not be one.
            let hours = if inspection.unit == Unit::PerHour { window.seconds() / 3600.0 } else { 1.0 };
            let value = reading.value / hours;
            if limit.is_crossed(value) {
                findings.push(finding(inspection, limit, subject, value, reading.series, window));
            }
        }
    }
    findings.truncate(MOST_FINDINGS);
    findings
}

fn finding(
    inspection: &Inspection,
    limit: Limit,
    (service, instance, details): Subject,
    value: f64,
    series: Vec<SeriesId>,
    window: Window,
) -> Finding {
    // Labels of two conventions may say the same.
    let mut seen = BTreeSet::new();
    let details: Vec<&str> =
        details.iter().map(String::as_str).filter(|text| !text.is_empty() && seen.insert(*text)).collect();
    let detail = details.join(" ");
    let subject: Vec<String> = [&service, &instance, &detail]
        .into_iter()
        .filter(|part| !part.is_empty())
        .map(|part| text::plain(part, 100))
        .collect();
    let side = if matches!(limit, Limit::Above(_)) { "above" } else { "below" };
    let unit = inspection.unit;
    let sentence = format!(
        "{}: {} is {}, {side} the limit of {} ({}).",
        if subject.is_empty() { "an unnamed resource".into() } else { subject.join(", ") },
        inspection.title,
        unit.show(value),
        unit.show(limit.value()),
        inspection.reason,
    );
    Finding {
        inspection: inspection.name,
        service,
        instance,
        detail,
        value,
        limit: limit.value(),
        unit,
        severity: Severity::Warning,
        series,
        window,
        sentence,
    }
}

#[cfg(test)]
mod tests;
