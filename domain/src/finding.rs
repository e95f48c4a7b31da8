//! What a detector saw.

use serde::{Deserialize, Serialize};

use crate::text::{count, duration, number, percent, plain, seconds};
use crate::{SeriesId, UnixNanos, Window};

/// How bad it is, mildest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing; opens no incident.
    Notice,
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
    /// Share of good events by two metrics that the settings name.
    Custom,
}

impl Sli {
    /// The word used in titles and the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Availability => "availability",
            Self::Latency => "latency",
            Self::Custom => "custom",
        }
    }
}

/// What a detector saw: one thing about one service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// The service it is about.
    pub service: String,
    /// What of the service: an endpoint, a custom SLI, a series, a pattern. Empty for the service as a whole.
    pub subject: String,
    /// How bad.
    pub severity: Severity,
    /// When it began, as well as is known.
    pub started: UnixNanos,
    /// The stretch of time that it was seen in.
    pub window: Window,
    /// What was seen.
    #[serde(flatten)]
    pub detail: Detail,
}

/// What was seen, with the numbers behind it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Detail {
    /// An objective is being missed faster than its budget allows.
    Objective(ObjectiveMissed),
    /// A service stopped receiving requests that are still being made.
    Silence(Silence),
    /// What any other detector has to say.
    Observation(Observation),
}

/// An objective being missed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ObjectiveMissed {
    /// What is missed.
    pub sli: Sli,
    /// The objective, 0 to 1.
    pub objective: f64,
    /// Latency objectives: the threshold in milliseconds.
    pub threshold_ms: Option<f64>,
    /// Burn rate over the long window: bad share / (1 - objective).
    pub burn_long: f64,
    /// The same over the short window.
    pub burn_short: f64,
    /// The burn rate that is surely exceeded, with the chance of error that the detector states.
    pub burn_at_least: f64,
    /// The burn rate that fires.
    pub burn_limit: f64,
    /// Share of good requests over the short window, 0 to 1.
    pub good_ratio: f64,
    /// Requests in the short window.
    pub requests: u64,
    /// The short window in seconds; `window` of the finding is the long one.
    pub short_seconds: u64,
}

/// Traffic that vanished on one end of its calls.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Silence {
    /// Requests that the service would have received since, by its rate before.
    pub expected: f64,
    /// Services that still call it, the busiest first.
    pub callers: Vec<String>,
    /// Calls they made since.
    pub calls: u64,
    /// Ones that failed.
    pub failed: u64,
}

/// What any other detector has to say: a sentence and the numbers behind it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// Which detector: `log pattern`, `memory growth`...
    pub detector: String,
    /// One sentence.
    pub sentence: String,
    /// The numbers behind it, in words ready to print.
    pub numbers: Vec<(String, String)>,
    /// What to draw of it.
    #[serde(default, skip_serializing_if = "SeenIn::is_nothing")]
    pub seen_in: SeenIn,
    /// The hosts or instances that it was seen on, in order; empty when nobody says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
}

/// What an observation was made in: what a chart of it draws.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SeenIn {
    /// In what is stored nowhere.
    #[default]
    Nothing,
    /// In metric series, the most telling first.
    Series(Vec<SeriesId>),
    /// In the messages of a log pattern, by its id.
    LogPattern(u64),
}

impl SeenIn {
    const fn is_nothing(&self) -> bool {
        matches!(self, Self::Nothing)
    }
}

impl Finding {
    /// The objective that is missed, when it is about one.
    pub const fn objective(&self) -> Option<&ObjectiveMissed> {
        match &self.detail {
            Detail::Objective(objective) => Some(objective),
            Detail::Silence(_) | Detail::Observation(_) => None,
        }
    }

    /// Which objective is measured, when it is about one.
    pub fn sli(&self) -> Option<Sli> {
        self.objective().map(|objective| objective.sli)
    }

    /// The word for what was seen.
    pub fn kind(&self) -> &str {
        match &self.detail {
            Detail::Objective(objective) => objective.sli.as_str(),
            Detail::Silence(_) => "silence",
            Detail::Observation(observation) => &observation.detector,
        }
    }

