//! What is known of an alert's past: hourly counts, hosts, versions, and how often it came with an incident.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use domain::UnixNanos;
use serde::{Deserialize, Serialize};

use super::spike::{SpikeLimit, WEEK};

/// Hours remembered.
pub const MAX_HOURS: i64 = 30 * 24;
/// Hosts and versions remembered of one alert; with more, none is new any longer.
pub const MAX_PLACES: usize = 256;
/// Somebody who was paged for an alert is not paged for it again for so many hours: Alertmanager's default.
pub const PAGE_AGAIN_HOURS: i64 = 4;

const HOUR: Duration = Duration::from_secs(3600);

/// The hour, counted from the epoch, that an instant lies in.
pub fn hour_of(at: UnixNanos) -> i64 {
    at.floor(HOUR).seconds() / 3600
}

/// The past of one fingerprint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// Alerts by hour since the epoch; hours without any are left out.
    pub hours: BTreeMap<i64, u32>,
    /// Alerts that came while an incident was open on their service or on what it depends on.
    pub in_incidents: u64,
    /// All alerts.
    pub total: u64,
    /// Hosts they came from.
    pub hosts: BTreeSet<String>,
    /// Versions they came from.
    pub versions: BTreeSet<String>,
    /// The first of them.
    pub first: Option<UnixNanos>,
    /// The last of them.
    pub last: Option<UnixNanos>,
}

impl History {
    /// Notes `count` alerts at an instant.
    pub fn note(&mut self, at: UnixNanos, count: u32, host: &str, version: &str, in_incident: bool) {
        let hour = hour_of(at);
        let counted = self.hours.entry(hour).or_default();
        *counted = counted.saturating_add(count);
        let latest = self.hours.last_key_value().map_or(hour, |(hour, _)| *hour);
        self.hours = self.hours.split_off(&(latest - MAX_HOURS));
        self.total += u64::from(count);
        if in_incident {
            self.in_incidents += u64::from(count);
        }
        for (places, place) in [(&mut self.hosts, host), (&mut self.versions, version)] {
            if !place.is_empty() && places.len() < MAX_PLACES {
                places.insert(place.to_owned());
            }
        }
        self.first = Some(self.first.map_or(at, |first| first.min(at)));
        self.last = Some(self.last.map_or(at, |last| last.max(at)));
    }

    /// Hourly counts of the `hours` whole hours before `now`, oldest first; hours before the first alert are left out.
    pub fn hourly(&self, now: UnixNanos, hours: i64) -> Vec<f64> {
        let end = hour_of(now);
        let known = self.first.map_or(end, hour_of);
        let start = known.max(end - hours);
        let mut counts = vec![0.0; usize::try_from(end - start).unwrap_or_default()];
        for (hour, count) in self.hours.range(start..end.max(start)) {
            counts[usize::try_from(hour - start).unwrap_or_default()] = f64::from(*count);
        }
        counts
    }

    /// Alerts in an hour.
    pub fn of_hour(&self, hour: i64) -> u32 {
        self.hours.get(&hour).copied().unwrap_or_default()
    }

    /// How loud it may become, by the week before `now`.
    pub fn limit(&self, now: UnixNanos) -> SpikeLimit {
        let week = self.hourly(now, WEEK as i64);
        match week.is_empty() {
            // All of it is of this very hour.
            true => SpikeLimit::of(&[f64::from(self.of_hour(hour_of(now)))]),
            false => SpikeLimit::of(&week),
        }
    }

    /// The hours of `[start, end)` in which somebody is paged: the first alert, and again when it still comes
    /// [`PAGE_AGAIN_HOURS`] later. With a limit, only hours above it page.
    pub fn pages(&self, start: i64, end: i64, limit: Option<SpikeLimit>) -> Vec<i64> {
        let mut pages: Vec<i64> = Vec::new();
        for (hour, count) in self.hours.range(start..end.max(start)) {
            let heard = limit.is_none_or(|limit| limit.exceeded_by(f64::from(*count)));
            if heard && pages.last().is_none_or(|last| hour - last >= PAGE_AGAIN_HOURS) {
                pages.push(*hour);
            }
        }
        pages
    }

    /// Pages of the last 30 days, and how many of them a suppression with this limit leaves.
    pub fn pages_and_left(&self, now: UnixNanos, limit: SpikeLimit) -> (usize, usize) {
        let (start, end) = (hour_of(now) - MAX_HOURS, hour_of(now) + 1);
        (self.pages(start, end, None).len(), self.pages(start, end, Some(limit)).len())
    }

    /// Whether a host is one that the alert never came from. Knows of none when too many are known.
    pub fn is_new_place(places: &BTreeSet<String>, place: &str) -> bool {
        !place.is_empty() && places.len() < MAX_PLACES && !places.contains(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hour: i64) -> UnixNanos {
        UnixNanos::from_seconds(hour * 3600 + 60)
    }

    fn of(hours: &[(i64, u32)]) -> History {
        let mut history = History::default();
        for (hour, count) in hours {
            history.note(at(*hour), *count, "", "", false);
        }
        history
    }

    #[test]
    fn pages_come_once_in_four_hours() {
        let history = of(&[(0, 3), (1, 1), (3, 1), (4, 1), (9, 50)]);
        assert_eq!(history.pages(0, 24, None), [0, 4, 9]);
        assert_eq!(history.pages(0, 24, Some(SpikeLimit(20.0))), [9]);
        assert_eq!(history.pages(5, 9, None), [0_i64; 0]);
    }

    #[test]
    fn hours_without_alerts_count_and_old_ones_are_forgotten() {
        let history = of(&[(10, 2), (12, 1)]);
        assert_eq!(history.hourly(at(14), 24), [2.0, 0.0, 1.0, 0.0]);
        let history = of(&[(0, 1), (MAX_HOURS + 5, 1)]);
        assert_eq!(history.hours.len(), 1);
        assert_eq!(history.total, 2);
    }

    #[test]
    fn places_are_new_until_seen() {
        let mut history = History::default();
        history.note(at(0), 1, "a", "1", true);
        assert!(History::is_new_place(&history.hosts, "b"));
        assert!(!History::is_new_place(&history.hosts, "a"));
        assert!(!History::is_new_place(&history.hosts, ""));
        assert_eq!(history.in_incidents, 1);
    }
}
