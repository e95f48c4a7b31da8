//! The Numenta benchmark's scoring function (Lavin and Ahmad, "Evaluating Real-time Anomaly Detection Algorithms", 2015,
//! section II, and the benchmark's scoring document), from the published formulas.
//!
//! A detection inside a labelled window counts by how early it is, one outside costs by how far past the last window it
//! lies: `s(y) = 2 / (1 + e^(5y)) - 1`, where `y` runs from -1 at a window's first row to 0 behind its last one, and on to
//! 3, from where on `s` is -1. Of each window the best detection counts; a window without any costs the profile's `miss`.
//! Rows of the first 15% of a series (of 750 rows at most) do not count. One threshold serves all series: the one that
//! scores best. The sum is scaled so that a detector that never fires has 0 and one that fires just once, on every
//! window's first row, has 100.

/// Share of a series in which a detector may learn and is not scored.
const PROBATION: f64 = 0.15;
/// A series counts as no longer than this for its probation.
const LONGEST_FOR_PROBATION: f64 = 5000.0;
/// Window lengths past a window from where on a false alarm costs in full.
const FAR: f64 = 3.0;

/// What hits, false alarms and misses weigh.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Profile {
    /// Its published name.
    pub name: &'static str,
    /// Of a window found at its first row.
    pub hit: f64,
    /// Of a false alarm far from any window.
    pub false_alarm: f64,
    /// Of a window not found.
    pub miss: f64,
}

/// The published profiles, standard first.
pub const PROFILES: [Profile; 3] = [
    Profile { name: "standard", hit: 1.0, false_alarm: 0.11, miss: 1.0 },
    Profile { name: "reward low false positives", hit: 1.0, false_alarm: 0.22, miss: 1.0 },
    Profile { name: "reward low false negatives", hit: 1.0, false_alarm: 0.11, miss: 2.0 },
];

/// A series with what a detector made of it.
#[derive(Clone, Debug)]
pub struct Judged<'a> {
    /// A score per row, 0 to 1.
    pub scores: &'a [f64],
    /// First and last row of each labelled window, in order, not overlapping.
    pub windows: &'a [(usize, usize)],
}

/// How the best threshold does.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Rows with at least this score count as detections; above 1 when none should.
    pub threshold: f64,
    /// The normalised score of all series: 100 is perfect, 0 is silence.
    pub score: f64,
    /// The same at this threshold, series by series.
    pub series: Vec<SeriesOutcome>,
}

/// How one series does at the chosen threshold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SeriesOutcome {
    /// Labelled windows.
    pub windows: usize,
    /// Those with a detection inside.
    pub found: usize,
    /// Detections outside windows.
    pub false_alarms: usize,
    /// What the series adds to the sum, before scaling.
    pub points: f64,
    /// Scaled as if it were alone; `None` without a window, where only false alarms could count.
    pub score: Option<f64>,
}

/// A row that counts.
struct Row {
    series: usize,
    score: f64,
    window: Option<usize>,
    points: f64,
}

/// Scores at the threshold that is best for all series together.
pub fn best(series: &[Judged], profile: Profile) -> Outcome {
    let mut rows: Vec<Row> = Vec::new();
    for (place, judged) in series.iter().enumerate() {
        rows.extend(weigh(place, judged, profile));
    }
    rows.sort_by(|left, right| right.score.total_cmp(&left.score));

    let mut sum = Sum::new(series, profile);
    let mut top = (sum.total, f64::INFINITY);
    for (place, row) in rows.iter().enumerate() {
        sum.add(row);
        // Rows of one score are detected together.
        let last_of_its_score = rows.get(place + 1).is_none_or(|next| next.score != row.score);
        if last_of_its_score && sum.total > top.0 {
            top = (sum.total, row.score);
        }
    }
    at(series, &rows, top.1, profile)
}

/// Scores at a given threshold.
fn at(series: &[Judged], rows: &[Row], threshold: f64, profile: Profile) -> Outcome {
    let mut sum = Sum::new(series, profile);
    for row in rows.iter().take_while(|row| row.score >= threshold) {
        sum.add(row);
    }
    let series = sum.series.iter().zip(&sum.windows).map(|(outcome, windows)| SeriesOutcome {
        windows: windows.len(),
        found: windows.iter().filter(|points| **points > -profile.miss).count(),
        score: (!windows.is_empty()).then(|| scaled(outcome.points, windows.len(), profile)),
        ..outcome.clone()
    });
    let windows = sum.windows.iter().map(Vec::len).sum();
    Outcome { threshold, score: scaled(sum.total, windows, profile), series: series.collect() }
}

/// 0 for missing all windows, 100 for finding each at its first row.
fn scaled(points: f64, windows: usize, profile: Profile) -> f64 {
    let silence = -profile.miss * windows as f64;
    let perfect = profile.hit * windows as f64;
    100.0 * (points - silence) / (perfect - silence)
}

/// The running sum while the threshold falls.
struct Sum {
    total: f64,
    /// Best points of each window, `-miss` while there is no detection inside.
    windows: Vec<Vec<f64>>,
    series: Vec<SeriesOutcome>,
}

impl Sum {
    fn new(series: &[Judged], profile: Profile) -> Self {
        let windows: Vec<Vec<f64>> =
            series.iter().map(|judged| vec![-profile.miss; judged.windows.len()]).collect();
        let outcomes: Vec<SeriesOutcome> = windows
            .iter()
            .map(|windows| SeriesOutcome { points: windows.iter().sum(), ..SeriesOutcome::default() })
            .collect();
        Self { total: outcomes.iter().map(|outcome| outcome.points).sum(), windows, series: outcomes }
    }