    /// Sixteen hexadecimal digits that stay the same while the same thing goes on: a hash (FNV-1a, 64 bit) of service,
    /// subject and kind, and of nothing that changes with time.
    pub fn fingerprint(&self) -> String {
        let parts = [self.service.as_str(), &self.subject, self.kind()];
        let bytes = parts.iter().flat_map(|part| part.bytes().chain([0xff]));
        let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        format!("{hash:016x}")
    }

    /// Whether the two tell of the same thing, at whatever time.
    pub fn is_about_the_same(&self, other: &Self) -> bool {
        self.service == other.service && self.subject == other.subject && self.kind() == other.kind()
    }

    /// Whether somebody should look: an incident is opened for it.
    pub fn opens_incident(&self) -> bool {
        self.severity >= Severity::Warning
    }

    /// Whom it is about: `checkout`, or `POST /orders of checkout`.
    pub fn whom(&self) -> String {
        match self.subject.as_str() {
            "" => self.service.clone(),
            subject => format!("{} of {}", plain(subject, 80), self.service),
        }
    }

    /// The hosts or instances that it was seen on; none when nobody says.
    pub fn hosts(&self) -> &[String] {
        match &self.detail {
            Detail::Observation(observation) => &observation.hosts,
            Detail::Objective(_) | Detail::Silence(_) => &[],
        }
    }

    /// One line: `checkout availability 92.1%, objective 99%`.
    pub fn title(&self) -> String {
        let whom = self.whom();
        match &self.detail {
            Detail::Objective(missed) => {
                let (good, objective) = (percent(missed.good_ratio), percent(missed.objective));
                match missed.threshold_ms {
                    Some(threshold) => {
                        format!(
                            "{whom} {good} of requests under {}, objective {objective}",
                            seconds(threshold / 1e3)
                        )
                    }
                    None if missed.sli == Sli::Custom => format!("{whom} {good} good, objective {objective}"),
                    None => format!("{whom} {} {good}, objective {objective}", missed.sli.as_str()),
                }
            }
            Detail::Silence(silence) => {
                format!("{whom} receives nothing while {} still calls it", listed(&silence.callers))
            }
            Detail::Observation(observation) => observation.sentence.clone(),
        }
    }

    /// One sentence that says what was seen and why it counts.
    pub fn sentence(&self) -> String {
        let whom = self.whom();
        match &self.detail {
            Detail::Objective(missed) => {
                let what = match missed.threshold_ms {
                    Some(threshold) => format!("were slower than {}", seconds(threshold / 1e3)),
                    None if missed.sli == Sli::Custom => "were not good".into(),
                    None => "failed".into(),
                };
                format!(
                    "{} of the last {} requests to {whom} {what}: its error budget burns {} times as fast as its \
                     objective of {} allows, surely more than {} times.",
                    percent(1.0 - missed.good_ratio),
                    count(i64::try_from(missed.requests).unwrap_or(i64::MAX)),
                    number(missed.burn_short),
                    percent(missed.objective),
                    number(missed.burn_at_least),
                )
            }
            Detail::Silence(silence) => {
                let lately = duration(self.window.end.seconds_since(self.started).max(0.0));
                let calls = count(i64::try_from(silence.calls).unwrap_or(i64::MAX));
                let ends = match (silence.failed, silence.calls) {
                    (0, _) => "none of them failed, so it may only have stopped sending telemetry".to_owned(),
                    (failed, calls) => {
                        format!("{} of them failed", percent(failed as f64 / calls.max(1) as f64))
                    }
                };
                format!(
                    "{whom} received no request for {lately}, where about {} were to be expected, while {} called it {calls} \
                     times; {ends}.",
                    number(silence.expected.round()),
                    listed(&silence.callers),
                )
            }
            Detail::Observation(observation) => observation.sentence.clone(),
        }
    }

