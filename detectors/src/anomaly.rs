//! Anomalies of a metric series, value by value, with no look-ahead.
//!
//! A value is looked at in five ways ([`View`]). Each gives a deviation, and each deviation is ranked among the earlier
//! ones of the same way ([`rarity::Rarity`]), so that no distribution is assumed, units do not matter, and a noisy series
//! is judged by its own noise. The most surprising way counts. A value that surprises no more than one shortly before
//! belongs to the same anomaly and scores low: an outage is reported when it begins, and again only when it gets worse.
//!
//! Parameters are the same for all series and stand as constants beside what they govern. Deliberately absent: thresholds
//! in units of the metric (`inspections`), and comparisons between instances (`peers`).

pub mod discoveries;
pub mod episode;
pub mod rarity;
mod recent;
mod season;

use std::collections::VecDeque;

use domain::UnixNanos;
use serde::{Deserialize, Serialize};

use rarity::Rarity;
use recent::Recent;
use season::Season;

/// From this score on a value is an anomaly.
pub const ANOMALY: f64 = 0.5;
/// A value whose like occurs once in so many has a score of [`ANOMALY`]: that is once in a day of five-minute values.
const RARE: f64 = 288.0;
/// Values that an anomaly lasts at least: within them only what is more surprising is a new one. No more than a share of
/// the history, so that the first values of a series do not silence the next.
const LASTS: usize = 200;
const LASTS_SHARE: usize = 4;
/// What a value that belongs to an anomaly already told of keeps of its score.
const CONTINUED: f64 = 0.4;
/// The slow level follows by this share of the difference: it remembers some 200 values.
const SLOW: f64 = 0.005;
/// A step in time this many times the usual is a gap: the first value behind it is not compared with the last before.
const GAP: f64 = 5.0;
/// A difference of this share of the values or less is what means round to, and counts as none.
const ROUNDING: f64 = 1e-9;
/// Means change by less than this share of the usual step from value to value without anybody needing to know. A series
/// that repeats itself exactly would otherwise be watched to the last digit.
const LEAST_SHIFT: f64 = 0.5;
/// Nor is a series still whose steps have not halved: `ln 2`.
const LEAST_QUIET: f64 = std::f64::consts::LN_2;
/// How fast the usual step is learned.
const STEP_SHARE: f64 = 0.1;

/// A way of looking at a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum View {
    /// Against the value before: `|x_t - x_(t-1)|`.
    Jump,
    /// Against the slow level, an exponentially weighted mean: `|x_t - m_(t-1)|`.
    Level,
    /// The mean of the last 36 values against that of the 180 before them.
    Shift,
    /// How much less the last 36 values vary than the 180 before them: `ln(mean |step| before / mean |step| now)`.
    Quiet,
    /// The mean of the last hour against the same hour of the past week's days, the one most like it.
    Season,
}

const VIEWS: [View; 5] = [View::Jump, View::Level, View::Shift, View::Quiet, View::Season];

/// What a value is worth noticing for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// 0 to 1: `1 - 2^(-s / ln 288)`, where `s = -ln p` and `p` is how often something of this size occurs. 0 for values
    /// that are not numbers, and while little is known.
    pub score: f64,
    /// The view that was surprised most; `None` when none was.
    pub view: Option<View>,
    /// What that view looked at. For `Quiet` the mean step from value to value, else a value or a mean of values.
    pub observed: f64,
    /// What it would have expected.
    pub expected: f64,
    /// When the change began that made it so; the value's own time for most views.
    pub since: UnixNanos,
}

impl Verdict {
    /// Whether this is where an anomaly begins, or gets worse.
    pub fn is_anomaly(&self) -> bool {
        self.score >= ANOMALY
    }

    fn nothing(at: UnixNanos, value: f64) -> Self {
        Self { score: 0.0, view: None, observed: value, expected: value, since: at }
    }
}

/// Scores one series as its values come. Its memory is bounded: 0.8 MiB when full, 12 KiB for an hour at 15 s.
#[derive(Clone, Debug, Default)]
pub struct Detector {
    values: usize,
    last: Option<(UnixNanos, f64)>,
    step: Option<f64>,
    level: f64,
    recent: Recent,
    steps: Recent,
    season: Season,
    rarities: [Rarity; VIEWS.len()],
    /// Surprises that no later one has reached yet, with the number of their value: a queue whose front is the largest.
    surprises: VecDeque<(usize, f64)>,
}

/// What a view compares.
#[derive(Clone, Copy)]
struct Look {
    deviation: f64,
    observed: f64,
    expected: f64,
}

impl Look {
    fn new(observed: f64, expected: f64) -> Self {
        let deviation = (observed - expected).abs();
        let rounding = ROUNDING * observed.abs().max(expected.abs());
        Self { deviation, observed, expected }.at_least(rounding)
    }

