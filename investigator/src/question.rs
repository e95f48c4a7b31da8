//! What is asked of an investigation.

use std::time::Duration;

use detectors::Objectives;
use domain::{Change, UnixNanos, Window};
use serde::{Deserialize, Serialize};

/// Baselines shorter than this are stretched toward data around them.
const SHORT_BASELINE: Duration = Duration::from_secs(300);
/// By how much, at most, on each side.
const STRETCH: Duration = Duration::from_secs(150);

/// A question: why is this service failing, then, compared with when it was not?
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Question {
    /// The service asked about; `None` when only the system is known.
    pub service: Option<String>,
    /// When it fails.
    pub window: Window,
    /// When it did not. `None`: the time before the window, as long as the window, at least ten minutes.
    pub baseline: Option<Window>,
    /// When users began to be hurt, if a detector says so.
    pub started: Option<UnixNanos>,
    /// What callers are promised.
    pub objectives: ObjectivesRecord,
    /// Changes known from elsewhere than the store.
    pub changes: Vec<Change>,
    /// Call edges known from elsewhere than spans.
    pub edges: Vec<(String, String)>,
    /// What was amiss with the telemetry before it got here.
    pub notes: Vec<String>,
}

/// [`Objectives`] as a record.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ObjectivesRecord {
    /// Share of requests that succeed.
    pub availability: f64,
    /// Threshold of the latency objective, milliseconds.
    pub latency_ms: f64,
    /// Share of requests within the threshold.
    pub latency_ratio: f64,
}

impl From<Objectives> for ObjectivesRecord {
    fn from(objectives: Objectives) -> Self {
        let Objectives { availability, latency_ms, latency_ratio } = objectives;
        Self { availability, latency_ms, latency_ratio }
    }
}

impl Question {
    /// A question about `service` over `window`, everything else by default.
    pub fn new(service: Option<String>, window: Window) -> Self {
        Self {
            service,
            window,
            baseline: None,
            started: None,
            objectives: Objectives::default().into(),
            changes: Vec::new(),
            edges: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// The baseline to compare with. A given one that is short is stretched by up to 150 s on each side, since requests
    /// that begin in it end after it; it never reaches into the window.
    pub fn quiet_time(&self) -> Window {
        let Some(given) = self.baseline else {
            let length = self.window.duration().max(Duration::from_secs(600));
            return Window::new(self.window.start.minus(length), self.window.start);
        };
        if given.duration() >= SHORT_BASELINE {
            return given;
        }
        let mut start = given.start.minus(STRETCH);
        let mut end = given.end.plus(STRETCH);
        if self.window.end <= given.start {
            start = start.max(self.window.end);
        }
        if self.window.start >= given.end {
            end = end.min(self.window.start);
        }
        Window::new(start, end)
    }
}

impl Question {
    /// Up to when a metric is sure to be quiet: a minute before the harm was noticed, if that lies inside the window.
    pub fn split(&self) -> Option<UnixNanos> {
        let split = self.started?.minus(Duration::from_secs(60));
        (self.window.contains(split) && split > self.window.start).then_some(split)
    }

    /// The window without the baseline: a window that begins before its own quiet time begins after it.
    pub fn harm_window(&self) -> Window {
        let quiet = self.quiet_time();
        let latest = self.split().unwrap_or(self.window.start);
        let inside = self.window.contains(quiet.start) && quiet.start < latest;
        if inside { Window::new(quiet.end.min(latest), self.window.end) } else { self.window }
    }

    /// The harm window from [`Question::split`] on: what behaves otherwise than before does so there, and the time until then
    /// would only water it down. When something came first is to be looked for in all of the harm window.
    pub fn noticed_window(&self) -> Window {
        let harm = self.harm_window();
        Window::new(self.split().map_or(harm.start, |split| split.max(harm.start)), harm.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(start: i64, end: i64) -> Window {
        Window::new(UnixNanos::from_seconds(start), UnixNanos::from_seconds(end))
    }

    #[test]
    fn the_baseline_never_reaches_into_the_window() {
        let check = |baseline: Option<Window>, expected: Window| {
            let question = Question { baseline, ..Question::new(None, window(10_000, 10_600)) };
            assert_eq!(question.quiet_time(), expected);
        };
        check(None, window(9_400, 10_000));
        check(Some(window(9_000, 9_900)), window(9_000, 9_900));
        check(Some(window(9_900, 9_960)), window(9_750, 10_000));
        check(Some(window(10_700, 10_760)), window(10_600, 10_910));
    }

    #[test]
    fn a_window_that_holds_its_baseline_begins_after_it() {
        let check = |baseline: Window, started: i64, expected: Window| {
            let question = Question {
                baseline: Some(baseline),
                started: Some(UnixNanos::from_seconds(started)),
                ..Question::new(None, window(10_000, 12_000))
            };
            assert_eq!(question.harm_window(), expected);
        };
        check(window(9_000, 9_900), 11_800, window(10_000, 12_000));
        check(window(10_300, 10_360), 11_800, window(10_510, 12_000));
        check(window(11_500, 11_560), 11_600, window(11_540, 12_000));
        check(window(12_100, 12_160), 11_600, window(10_000, 12_000));
    }

    #[test]
    fn harm_is_sure_from_a_minute_before_it_was_noticed() {
        let check = |started: Option<i64>, expected: Window| {
            let started = started.map(UnixNanos::from_seconds);
            let question = Question { started, ..Question::new(None, window(10_000, 12_000)) };
            assert_eq!(question.noticed_window(), expected);
        };
        check(None, window(10_000, 12_000));
        check(Some(11_800), window(11_740, 12_000));
        check(Some(10_030), window(10_000, 12_000));
        check(Some(13_000), window(10_000, 12_000));
    }
}
