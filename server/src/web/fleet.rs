//! How services and their endpoints fare, gathered from aggregates for the pages: no span is read.

use std::collections::BTreeMap;
use std::time::Duration;

use detectors::burn_rate::{budget, is_surely_above};
use detectors::{Objectives, SliPoint, SliSeries};
use domain::{Detail, Finding, Sli, UnixNanos, Window};
use storage::questions::requests::RequestQuestion;
use storage::questions::sli::{Latency, SliMinute};
use storage::questions::versions::SeenVersion;

use super::App;
use crate::pages::{Range, ServicePoint, ServiceRow, ServiceStatus};

/// What "lately" means.
pub const LATELY: Duration = Duration::from_secs(300);

/// Senders whose clock runs ahead are seen all the same.
const CLOCK_SKEW: Duration = Duration::from_secs(60);

/// The stretch of time that a page looks at.
pub fn window(now: UnixNanos, range: Range) -> Window {
    Window::new(now.minus(Duration::from_secs(range.seconds())), now.plus(CLOCK_SKEW))
}

/// One row per service that received requests within the range, or was found to receive none.
pub async fn services(app: &App, now: UnixNanos, range: Range) -> Result<Vec<ServiceRow>, storage::Error> {
    let outlook = app.outlooks.borrow().clone();
    let question = RequestQuestion {
        window: window(now, range),
        step: step(range),
        service: None,
        by_endpoint: false,
        thresholds_ms: &[],
        waits: &outlook.waits,
    };
    let lately = Window::new(now.minus(LATELY), now.plus(CLOCK_SKEW));
    let lately = RequestQuestion { window: lately, step: Duration::from_secs(60), ..question.clone() };
    let (levels, lately, versions) = tokio::try_join!(
        app.store.request_levels(&question),
        app.store.request_levels(&lately),
        app.store.versions()
    )?;
    let mut recent: BTreeMap<String, Vec<SliMinute>> = BTreeMap::new();
    for minute in lately {
        recent.entry(minute.service.clone()).or_default().push(minute);
    }
    let mut latest: BTreeMap<&str, &SeenVersion> = BTreeMap::new();
    // Versions come oldest first.
    latest.extend(versions.iter().map(|seen| (seen.service.as_str(), seen)));
    let row = |steps: &[SliMinute]| {
        let name = &steps[0].service;
        let findings: Vec<&Finding> =
            outlook.findings.iter().filter(|finding| finding.service == *name).collect();
        let recent = recent.remove(name).unwrap_or_default();
        let deploy = latest.get(name.as_str()).map(|seen| (seen.version.clone(), seen.first_seen));
        let objectives = app.look.objectives.of(name);
        ServiceRow { last_deploy: deploy, ..row(steps, &recent, &findings, &objectives, now, range) }
    };
    Ok(levels.chunk_by(|a, b| a.service == b.service).map(row).collect())
}

/// How a service, or an endpoint, fares: steps of the range, and the minutes of late.
pub fn row(
    steps: &[SliMinute],
    recent: &[SliMinute],
    findings: &[&Finding],
    objectives: &Objectives,
    now: UnixNanos,
    range: Range,
) -> ServiceRow {
    let lately = total(recent);
    let first = recent.first().map_or(now, |minute| minute.minute);
    let seconds = now.seconds_since(first).clamp(1.0, LATELY.as_secs_f64());
    ServiceRow {
        name: steps.first().or(recent.first()).map(|step| step.service.clone()).unwrap_or_default(),
        status: status(recent, findings, objectives, now),
        requests_per_second: lately.requests as f64 / seconds,
        error_ratio: lately.error_ratio(),
        p95_seconds: lately.latency.quantile(0.95),
        series: series(steps, now, range),
        budget_left: budget_left(steps, objectives, now, range),
        last_deploy: None,
    }
}

/// Steps of a service as a whole from steps of its endpoints.
pub fn whole(steps: &[SliMinute]) -> Vec<SliMinute> {
    let mut sums: BTreeMap<UnixNanos, SliMinute> = BTreeMap::new();
    for step in steps {
        match sums.get_mut(&step.minute) {
            Some(sum) => {
                sum.requests += step.requests;
                sum.errors += step.errors;
                sum.latency.merge(&step.latency);
            }
            None => drop(sums.insert(step.minute, SliMinute { endpoint: String::new(), ..step.clone() })),
        }
    }
    sums.into_values().collect()
}

/// Points of one service or endpoint as detectors look at them.
pub fn points(steps: &[SliMinute], objectives: &Objectives) -> SliSeries {
    let point = |step: &SliMinute| SliPoint {
        minute: step.minute,
        requests: step.requests as f64,
        errors: step.errors as f64,
        timed: step.latency.count() as f64,
        slow: step.latency.slower_than(objectives.latency_ms),
    };
    SliSeries::new(steps.iter().map(point))
}

/// What detectors found goes first. Else a handful of bad requests does not change the colour: the burn has to be above 1
/// beyond chance.
fn status(
    recent: &[SliMinute],
    findings: &[&Finding],
    objectives: &Objectives,
    now: UnixNanos,
) -> ServiceStatus {
    let series = points(recent, objectives);
    let missed = |sli: Sli| {
        let now_missed = objectives.goals().into_iter().filter(|goal| goal.sli == sli).any(|goal| {
            is_surely_above(&series.burn(sli, goal.objective, now, LATELY), budget(goal.objective))
        });
        now_missed || findings.iter().any(|finding| finding.sli() == Some(sli))
    };
    if findings.iter().any(|finding| matches!(finding.detail, Detail::Silence(_))) {
        ServiceStatus::Silent
    } else if missed(Sli::Availability) || missed(Sli::Custom) {
        ServiceStatus::Failing
    } else if missed(Sli::Latency) {
        ServiceStatus::Slow
    } else if recent.is_empty() {
        ServiceStatus::NoTraffic
    } else {
        ServiceStatus::Healthy
    }
}

