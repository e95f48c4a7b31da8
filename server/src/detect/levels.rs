//! What detection looks at, kept between rounds so that a round asks only for the latest.
//!
//! The last hour in minutes, hours before that in steps of ten minutes, days in hours: fine where rules look closely,
//! and small enough to hold for thousands of endpoints.

use std::collections::BTreeMap;
use std::time::Duration;

use detectors::objective::ObjectiveTable;
use detectors::{SliPoint, SliSeries};
use domain::{UnixNanos, Window};
use storage::Store;
use storage::questions::counters::CounterSelector;
use storage::questions::requests::{RequestQuestion, RequestStep, Wait};

use crate::config::{Counter, SliRule};

const MINUTE: Duration = Duration::from_secs(60);
const TEN_MINUTES: Duration = Duration::from_secs(600);
const HOUR: Duration = Duration::from_secs(3600);

/// How far back minutes, steps of ten minutes and hours reach: each as far as a rule of the default needs it so fine.
const MINUTES_BACK: Duration = Duration::from_secs(70 * 60);
const TENS_BACK: Duration = Duration::from_secs(7 * 3600);
const HOURS_BACK: Duration = Duration::from_secs(73 * 3600);

/// Minutes that may still change, because their spans arrive late.
const UNSETTLED: Duration = Duration::from_secs(300);

/// How often everything is asked again, for spans that came later still.
pub const REFRESH: Duration = Duration::from_secs(600);

/// Spans whose sender's clock runs ahead of ours count now, not later.
const CLOCK_SKEW: Duration = Duration::from_secs(60);

/// Points by their start.
type Points = BTreeMap<UnixNanos, SliPoint>;

/// Requests of every service and endpoint, and events of custom SLIs.
#[derive(Debug, Default)]
pub struct Levels {
    services: BTreeMap<String, Points>,
    endpoints: BTreeMap<String, BTreeMap<String, Points>>,
    custom: Vec<Points>,
    refreshed: Option<UnixNanos>,
}

/// What levels are asked with.
#[derive(Clone, Copy, Debug)]
pub struct Lens<'a> {
    /// Objectives, for their thresholds.
    pub table: &'a ObjectiveTable,
    /// Indicators made of metrics.
    pub custom: &'a [SliRule],
    /// What stays out of latency.
    pub waits: &'a [Wait],
}

impl Levels {
    /// Whether it is time to ask for everything.
    pub fn is_stale(&self, now: UnixNanos) -> bool {
        self.refreshed.is_none_or(|at| at.plus(REFRESH) <= now || now < at)
    }

    /// Asks the store for what may have changed.
    pub async fn refresh(
        &mut self,
        store: &Store,
        lens: Lens<'_>,
        now: UnixNanos,
    ) -> Result<(), storage::Error> {
        let end = now.plus(CLOCK_SKEW);
        if !self.is_stale(now) {
            return self.ask(store, lens, Window::new(now.minus(UNSETTLED), end), MINUTE).await;
        }
        *self = Self::default();
        let tens = now.minus(TENS_BACK).floor(HOUR);
        let minutes = now.minus(MINUTES_BACK).floor(TEN_MINUTES);
        self.ask(store, lens, Window::new(now.minus(HOURS_BACK).floor(HOUR), tens), HOUR).await?;
        self.ask(store, lens, Window::new(tens, minutes), TEN_MINUTES).await?;
        self.ask(store, lens, Window::new(minutes, end), MINUTE).await?;
        self.refreshed = Some(now);
        Ok(())
    }

    async fn ask(
        &mut self,
        store: &Store,
        lens: Lens<'_>,
        window: Window,
        step: Duration,
    ) -> Result<(), storage::Error> {
        let thresholds_ms = lens.table.thresholds();
        let whole = RequestQuestion {
            window,
            step,
            service: None,
            by_endpoint: false,
            thresholds_ms: &thresholds_ms,
            waits: lens.waits,
        };
        let each = RequestQuestion { by_endpoint: true, ..whole.clone() };
        let (services, endpoints) =
            tokio::try_join!(store.request_steps(&whole), store.request_steps(&each))?;
        let place = |threshold: f64| thresholds_ms.iter().position(|known| *known == threshold).unwrap_or(0);
        for steps in services.chunk_by(|a, b| a.service == b.service) {
            let name = &steps[0].service;
            let threshold = place(lens.table.of(name).latency_ms);
            absorb(self.services.entry(name.clone()).or_default(), steps, threshold);
        }
        for steps in endpoints.chunk_by(|a, b| a.service == b.service && a.endpoint == b.endpoint) {
            let RequestStep { service, endpoint, .. } = &steps[0];
            let threshold = place(lens.table.of_endpoint(service, endpoint).latency_ms);
            let known =
                self.endpoints.entry(service.clone()).or_default().entry(endpoint.clone()).or_default();
            absorb(known, steps, threshold);
        }
        self.custom.resize_with(lens.custom.len(), Points::default);
        for (rule, points) in lens.custom.iter().zip(&mut self.custom) {
            points.extend(custom_points(store, rule, window, step).await?);
        }
        Ok(())
    }

