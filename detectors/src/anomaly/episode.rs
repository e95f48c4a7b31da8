//! Anomalies as people tell of them: when it changed, which way, by how much.

use std::time::Duration;

use domain::{UnixNanos, text};
use serde::{Deserialize, Serialize};

use super::{Verdict, View};

/// Anomalous values this many beats apart tell of one anomaly.
const APART: f64 = 36.0;

/// Which way a series went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// It rose.
    Up,
    /// It fell.
    Down,
    /// It stopped moving.
    Still,
}

/// One anomaly of a series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Episode {
    /// When the change began.
    pub since: UnixNanos,
    /// The first value that told of it.
    pub noticed: UnixNanos,
    /// The last one that did.
    pub last: UnixNanos,
    /// Which way.
    pub direction: Direction,
    /// What noticed it.
    pub view: View,
    /// What was to be expected, in the unit of the series; for `Still`, the mean step from value to value.
    pub before: f64,
    /// What came instead, where it was furthest from it.
    pub after: f64,
    /// Highest score, 0 to 1.
    pub score: f64,
}

/// Gathers the verdicts on a series into episodes.
#[derive(Clone, Debug, Default)]
pub struct Episodes {
    done: Vec<Episode>,
    last: Option<UnixNanos>,
    beat: f64,
}

impl Episodes {
    /// Takes the verdict on the next value.
    pub fn push(&mut self, at: UnixNanos, verdict: &Verdict) {
        if let Some(last) = self.last.replace(at) {
            let step = at.seconds_since(last).max(0.0);
            self.beat = if self.beat == 0.0 {
                step
            } else {
                self.beat + 0.1 * (step.min(10.0 * self.beat) - self.beat)
            };
        }
        let Some(view) = verdict.view.filter(|_| verdict.is_anomaly()) else { return };
        let open = self.done.last_mut().filter(|open| at.seconds_since(open.last) <= APART * self.beat);
        match open {
            Some(open) => {
                open.last = at;
                if verdict.score > open.score {
                    open.score = verdict.score;
                }
                // The furthest value of the same kind tells the size.
                let same = comparable(open.view, view) && direction(view, verdict) == open.direction;
                if same && (verdict.observed - open.before).abs() > (open.after - open.before).abs() {
                    open.after = verdict.observed;
                }
            }
            None => self.done.push(Episode {
                since: verdict.since.min(at),
                noticed: at,
                last: at,
                direction: direction(view, verdict),
                view,
                before: verdict.expected,
                after: verdict.observed,
                score: verdict.score,
            }),
        }
    }

    /// What has been gathered, in order of time.
    pub fn finish(self) -> Vec<Episode> {
        self.done
    }
}

/// Quiet is told in steps, the rest in values.
fn comparable(left: View, right: View) -> bool {
    (left == View::Quiet) == (right == View::Quiet)
}

fn direction(view: View, verdict: &Verdict) -> Direction {
    match view {
        View::Quiet => Direction::Still,
        _ if verdict.observed < verdict.expected => Direction::Down,
        _ => Direction::Up,
    }
}

impl Episode {
    /// One sentence, times in UTC: `It rose from 12.3 to 45 (3.7 times) on 19 Nov 2026 at 14:02:31.`
    pub fn sentence(&self) -> String {
        let when = format!("on {} at {}", self.since.date(), self.since.clock_time());
        let late = self.noticed.seconds_since(self.since);
        let noticed =
            if late > 0.0 { format!(", noticed {} later", text::duration(late)) } else { String::new() };
        let [before, after] = [self.before, self.after].map(text::number);
        let what = match (self.direction, self.view) {
            (Direction::Still, _) if self.after == 0.0 => {
                format!("stopped moving {when}, where it used to step by {before}")
            }
            (Direction::Still, _) => {
                format!("became still {when}: steps of {after}, where they used to be {before}")
            }
            (_, View::Season) => format!(
                "was {} {when}: {after} over an hour, {before} at that hour on the day most like it",
                if self.direction == Direction::Up { "unusually high" } else { "unusually low" },
            ),
            (direction, _) => {
                let verb = if direction == Direction::Up { "rose" } else { "fell" };
                format!("{verb} from {before} to {after}{} {when}", times(self.before, self.after))
            }
        };
        format!("It {what}{noticed}.")
    }

    /// How long it went on being told of.
    pub fn length(&self) -> Duration {
        Duration::from_secs_f64(self.last.seconds_since(self.since).max(0.0))
    }
}

/// `(3.7 times)`, where that says something: both of one sign, and not nearly the same.
fn times(before: f64, after: f64) -> String {
    let ratio = after / before;
    match ratio {
        _ if !ratio.is_finite() || ratio <= 0.0 => String::new(),
        _ if ratio >= 2.0 => format!(" ({} times)", text::number(ratio)),
        _ => format!(" ({}{})", if ratio >= 1.0 { "+" } else { "−" }, text::percent((ratio - 1.0).abs())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(second: i64, view: View, expected: f64, observed: f64, score: f64) -> (UnixNanos, Verdict) {
        let at = UnixNanos::from_seconds(1_795_096_800 + second);
        (at, Verdict { score, view: Some(view), observed, expected, since: at })
    }

    fn check(verdicts: &[(UnixNanos, Verdict)], expected: &[&str]) {
        let mut episodes = Episodes::default();
        for (at, verdict) in verdicts {
            episodes.push(*at, verdict);
        }
        let sentences: Vec<String> = episodes.finish().iter().map(Episode::sentence).collect();
        assert_eq!(sentences, expected);
    }

    #[test]
    fn sentences() {
        let quiet = |second| verdict(second, View::Jump, 1.0, 1.0, 0.1);
        check(
            &[
                quiet(0),
                verdict(60, View::Jump, 12.3, 45.0, 0.6),
                verdict(120, View::Level, 12.3, 48.0, 0.7),
                quiet(180),
            ],
            &["It rose from 12.3 to 48 (3.90 times) on 19 Nov 2026 at 14:01:00."],
        );
        check(
            &[quiet(0), verdict(60, View::Level, 100.0, 30.0, 0.6)],
            &["It fell from 100 to 30 (−70%) on 19 Nov 2026 at 14:01:00."],
        );
        check(
            &[quiet(0), verdict(60, View::Quiet, 5.0, 0.0, 0.6)],
            &["It stopped moving on 19 Nov 2026 at 14:01:00, where it used to step by 5."],
        );
        check(
            &[quiet(0), verdict(60, View::Season, 5.0, 40.0, 0.6)],
            &[
                "It was unusually high on 19 Nov 2026 at 14:01:00: 40 over an hour, 5 at that hour on the day most like it.",
            ],
        );
        let (at, mut late) = verdict(600, View::Shift, 0.0, 4.0, 0.6);
        late.since = late.since.minus(Duration::from_secs(300));
        check(
            &[quiet(0), quiet(60), (at, late)],
            &["It rose from 0 to 4 on 19 Nov 2026 at 14:05:00, noticed 5 m 0 s later."],
        );
    }

    #[test]
    fn anomalies_far_apart_are_told_apart() {
        let mut episodes = Episodes::default();
        for second in 0..200 {
            let score = if second == 10 || second == 20 || second == 150 { 0.9 } else { 0.1 };
            let (at, verdict) = verdict(second, View::Jump, 1.0, 9.0, score);
            episodes.push(at, &verdict);
        }
        let lengths: Vec<u64> = episodes.finish().iter().map(|episode| episode.length().as_secs()).collect();
        assert_eq!(lengths, [10, 0]);
    }
}
