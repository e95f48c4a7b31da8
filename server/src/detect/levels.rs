//! The minutes that detection looks at, kept between rounds so that a round asks only for the latest.

use std::collections::BTreeMap;
use std::time::Duration;

use detectors::SliPoint;
use detectors::objective::ObjectiveTable;
use domain::{UnixNanos, Window};
use storage::Store;
use storage::questions::sli::SliMinute;

/// How far back objectives are evaluated: the longest window of a burn rule, and a minute for its rounding.
pub const LOOK_BACK: Duration = Duration::from_secs(6 * 3600 + 60);

/// Minutes that may still change, because their spans arrive late.
const UNSETTLED: Duration = Duration::from_secs(300);

/// How often everything is asked again, for spans that came later still.
const REFRESH: Duration = Duration::from_secs(600);

/// Spans whose sender's clock runs ahead of ours count now, not later.
const CLOCK_SKEW: Duration = Duration::from_secs(60);

/// Requests per minute of every service.
#[derive(Debug, Default)]
pub struct Levels {
    services: BTreeMap<String, BTreeMap<UnixNanos, SliMinute>>,
    refreshed: Option<UnixNanos>,
}

impl Levels {
    /// Asks the store for what may have changed.
    pub async fn refresh(&mut self, store: &Store, now: UnixNanos) -> Result<(), storage::Error> {
        let all = self.refreshed.is_none_or(|at| at.plus(REFRESH) <= now);
        let window = Window::new(now.minus(if all { LOOK_BACK } else { UNSETTLED }), now.plus(CLOCK_SKEW));
        let minutes = store.sli_minutes(window).await?;
        if all {
            self.services.clear();
            self.refreshed = Some(now);
        }
        self.absorb(minutes, now);
        Ok(())
    }

    /// Levels of minutes that are at hand.
    pub fn of(minutes: Vec<SliMinute>, now: UnixNanos) -> Self {
        let mut levels = Self::default();
        levels.absorb(minutes, now);
        levels
    }

    fn absorb(&mut self, minutes: Vec<SliMinute>, now: UnixNanos) {
        for minute in minutes {
            self.services.entry(minute.service.clone()).or_default().insert(minute.minute, minute);
        }
        let oldest = now.minus(LOOK_BACK);
        self.services.retain(|_, minutes| {
            *minutes = minutes.split_off(&oldest);
            !minutes.is_empty()
        });
    }

    /// Every service with what detectors want to know of its minutes.
    pub fn points<'a>(&'a self, table: &'a ObjectiveTable) -> impl Iterator<Item = (&'a str, Vec<SliPoint>)> {
        self.services.iter().map(|(service, minutes)| {
            let threshold_ms = table.of(service).latency_ms;
            (service.as_str(), minutes.values().map(|minute| point(minute, threshold_ms)).collect())
        })
    }
}

fn point(minute: &SliMinute, threshold_ms: f64) -> SliPoint {
    SliPoint {
        minute: minute.minute,
        requests: minute.requests as f64,
        errors: minute.errors as f64,
        slow: minute.latency.slower_than(threshold_ms),
    }
}

#[cfg(test)]
mod tests {
    use storage::questions::sli::Latency;

    use super::*;

    fn minute(service: &str, at: i64, requests: u64) -> SliMinute {
        SliMinute {
            service: service.into(),
            endpoint: String::new(),
            minute: UnixNanos::from_seconds(at),
            requests,
            errors: 0,
            latency: Latency([(40, requests)].into()),
        }
    }

    #[test]
    fn later_answers_replace_earlier_ones_and_old_minutes_go() {
        let mut levels = Levels::default();
        let now = UnixNanos::from_seconds(600);
        levels.absorb(vec![minute("cart", 540, 10), minute("cart", 600, 1), minute("old", 0, 1)], now);
        let now = now.plus(LOOK_BACK).minus(Duration::from_secs(30));
        levels.absorb(vec![minute("cart", 600, 7)], now);
        let table = ObjectiveTable::default();
        let points: Vec<_> = levels.points(&table).collect();
        assert_eq!(points.len(), 1);
        assert_eq!(points[0].1.iter().map(|point| point.requests).collect::<Vec<_>>(), [7.0]);
    }
}
