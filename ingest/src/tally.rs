//! What became of the items of one request: taken, refused and why, or taken after a correction.

use std::collections::BTreeMap;
use std::fmt::Write;

/// The kind of telemetry a request carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Signal {
    /// Spans.
    Traces,
    /// Log records.
    Logs,
    /// Metric data points.
    Metrics,
}

impl Signal {
    /// The label of our own metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Logs => "logs",
            Self::Metrics => "metrics",
        }
    }

    /// What one item is called.
    const fn item(self) -> &'static str {
        match self {
            Self::Traces => "span",
            Self::Logs => "log record",
            Self::Metrics => "data point",
        }
    }
}

/// Why an item was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// A trace or span id of the wrong length, or all zero.
    InvalidId,
    /// A timestamp more than [`MAX_CLOCK_AHEAD`](crate::limits::MAX_CLOCK_AHEAD) ahead of our clock.
    Future,
    /// A metric without a name.
    NoName,
    /// A metric whose data is missing or could not be read.
    NoData,
    /// A value that is missing, not a number or infinite.
    NotANumber,
    /// A point that says that there is no value: the sender's mark of a series that ended.
    NoRecordedValue,
    /// A sum or histogram that does not say whether it is cumulative.
    Temporality,
    /// Buckets that do not fit their bounds, bounds out of order, too many of them.
    MalformedPoint,
    /// More labels than a series may have.
    TooManyLabels,
    /// The request had unfolded to more bytes than it may: of labels, or of what its rows repeat of their resource.
    TooLarge,
}

impl Reason {
    /// The label of our own metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidId => "invalid_id",
            Self::Future => "future",
            Self::NoName => "no_name",
            Self::NoData => "no_data",
            Self::NotANumber => "not_a_number",
            Self::NoRecordedValue => "no_recorded_value",
            Self::Temporality => "temporality",
            Self::MalformedPoint => "malformed_point",
            Self::TooManyLabels => "too_many_labels",
            Self::TooLarge => "too_large",
        }
    }

    /// For the sender, after a count.
    const fn words(self) -> &'static str {
        match self {
            Self::InvalidId => "with an invalid trace or span id",
            Self::Future => "more than 24 hours in the future",
            Self::NoName => "of a metric without a name",
            Self::NoData => "without readable metric data",
            Self::NotANumber => "without a finite value",
            Self::NoRecordedValue => "without a recorded value",
            Self::Temporality => "without an aggregation temporality",
            Self::MalformedPoint => "with malformed buckets or quantiles",
            Self::TooManyLabels => "with too many labels",
            Self::TooLarge => "beyond the size one request may unfold to",
        }
    }

    /// Whether the sender is told. The mark of an ended series is no fault of the sender's, and comes all the time.
    const fn is_fault(self) -> bool {
        !matches!(self, Self::NoRecordedValue)
    }
}

/// What was put right in an item that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Correction {
    /// A span that ended before it began, now of length zero.
    NegativeDuration,
    /// No timestamp; the time of receipt stands in.
    MissingTime,
    /// A severity number outside 0 to 24, clamped.
    Severity,
    /// An unusable trace or span id of a log record or link, left out.
    InvalidId,
    /// A quantile or sum without a finite value, left out.
    NotANumber,
}

impl Correction {
    /// The label of our own metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NegativeDuration => "negative_duration",
            Self::MissingTime => "missing_time",
            Self::Severity => "severity",
            Self::InvalidId => "invalid_id",
            Self::NotANumber => "not_a_number",
        }
    }
}

/// Counts of one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Items taken, as the sender counts them: spans, log records, data points.
    pub accepted: u64,
    /// Items not taken.
    pub rejected: BTreeMap<Reason, u64>,
    /// Things put right.
    pub corrected: BTreeMap<Correction, u64>,
    /// Fields cut, and parts dropped from an item that was taken, to stay within [`Limits`](crate::Limits).
    pub truncated: u64,
}

impl Tally {
    /// Counts items not taken.
    pub fn reject(&mut self, reason: Reason, items: u64) {
        *self.rejected.entry(reason).or_default() += items;
    }

    /// Counts a thing put right.
    pub fn correct(&mut self, correction: Correction) {
        *self.corrected.entry(correction).or_default() += 1;
    }

    /// Adds the counts of another part of the same request.
    pub fn merge(&mut self, other: Self) {
        self.accepted += other.accepted;
        self.truncated += other.truncated;
        for (reason, items) in other.rejected {
            self.reject(reason, items);
        }
        for (correction, times) in other.corrected {
            *self.corrected.entry(correction).or_default() += times;
        }
    }

    /// How many items the sender must be told were not taken, and why; `None` when everything was.
    pub fn partial(&self, signal: Signal) -> Option<Partial> {
        let faults: Vec<_> = self.rejected.iter().filter(|(reason, _)| reason.is_fault()).collect();
        let rejected: u64 = faults.iter().map(|(_, items)| *items).sum();
        if rejected == 0 {
            return None;
        }
        let plural = if rejected == 1 { "" } else { "s" };
        let mut message = format!("{rejected} {}{plural} rejected: ", signal.item());
        for (position, (reason, items)) in faults.into_iter().enumerate() {
            let comma = if position == 0 { "" } else { ", " };
            // Writing to a String cannot fail.
            let _ = write!(message, "{comma}{items} {}", reason.words());
        }
        Some(Partial { rejected: i64::try_from(rejected).unwrap_or(i64::MAX), message })
    }
}

/// The part of a request that was not taken, as OTLP's `partial_success` says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partial {
    /// Items not taken.
    pub rejected: i64,
    /// Why, for people.
    pub message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_the_sender_of_faults_only() {
        let mut tally = Tally::default();
        tally.reject(Reason::NoRecordedValue, 7);
        assert_eq!(tally.partial(Signal::Metrics), None);
        tally.reject(Reason::InvalidId, 2);
        tally.reject(Reason::Future, 1);
        let partial = tally.partial(Signal::Traces).unwrap();
        assert_eq!(partial.rejected, 3);
        assert_eq!(
            partial.message,
            "3 spans rejected: 2 with an invalid trace or span id, 1 more than 24 hours in the future"
        );
    }
}