    /// The numbers behind it: name and value, in words ready to print.
    pub fn numbers(&self) -> Vec<(String, String)> {
        let named = |name: &str, value: String| (name.to_owned(), value);
        match &self.detail {
            Detail::Objective(missed) => {
                vec![
                    named("Objective", percent(missed.objective)),
                    named("Good", percent(missed.good_ratio)),
                    named("Requests", count(i64::try_from(missed.requests).unwrap_or(i64::MAX))),
                    named(
                        &format!("Burn over {}", length(self.window.seconds().round() as u64)),
                        format!("{} ×", number(missed.burn_long)),
                    ),
                    named(
                        &format!("Burn over {}", length(missed.short_seconds)),
                        format!("{} ×", number(missed.burn_short)),
                    ),
                    named("At least", format!("{} ×", number(missed.burn_at_least))),
                    named("Fires above", format!("{} ×", number(missed.burn_limit))),
                ]
            }
            Detail::Silence(silence) => vec![
                named("Requests received", "0".into()),
                named("Requests expected", number(silence.expected.round())),
                named("Calls made", count(i64::try_from(silence.calls).unwrap_or(i64::MAX))),
                named("Calls failed", count(i64::try_from(silence.failed).unwrap_or(i64::MAX))),
            ],
            Detail::Observation(observation) => observation.numbers.clone(),
        }
    }
}

/// The length of a window as people say it: `5 min`, `6 h`, `3 d`.
fn length(seconds: u64) -> String {
    match seconds {
        days if days >= 2 * 86_400 && days % 86_400 == 0 => format!("{} d", days / 86_400),
        hours if hours >= 3600 && hours % 3600 == 0 => format!("{} h", hours / 3600),
        minutes if minutes % 60 == 0 => format!("{} min", minutes / 60),
        other => duration(other as f64),
    }
}

/// `a`, `a and b`, `a, b and 3 more`.
fn listed(names: &[String]) -> String {
    let short = |name: &String| plain(name, 60);
    match names {
        [] => "nobody".into(),
        [one] => short(one),
        [one, two] => format!("{} and {}", short(one), short(two)),
        [one, two, rest @ ..] => format!("{}, {} and {} more", short(one), short(two), rest.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(subject: &str, detail: Detail) -> Finding {
        let at = UnixNanos::from_seconds;
        Finding {
            service: "checkout".into(),
            subject: subject.into(),
            severity: Severity::Critical,
            started: at(600),
            window: Window::new(at(0), at(3600)),
            detail,
        }
    }

    fn missed(sli: Sli, threshold_ms: Option<f64>) -> Detail {
        Detail::Objective(ObjectiveMissed {
            sli,
            objective: 0.99,
            threshold_ms,
            burn_long: 15.2,
            burn_short: 30.0,
            burn_at_least: 22.0,
            burn_limit: 14.4,
            good_ratio: 0.7,
            requests: 1200,
            short_seconds: 300,
        })
    }

    #[test]
    fn a_fingerprint_is_of_what_stays() {
        let first = finding("", missed(Sli::Availability, None));
        let mut later = first.clone();
        later.window.end = UnixNanos::from_seconds(9000);
        later.severity = Severity::Warning;
        assert_eq!(first.fingerprint(), later.fingerprint());
        assert!(first.is_about_the_same(&later));
        for other in [
            finding("GET /", missed(Sli::Availability, None)),
            finding("", missed(Sli::Latency, Some(500.0))),
        ] {
            assert_ne!(first.fingerprint(), other.fingerprint());
        }
    }

    #[test]
    fn says_it_in_a_sentence() {
        let check = |finding: Finding, title: &str, sentence: &str| {
            assert_eq!((finding.title().as_str(), finding.sentence().as_str()), (title, sentence));
        };
        check(
            finding("", missed(Sli::Availability, None)),
            "checkout availability 70%, objective 99%",
            "30.0% of the last 1\u{202f}200 requests to checkout failed: its error budget burns 30 times as fast as its objective \
             of 99% allows, surely more than 22 times.",
        );
        check(
            finding("POST /orders", missed(Sli::Latency, Some(500.0))),
            "POST /orders of checkout 70% of requests under 500 ms, objective 99%",
            "30.0% of the last 1\u{202f}200 requests to POST /orders of checkout were slower than 500 ms: its error budget burns 30 \
             times as fast as its objective of 99% allows, surely more than 22 times.",
        );
        let silence = Silence { expected: 300.4, callers: vec!["gateway".into()], calls: 310, failed: 155 };
        check(
            finding("", Detail::Silence(silence)),
            "checkout receives nothing while gateway still calls it",
            "checkout received no request for 50 m 0 s, where about 300 were to be expected, while gateway called it 310 times; \
             50% of them failed.",
        );
    }
}