    fn add(&mut self, row: &Row) {
        let gain = match row.window {
            None => {
                self.series[row.series].false_alarms += 1;
                row.points
            }
            Some(window) => {
                let best = &mut self.windows[row.series][window];
                let gain = (row.points - *best).max(0.0);
                *best += gain;
                gain
            }
        };
        self.series[row.series].points += gain;
        self.total += gain;
    }
}

/// The rows after probation, each with the points that a detection there is worth.
fn weigh<'a>(series: usize, judged: &'a Judged, profile: Profile) -> impl Iterator<Item = Row> + 'a {
    let length = judged.scores.len();
    let probation = (PROBATION * (length as f64).min(LONGEST_FOR_PROBATION)).floor() as usize;
    judged.scores.iter().enumerate().skip(probation).map(move |(row, score)| {
        let next = judged.windows.partition_point(|(_, last)| *last < row);
        let window = judged.windows.get(next).filter(|(first, _)| *first <= row).map(|_| next);
        let points = match window {
            Some(window) => {
                let (first, last) = judged.windows[window];
                let width = (last - first + 1) as f64;
                profile.hit * sigmoid((row as f64 - last as f64 - 1.0) / width) / sigmoid(-1.0)
            }
            None => {
                let past = next.checked_sub(1).map_or(FAR, |before| {
                    let (first, last) = judged.windows[before];
                    (row - last) as f64 / ((last - first) as f64).max(1.0)
                });
                profile.false_alarm * sigmoid(past)
            }
        };
        Row { series, score: *score, window, points }
    })
}

/// `s(y)` of the module's head.
fn sigmoid(position: f64) -> f64 {
    if position >= FAR { -1.0 } else { 2.0 / (1.0 + (5.0 * position).exp()) - 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STANDARD: Profile = PROFILES[0];

    /// 1000 rows with two windows of 100; `detect` gives the rows with a score of 1.
    fn check(detect: &[usize], profile: Profile, expected: f64) {
        let windows = [(300, 399), (700, 799)];
        let scores: Vec<f64> = (0..1000).map(|row| f64::from(u8::from(detect.contains(&row)))).collect();
        let judged = Judged { scores: &scores, windows: &windows };
        let rows: Vec<Row> = {
            let mut rows: Vec<Row> = weigh(0, &judged, profile).collect();
            rows.sort_by(|left, right| right.score.total_cmp(&left.score));
            rows
        };
        let outcome = at(&[judged], &rows, 1.0, profile);
        assert!((outcome.score - expected).abs() < 1e-6, "{detect:?}: {} not {expected}", outcome.score);
    }

    #[test]
    fn figures_that_can_be_had_by_hand() {
        // Nothing detected, everything at once, one of two.
        check(&[], STANDARD, 0.0);
        check(&[300, 700], STANDARD, 100.0);
        check(&[300], STANDARD, 50.0);
        // Rows in probation do not count, the best of a window does.
        check(&[0, 149, 300, 350, 399, 700], STANDARD, 100.0);
        // A false alarm before any window costs its full weight, of a span of 4 (two misses to two hits).
        check(&[200, 300, 700], STANDARD, 100.0 * (2.0 - 0.11 + 2.0) / 4.0);
        check(&[200, 300, 700], PROFILES[1], 100.0 * (2.0 - 0.22 + 2.0) / 4.0);
        // A miss that weighs two: silence is -4, perfect 2.
        check(&[300], PROFILES[2], 100.0 * (1.0 - 2.0 + 4.0) / 6.0);
        // The published sigmoid: halfway into a window 0.84828, at its start 0.98661, one window past it -0.98661.
        check(&[350, 700], STANDARD, 100.0 * (0.848_283_64 / 0.986_614_30 + 1.0 + 2.0) / 4.0);
        check(&[399 + 99, 300, 700], STANDARD, 100.0 * (2.0 - 0.11 * 0.986_614_30 + 2.0) / 4.0);
    }

    #[test]
    fn the_null_detector_has_nothing_and_the_perfect_one_everything() {
        let windows = [(300, 399), (700, 799)];
        let check = |score: fn(usize) -> f64, expected: f64| {
            let scores: Vec<f64> = (0..1000).map(score).collect();
            for profile in PROFILES {
                let outcome = best(&[Judged { scores: &scores, windows: &windows }], profile);
                assert!((outcome.score - expected).abs() < 1e-9, "{outcome:?}");
            }
        };
        check(|_| 0.5, 0.0);
        check(|row| if row == 300 || row == 700 { 1.0 } else { 0.0 }, 100.0);
    }

    #[test]
    fn one_threshold_serves_all_series() {
        let quiet: Vec<f64> = (0..1000).map(|row| if row == 300 { 0.5 } else { 0.0 }).collect();
        let noisy: Vec<f64> = (0..1000).map(|row| if row % 10 == 0 { 0.6 } else { 0.0 }).collect();
        let outcome = best(
            &[Judged { scores: &quiet, windows: &[(300, 399)] }, Judged { scores: &noisy, windows: &[] }],
            STANDARD,
        );
        // 85 false alarms at 0.11 are dearer than the one window is worth.
        assert_eq!((outcome.threshold, outcome.score), (f64::INFINITY, 0.0));
        assert_eq!(
            outcome.series[0],
            SeriesOutcome { windows: 1, points: -1.0, score: Some(0.0), ..Default::default() }
        );
        assert_eq!(outcome.series[1].score, None);
    }
}