    /// Levels of points that are at hand, by service and endpoint (empty for the whole).
    #[cfg(test)]
    pub fn of(points: impl IntoIterator<Item = (&'static str, &'static str, SliPoint)>) -> Self {
        let mut levels = Self::default();
        for (service, endpoint, point) in points {
            let known = match endpoint {
                "" => levels.services.entry(service.into()).or_default(),
                endpoint => {
                    levels.endpoints.entry(service.into()).or_default().entry(endpoint.into()).or_default()
                }
            };
            known.insert(point.minute, point);
        }
        levels
    }

    /// Every service as a whole.
    pub fn services(&self) -> impl Iterator<Item = (&str, SliSeries)> {
        self.services.iter().map(|(name, points)| (name.as_str(), series(points)))
    }

    /// One service as a whole; empty when it is not known.
    pub fn service(&self, name: &str) -> SliSeries {
        self.services.get(name).map(series).unwrap_or_default()
    }

    /// The endpoints of a service.
    pub fn endpoints(&self, service: &str) -> impl Iterator<Item = (&str, SliSeries)> {
        let endpoints = self.endpoints.get(service).into_iter().flatten();
        endpoints.map(|(name, points)| (name.as_str(), series(points)))
    }

    /// One endpoint of a service; empty when it is not known.
    pub fn endpoint(&self, service: &str, endpoint: &str) -> SliSeries {
        self.endpoints.get(service).and_then(|known| known.get(endpoint)).map(series).unwrap_or_default()
    }

    /// The custom SLI at that place of the settings.
    pub fn custom(&self, place: usize) -> SliSeries {
        self.custom.get(place).map(series).unwrap_or_default()
    }
}

fn series(points: &Points) -> SliSeries {
    SliSeries::new(points.values().copied())
}

/// Later answers replace earlier ones: they have seen more.
fn absorb(points: &mut Points, steps: &[RequestStep], threshold: usize) {
    points.extend(steps.iter().map(|step| {
        let minute = UnixNanos::from_seconds(i64::from(step.at));
        let point = SliPoint {
            minute,
            requests: step.requests as f64,
            errors: step.errors as f64,
            timed: step.timed as f64,
            slow: step.slow.get(threshold).copied().unwrap_or(0.0),
        };
        (minute, point)
    }));
}

/// A custom SLI over a window, by the minute.
pub async fn custom_series(
    store: &Store,
    rule: &SliRule,
    window: Window,
) -> Result<SliSeries, storage::Error> {
    Ok(series(&custom_points(store, rule, window, MINUTE).await?))
}

/// Growth of the two counters as points: what is not good is bad. Good ones beyond the total, as counters that are read at
/// different times have them, are cut to it.
async fn custom_points(
    store: &Store,
    rule: &SliRule,
    window: Window,
    step: Duration,
) -> Result<Points, storage::Error> {
    let selector = |counter: &Counter| CounterSelector {
        metric: counter.metric.clone(),
        labels: counter.labels.clone(),
    };
    let (good, total) = (selector(&rule.good), selector(&rule.total));
    let (good, total) =
        tokio::try_join!(store.counter_growth(&good, window), store.counter_growth(&total, window))?;
    let mut points = Points::new();
    for (minute, total) in total {
        let good = good.get(&minute).copied().unwrap_or(0.0);
        let at = minute.floor(step);
        let point = points.entry(at).or_insert(SliPoint { minute: at, ..SliPoint::default() });
        point.requests += total;
        point.errors += (total - good).max(0.0);
    }
    Ok(points)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(at: u32, requests: u64) -> RequestStep {
        RequestStep {
            service: "cart".into(),
            endpoint: String::new(),
            at,
            requests,
            errors: 1,
            timed: requests,
            slow: vec![0.0, 2.0],
        }
    }

    #[test]
    fn later_answers_replace_earlier_ones() {
        let mut points = Points::new();
        absorb(&mut points, &[step(540, 10), step(600, 1)], 1);
        absorb(&mut points, &[step(600, 7)], 1);
        let requests: Vec<f64> = points.values().map(|point| point.requests).collect();
        assert_eq!(requests, [10.0, 7.0]);
        assert_eq!(points.values().map(|point| point.slow).sum::<f64>(), 4.0);
    }

    #[test]
    fn everything_is_asked_for_again_after_a_while() {
        let at = UnixNanos::from_seconds;
        let levels = Levels { refreshed: Some(at(1000)), ..Levels::default() };
        assert!(Levels::default().is_stale(at(0)));
        assert!(!levels.is_stale(at(1010)));
        assert!(levels.is_stale(at(1600)) && levels.is_stale(at(900)), "also when the clock was set back");
    }
}
