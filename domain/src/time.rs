//! Time as an argument: instants, windows and the clock that services are handed.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// Nanoseconds since 1970-01-01T00:00:00Z. Covers the years 1677 to 2262; arithmetic saturates at the ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixNanos(pub i64);

impl UnixNanos {
    /// The instant `seconds` after the epoch.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(NANOS_PER_SECOND))
    }

    /// The instant `millis` after the epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// Whole seconds since the epoch, rounded down.
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(NANOS_PER_SECOND)
    }

    /// Whole milliseconds since the epoch, rounded down.
    pub const fn millis(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// This instant moved forward, saturating.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)))
    }

    /// This instant moved back, saturating.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)))
    }

    /// Signed seconds from `earlier` to this instant; negative when this instant is the earlier one.
    pub fn seconds_since(self, earlier: Self) -> f64 {
        self.0.saturating_sub(earlier.0) as f64 / NANOS_PER_SECOND as f64
    }

    /// The start of the bucket of `width` that holds this instant. A zero width returns the instant.
    #[must_use]
    pub fn floor(self, width: Duration) -> Self {
        match i64::try_from(width.as_nanos()) {
            Ok(nanos) if nanos > 0 => Self(self.0 - self.0.rem_euclid(nanos)),
            _ => self,
        }
    }

    /// The calendar form in UTC, clamped to what the calendar can hold.
    pub fn to_timestamp(self) -> jiff::Timestamp {
        jiff::Timestamp::from_nanosecond(i128::from(self.0)).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
    }

    /// Reads RFC 3339 (`2026-11-19T14:02:31Z`), or Unix seconds with an optional fraction.
    pub fn parse(text: &str) -> Option<Self> {
        if let Ok(timestamp) = text.parse::<jiff::Timestamp>() {
            return i64::try_from(timestamp.as_nanosecond()).ok().map(Self);
        }
        let seconds: f64 = text.parse().ok()?;
        (seconds.is_finite() && seconds.abs() < 9.2e9).then_some(Self((seconds * 1e9) as i64))
    }

    /// `14:02:31`, UTC.
    pub fn clock_time(self) -> String {
        self.to_timestamp().strftime("%H:%M:%S").to_string()
    }

    /// `19 Nov 2026`, UTC.
    pub fn date(self) -> String {
        self.to_timestamp().strftime("%-d %b %Y").to_string()
    }
}

/// RFC 3339 to the second, UTC: `2026-11-19T14:02:31Z`.
impl fmt::Display for UnixNanos {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.to_timestamp().strftime("%Y-%m-%dT%H:%M:%SZ"))
    }
}

/// A half-open stretch of time: `start <= t < end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// First instant inside.
    pub start: UnixNanos,
    /// First instant outside.
    pub end: UnixNanos,
}

impl Window {
    /// A window; swapped ends are put in order.
    pub fn new(start: UnixNanos, end: UnixNanos) -> Self {
        if start <= end { Self { start, end } } else { Self { start: end, end: start } }
    }

    /// Whether `at` lies inside.
    pub fn contains(&self, at: UnixNanos) -> bool {
        self.start <= at && at < self.end
    }

    /// Whether the two windows share an instant.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.start < other.end && other.start < self.end
    }

    /// Length.
    pub fn duration(&self) -> Duration {
        Duration::from_nanos((self.end.0.saturating_sub(self.start.0)).max(0) as u64)
    }

    /// Length in seconds.
    pub fn seconds(&self) -> f64 {
        self.duration().as_secs_f64()
    }
}

/// What time it is, for code that must know. Pure code takes a [`UnixNanos`] instead.
pub trait Clock: Send + Sync + 'static {
    /// The present instant.
    fn now(&self) -> UnixNanos;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_what_people_type() {
        let check = |text: &str, expected: Option<i64>| {
            assert_eq!(UnixNanos::parse(text).map(UnixNanos::seconds), expected, "{text}");
        };
        check("2026-11-19T14:02:31Z", Some(1_795_096_951));
        check("2026-11-19T15:02:31+01:00", Some(1_795_096_951));
        check("1674981844", Some(1_674_981_844));
        check("1674981844.5", Some(1_674_981_844));
        check("yesterday", None);
        check("1e300", None);
        check("", None);
    }

    #[test]
    fn floors_toward_the_past_before_the_epoch_too() {
        assert_eq!(UnixNanos::from_seconds(-1).floor(Duration::from_secs(60)), UnixNanos::from_seconds(-60));
        assert_eq!(UnixNanos::from_seconds(61).floor(Duration::from_secs(60)), UnixNanos::from_seconds(60));
    }
}