/// The share of the range's budget that is left, of the objective that has less.
fn budget_left(steps: &[SliMinute], objectives: &Objectives, now: UnixNanos, range: Range) -> Option<f64> {
    let series = points(steps, objectives);
    let length = Duration::from_secs(range.seconds()) + step(range);
    let burns = objectives.goals().map(|goal| series.burn(goal.sli, goal.objective, now, length));
    (burns[0].requests > 0.0).then(|| (1.0 - burns[0].rate.max(burns[1].rate)).clamp(0.0, 1.0))
}

/// Length of the steps that a range is cut into. From an hour on they are read from a table by the hour.
pub const fn step(range: Range) -> Duration {
    Duration::from_secs(match range {
        Range::Hour => 60,
        Range::SixHours => 360,
        Range::Day => 3600,
        Range::Week => 3 * 3600,
    })
}

/// The range in equal steps, oldest first, empty ones included.
pub fn series(steps: &[SliMinute], now: UnixNanos, range: Range) -> Vec<ServicePoint> {
    let width = step(range);
    let count = u32::try_from(range.seconds() / width.as_secs()).unwrap_or(1);
    let mut totals: BTreeMap<UnixNanos, Total> = BTreeMap::new();
    for step in steps {
        totals.entry(step.minute.floor(width)).or_default().add(step);
    }
    let last = now.floor(width);
    (0..count)
        .rev()
        .map(|back| {
            let at = last.minus(width * back);
            let total = totals.remove(&at).unwrap_or_default();
            // The present step has only come so far.
            let seconds = now.seconds_since(at).clamp(1.0, width.as_secs_f64());
            ServicePoint {
                at,
                requests_per_second: total.requests as f64 / seconds,
                error_ratio: total.error_ratio(),
                p50_seconds: total.latency.quantile(0.5),
                p95_seconds: total.latency.quantile(0.95),
            }
        })
        .collect()
}

/// Requests of several steps together.
#[derive(Default)]
struct Total {
    requests: u64,
    errors: u64,
    latency: Latency,
}

impl Total {
    fn add(&mut self, step: &SliMinute) {
        self.requests += step.requests;
        self.errors += step.errors;
        self.latency.merge(&step.latency);
    }

    fn error_ratio(&self) -> Option<f64> {
        (self.requests > 0).then(|| self.errors as f64 / self.requests as f64)
    }
}

fn total(steps: &[SliMinute]) -> Total {
    let mut total = Total::default();
    steps.iter().for_each(|step| total.add(step));
    total
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::incidents::grouping::tests::finding;

    const NOW: UnixNanos = UnixNanos::from_seconds(1_800_000_030);

    fn minute(ago: u32, requests: u64, errors: u64) -> SliMinute {
        SliMinute {
            service: "cart".into(),
            endpoint: String::new(),
            minute: NOW.minus(Duration::from_secs(60) * ago).floor(Duration::from_secs(60)),
            requests,
            errors,
            latency: Latency([(40, requests)].into()),
        }
    }

    #[track_caller]
    fn check(minutes: &[SliMinute], findings: &[&Finding], status: ServiceStatus, error_ratio: Option<f64>) {
        let recent: Vec<SliMinute> =
            minutes.iter().filter(|minute| minute.minute >= NOW.minus(LATELY)).cloned().collect();
        let row = row(minutes, &recent, findings, &Objectives::default(), NOW, Range::Hour);
        assert_eq!((row.status, row.error_ratio), (status, error_ratio));
        assert_eq!(row.series.len(), 60);
    }

    #[test]
    fn rows_say_how_services_fare() {
        let ten = |errors| (0..10).rev().map(|ago| minute(ago, 100, errors)).collect::<Vec<_>>();
        check(&ten(0), &[], ServiceStatus::Healthy, Some(0.0));
        check(&ten(10), &[], ServiceStatus::Failing, Some(0.1));
        check(&[minute(1, 10, 1)], &[], ServiceStatus::Healthy, Some(0.1));
        check(&[minute(50, 10, 1)], &[], ServiceStatus::NoTraffic, None);
        check(&ten(0), &[&finding("cart")], ServiceStatus::Failing, Some(0.0));
    }

    #[test]
    fn a_service_is_the_sum_of_its_endpoints() {
        let of = |endpoint: &str, step: SliMinute| SliMinute { endpoint: endpoint.into(), ..step };
        let steps = [of("a", minute(1, 10, 1)), of("b", minute(1, 90, 2)), of("b", minute(0, 5, 0))];
        let whole: Vec<_> =
            whole(&steps).iter().map(|step| (step.requests, step.errors, step.latency.count())).collect();
        assert_eq!(whole, [(100, 3, 100), (5, 0, 5)]);
    }

    #[test]
    fn the_series_has_every_step_and_the_present_one_is_not_low() {
        let steps = series(&[minute(2, 120, 0), minute(0, 60, 0)], NOW, Range::Hour);
        let rates: Vec<f64> = steps.iter().map(|point| point.requests_per_second).collect();
        assert_eq!(rates[57..], [2.0, 0.0, 2.0]);
    }
}