    /// A deviation below `least` counts as none.
    fn at_least(self, least: f64) -> Self {
        Self { deviation: if self.deviation <= least { 0.0 } else { self.deviation }, ..self }
    }
}

impl Detector {
    /// Takes the next value of a gauge or a rate ([`crate::rate`] turns counters into rates). What is not a finite number
    /// is a gap: it scores 0 and is forgotten. Times may repeat or go back; they then count as the next beat.
    pub fn push(&mut self, at: UnixNanos, value: f64) -> Verdict {
        if !value.is_finite() {
            return Verdict::nothing(at, value);
        }
        let looks = self.look(at, value);
        let mut most = (0.0, None);
        for ((view, look), rarity) in VIEWS.into_iter().zip(looks).zip(&mut self.rarities) {
            let Some(look) = look.filter(|look| look.deviation.is_finite()) else { continue };
            let surprise = rarity.surprise(look.deviation);
            rarity.learn(look.deviation);
            if surprise > most.0 {
                most = (surprise, Some((view, look)));
            }
        }
        let (surprise, Some((view, look))) = most else { return Verdict::nothing(at, value) };
        let score = 1.0 - (-surprise / RARE.ln()).exp2();
        let score = if self.continues(surprise) { CONTINUED * score } else { score };
        let mut verdict =
            Verdict { score, view: Some(view), observed: look.observed, expected: look.expected, since: at };
        if verdict.is_anomaly() {
            self.trace_back(&mut verdict);
        }
        verdict
    }

    /// What each view sees, in the order of [`VIEWS`].
    fn look(&mut self, at: UnixNanos, value: f64) -> [Option<Look>; VIEWS.len()] {
        self.values += 1;
        let before = self.last.replace((at, value));
        let jump = before.filter(|(last, _)| !self.is_gap(*last, at)).map(|(_, last)| Look::new(value, last));
        let level = before.map(|_| Look::new(value, self.level));
        self.level += (value - self.level) * SLOW.max(1.0 / self.values as f64);
        if !self.level.is_finite() {
            self.level = value;
        }
        self.recent.push(at, value);
        if let Some(jump) = jump.filter(|jump| jump.deviation.is_finite()) {
            self.steps.push(at, jump.deviation);
        }
        let step = self.steps.means().map_or(0.0, |(far, near)| far.max(near));
        let shift = self.recent.means().map(|(far, near)| Look::new(near, far).at_least(LEAST_SHIFT * step));
        let quiet = self.steps.means().map(|(far, near)| {
            let ratio = if far > 0.0 { (far / near.max(far * 1e-9)).ln().max(0.0) } else { 0.0 };
            Look { deviation: ratio, observed: near, expected: far }.at_least(LEAST_QUIET)
        });
        let season = self.season.push(at, value).map(|days| Look::new(days.mean, days.earlier));
        [jump, level, shift, quiet, season]
    }

    /// Whether more time went by than usual; learns what is usual.
    fn is_gap(&mut self, last: UnixNanos, at: UnixNanos) -> bool {
        let step = at.seconds_since(last).max(0.0);
        let usual = self.step.unwrap_or(step);
        let gap = usual > 0.0 && step > GAP * usual;
        // Gaps count as well, but only by so much: a series may really change its beat.
        self.step = Some(usual + STEP_SHARE * (step.min(2.0 * GAP * usual) - usual));
        gap
    }

    /// Whether a value shortly before was at least as surprising.
    fn continues(&mut self, surprise: f64) -> bool {
        let oldest = self.values - LASTS.min(self.values / LASTS_SHARE);
        while self.surprises.front().is_some_and(|(place, _)| *place < oldest) {
            self.surprises.pop_front();
        }
        let continues = self.surprises.front().is_some_and(|(_, before)| *before >= surprise);
        while self.surprises.back().is_some_and(|(_, before)| *before <= surprise) {
            self.surprises.pop_back();
        }
        self.surprises.push_back((self.values, surprise));
        continues
    }

    /// Says when the change began, where a view notices it with delay.
    fn trace_back(&self, verdict: &mut Verdict) {
        match verdict.view {
            Some(View::Shift) => {
                if let Some(change) = self.recent.change() {
                    (verdict.since, verdict.expected, verdict.observed) =
                        (change.at, change.before, change.after);
                }
            }
            Some(View::Quiet) => verdict.since = self.steps.near_since().unwrap_or(verdict.since),
            _ => {}
        }
    }
}

/// Scores a whole series, in the order given.
pub fn score(points: impl IntoIterator<Item = (UnixNanos, f64)>) -> Vec<Verdict> {
    let mut detector = Detector::default();
    points.into_iter().map(|(at, value)| detector.push(at, value)).collect()
}
