//! Metric series that left their baseline, and what they speak of.

use std::collections::{BTreeMap, BTreeSet};

use detectors::shift::Level;
use detectors::statistics::median;
use domain::{MetricKind, SeriesId, UnixNanos, Window};
use storage::questions::metrics::{MetricLevels, SeriesLevels};

use super::is_usable;
use super::topic::{Meaning, meaning};
pub use super::topic::{Topic, Worse, words};

/// What follows the name of a counter in that of its failed share.
const FAILED_SHARE: &str = "_error_ratio";
/// A level is known to this share of itself at best: meters round, and a change of a hair is no finding.
const FLOOR_SHARE: f64 = 0.06;
/// And to this share divided by the number of values: few values know little of their own spread.
const FEW_SHARE: f64 = 0.5;
/// Ratio of the standard deviation to the median absolute deviation of a normal distribution.
const MAD_TO_SIGMA: f64 = 1.4826;
/// Requests behind one value of a ratio, where no metric of the service tells.
const ASSUMED_REQUESTS: f64 = 200.0;
/// A ratio is known to this at best.
const RATIO_FLOOR: f64 = 0.002;
/// Shares of one stay below this, though a little over the whole may be counted.
const MOST_OF_SHARE: f64 = 1.5;
/// Somewhere most succeeds: of successes in percent one reaches this, and what does not counts things.
const LEAST_OF_SUCCESS: f64 = 50.0;

/// A count of things under way is known to this much of one at best: a fraction of a thing is a chance of the sampling.
const COUNT_FLOOR: f64 = 0.25;
/// Words of what is measured, not counted.
const MEASURED: [&str; 9] =
    ["bytes", "duration", "latency", "milliseconds", "ms", "ratio", "seconds", "time", "wait"];

/// Values that tell what is usual, and from which two series with the same order statistics are the same by no chance.
const ENOUGH_VALUES: f64 = 5.0;
/// How far out of the range of the past, beyond its own width, a value must lie to be news by that alone.
const RANGE_MARGIN: f64 = 0.5;

/// A series that moved.
#[derive(Clone, Debug)]
pub struct MetricMove {
    /// Identity.
    pub id: SeriesId,
    /// Metric name.
    pub name: String,
    /// Service it speaks of: the callee on a call edge, for what callers see.
    pub service: String,
    /// The caller, on a call edge.
    pub source: String,
    /// Instance, or empty.
    pub instance: String,
    /// Whether the instance has no past of its own and was compared with its peers.
    pub is_new: bool,
    /// What it speaks of.
    pub topic: Topic,
    /// Which way is worse.
    pub worse: Worse,
    /// Whether it is measured for a machine and only reported under the name of what runs there.
    pub of_machine: bool,
    /// Unit as sent.
    pub unit: String,
    /// Whether its values are rates of a counter.
    pub is_rate: bool,
    /// Signed robust score; positive when the value rose.
    pub score: f64,
    /// What it reached: the value that was compared.
    pub reached: f64,
    /// By how much it became worse in its own unit; a failed share for ratios. Negative when it became better.
    pub worse_by: f64,
    /// The same of its mean since harm was noticed; `None` without values since then.
    pub worse_since: Option<f64>,
    /// By how much a bounded resource filled up, as a share of the whole; 0 for anything else.
    pub filled: f64,
    /// What it counts as a signal.
    pub weight: f64,
    /// When it left its usual range.
    pub began: Option<UnixNanos>,
    /// What it is compared with: the baseline, the start of the window, or its peers.
    pub before: Level,
    /// Window.
    pub now: Level,
}

/// Every series, compared with a baseline that began at `since`. Instances without a past are compared with their peers: series of the same name and place.
pub fn compared(levels: &MetricLevels, since: UnixNanos, window: &Window) -> Vec<MetricMove> {
    let largest = largest_of_names(levels);
    let described = |one| describe(one, largest.get(one.name.as_str()).copied().unwrap_or_default());
    let mut series: Vec<Described<'_>> = levels.series.iter().filter_map(described).collect();
    // Where the failed share of a counter is known, its failures say nothing more, and grow with load besides.
    let shares: BTreeSet<&str> =
        series.iter().filter_map(|one| one.series.name.strip_suffix(FAILED_SHARE)).collect();
    series.retain(|one| !one.series.failing || !shares.contains(one.series.name.as_str()));
    let machine = of_machines(&series);
    let mut peers: BTreeMap<(&str, &str, &str, bool), Vec<Level>> = BTreeMap::new();
    let mut requests: BTreeMap<&str, f64> = BTreeMap::new();
    for one in &series {
        if let Some(past) = one.past {
            peers.entry(one.peers()).or_default().push(past);
        }
        if one.topic == Topic::Traffic && one.series.late[0] > 0.0 {
            // Of a rate, as many as there are from one value to the next.
            let seconds = match one.series.kind {
                MetricKind::Gauge => 1.0,
                _ => window.seconds().max(0.0) / one.series.now[0].max(1.0),
            };
            let known = requests.entry(one.place).or_default();
            *known = known.max(one.series.late[2] * seconds);
        }
    }
    series
        .iter()
        .filter_map(|one| {
            let past = one.past.or_else(|| pooled(peers.get(&one.peers())?))?;
            let mut judged = judge(one, past, requests.get(one.place).copied());
            if let Some(score) = drift(one.series) {
                judged.score = score.signum() * score.abs().max(judged.score.abs());
                judged.began = Some(since);
            }
            if machine.contains(one.series.name.as_str()) {
                (judged.filled, judged.weight, judged.of_machine) = (0.0, weight(Topic::Other), true);
            }
            Some(judged)
        })
        .collect()
}

/// Those whose score reaches `threshold`, strongest first.
pub fn moves(compared: &[MetricMove], threshold: f64) -> Vec<MetricMove> {
    let mut moved: Vec<MetricMove> =
        compared.iter().filter(|metric| metric.score.abs() >= threshold).cloned().collect();
    moved.sort_by(|left, right| {
        (right.weight * right.score.abs().min(50.0))
            .total_cmp(&(left.weight * left.score.abs().min(50.0)))
            .then_with(|| (&left.service, &left.name, left.id).cmp(&(&right.service, &right.name, right.id)))
    });
    moved
}

/// A series, read.
struct Described<'a> {
    series: &'a SeriesLevels,
    topic: Topic,
    worse: Worse,
    place: &'a str,
    source: &'a str,
    past: Option<Level>,
    is_ratio: bool,
    is_share: bool,
    /// What the whole is, of a ratio or a share: 100 of percent, else 1.
    whole: f64,
    /// Whether `past` is the baseline, not the window before harm was noticed.
    is_of_baseline: bool,
}

impl MetricMove {
    /// Whether it became better: fewer failures, more room.
    pub fn improved(&self) -> bool {
        self.worse != Worse::Either && self.worse_by < 0.0
    }
}

impl<'a> Described<'a> {
    /// Who measures the same thing in the same place: failures are no peers of successes.
    fn peers(&self) -> (&'a str, &'a str, &'a str, bool) {
        (&self.series.name, self.place, self.source, self.series.failing)
    }
}

/// The largest value of each name: an idle service's percent look like shares, those of the busiest one do not.
fn largest_of_names(levels: &MetricLevels) -> BTreeMap<&str, f64> {
    let mut largest: BTreeMap<&str, f64> = BTreeMap::new();
    for series in levels.series.iter().filter(|series| series.kind == MetricKind::Gauge) {
        let known = largest.entry(&series.name).or_default();
        *known = known.max(largest_of(series));
    }
    largest
}

/// The largest value of a series, of those that can be reckoned with.
fn largest_of(series: &SeriesLevels) -> f64 {
    let maxima = [series.before, series.now].map(|part| part[4]);
    maxima.into_iter().filter(|most| is_usable(*most)).fold(0.0, f64::max)
}

/// Reads a series; `most` is the largest value of its name.
fn describe(series: &SeriesLevels, most: f64) -> Option<Described<'_>> {
    // Histogram buckets move together with their count; the rest of a histogram says the same.
    if series.labels.contains_key("le") || series.name.ends_with("_bucket") {
        return None;
    }
    let parts = [series.before, series.now, series.early, series.late];
    if parts.iter().flatten().any(|number| !is_usable(*number)) {
        return None;
    }
    // Seconds, bytes or requests in all grow with load; the mean beside them does not.
    if series.kind != MetricKind::Gauge && series.name.ends_with("_sum") {
        return None;
    }
    let label = |name: &str| series.labels.get(name).map(String::as_str).filter(|text| !text.is_empty());
    let Meaning { topic, worse } =
        meaning(&series.name, &series.labels, series.kind, &series.unit, series.failing);
    let owner = label("service");
    // An instance is measured for itself; what is measured on a call edge speaks of the callee.
    let (source, destination) = (label("source"), label("destination"));
    let on_edge = label("instance").is_none() || owner.is_none();
    let place = if on_edge { destination.or(owner) } else { owner }.or(source)?;
    let source = source.filter(|_| on_edge || destination == owner);
    // A baseline of a few values knows less of what is usual than a longer time before harm was noticed.
    let (before, early) = (level(series.before), level(series.early));
    let past = if before.count >= ENOUGH_VALUES.min(early.count) { before } else { early };
    let past = Some(past).filter(|past| past.count >= 2.0);
    let is_of_baseline = past.is_some_and(|past| past == before);
    let words = words(&series.name);
    let says = |known: &[&str]| words.iter().any(|word| known.contains(&word.as_str())) || series.unit == "%";
    let in_percent = says(&["pct", "percent"]) || series.name.contains('%');
    let whole = if in_percent || most > MOST_OF_SHARE { 100.0 } else { 1.0 };
    // What counts is never a share, and no share passes the whole.
    let may_be_share = series.kind == MetricKind::Gauge && largest_of(series) <= 101.0;
    let is_ratio = may_be_share
        && match topic {
            Topic::Success => in_percent || most <= MOST_OF_SHARE || most >= LEAST_OF_SUCCESS,
            Topic::Errors => says(&["ratio"]) || in_percent || says(&["rate"]) && most <= 1.0,
            _ => false,
        };
    let is_share = may_be_share
        && topic.is_bounded()
        && (says(&["ratio", "utilization", "utilisation"])
            || in_percent
            || says(&["usage"]) && says(&["rate"]));
    Some(Described {
        series,
        topic,
        worse,
        place,
        source: source.unwrap_or_default(),
        past,
        is_ratio,
        is_share,
        whole,
        is_of_baseline,
    })
}

/// Metrics that are measured for machines and only reported under the names of what runs there: those whose values are
/// the same for instances of different services, before and now. What moves them is a machine or a placement, no service.
/// What stands still half the time does so alike by chance: numbers of things that are mostly none.
fn of_machines<'a>(series: &[Described<'a>]) -> BTreeSet<&'a str> {
    let mut alike: BTreeMap<(&str, [u64; 8]), BTreeMap<&str, f64>> = BTreeMap::new();
    for one in series {
        let told = one.past.filter(|past| past.count >= ENOUGH_VALUES && past.mad > 0.0);
        if let (Some(past), Some(_)) = (told, one.series.labels.get("instance")) {
            let [_, median, mad, min, max] = one.series.now;
            let values = [past.median, past.mad, past.min, past.max, median, mad, min, max].map(f64::to_bits);
            let services = alike.entry((&one.series.name, values)).or_default();
            *services.entry(one.place).or_default() += 1.0;
        }
    }
    let mut counts: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
    for ((name, _), services) in &alike {
        let all: f64 = services.values().sum();
        let (shared, total) = counts.entry(name).or_default();
        *total += all;
        *shared += if services.len() > 1 { all } else { 0.0 };
    }
    counts.into_iter().filter(|(_, (shared, total))| shared * 2.0 > *total).map(|(name, _)| name).collect()
}

/// Whether a name says that it is measured for a machine.
fn names_a_machine(name: &str) -> bool {
    words(name).first().is_some_and(|word| ["node", "host", "machine", "hypervisor"].contains(&word.as_str()))
}

/// Peers as one level: medians of theirs, the range of all.
fn pooled(peers: &[Level]) -> Option<Level> {
    let middle = |value: fn(&Level) -> f64| median(&mut peers.iter().map(value).collect::<Vec<_>>());
    Some(Level {
        count: middle(|peer| peer.count)?,
        median: middle(|peer| peer.median)?,
        mad: middle(|peer| peer.mad)?,
        min: peers.iter().map(|peer| peer.min).fold(f64::INFINITY, f64::min),
        max: peers.iter().map(|peer| peer.max).fold(f64::NEG_INFINITY, f64::max),
    })
}

/// The score of a series: `(now - past) / (1.4826 MAD + what cannot be known)`, where `now` is the 80th percentile of the
/// values since harm was noticed (the 20th of a success rate), so that harm shorter than the window counts too. Median
/// and MAD resist outliers (Rousseeuw and Croux 1993). A value that the past has reached as well counts half. Where the
/// past is another day's, the values just before the harm must agree: the smaller of the two scores counts.
fn judge(one: &Described<'_>, past: Level, requests: Option<f64>) -> MetricMove {
    let Described { series, topic, is_ratio, .. } = one;
    let now = level(series.now);
    let [late_count, low, middle, high, mean] = series.late;
    let reached = |past: Level| match topic {
        _ if late_count < 1.0 => now.median,
        // An instance that starts is slow and busy at first.
        _ if one.past.is_none() => middle,
        Topic::Success => low,
        topic if topic.is_symptom() => high,
        _ if middle >= past.median => high,
        _ => low,
    };
    // Ratios come in percent or in shares.
    let scale = if *is_ratio { one.whole } else { 1.0 };
    let counting = if counts_things(one) { COUNT_FLOOR } else { 0.0 };
    let score_of = |past: Level, with_spread_of: Level| {
        let value = reached(past);
        let spread = MAD_TO_SIGMA * with_spread_of.mad
            + if *is_ratio {
                let share = ((past.median + value) / 2.0 / scale).clamp(0.0, 1.0);
                let behind = requests.unwrap_or(ASSUMED_REQUESTS).max(1.0);
                scale * (RATIO_FLOOR + (share * (1.0 - share) / behind).sqrt())
            } else {
                counting
                    + (FLOOR_SHARE + FEW_SHARE / past.count.max(1.0)) * past.median.abs().max(value.abs())
            };
        let inside = value >= past.min && value <= past.max;
        let score = (value - past.median) / spread.max(f64::MIN_POSITIVE) * if inside { 0.5 } else { 1.0 };
        // Of n values of chance the largest lies about sqrt(2 ln n) out; one beyond all of them at least as far.
        let outside = (value - past.max).max(past.min - value);
        let beyond = outside
            > if *is_ratio {
                2.0 * RATIO_FLOOR * scale
            } else {
                (RANGE_MARGIN * (past.max - past.min).max(FLOOR_SHARE * past.median.abs())).max(counting)
            };
        let rank = if beyond { (2.0 * past.count.max(1.0).ln()).sqrt() } else { 0.0 };
        let score = score.signum() * score.abs().max(rank);
        if score.is_finite() { score.clamp(-1000.0, 1000.0) } else { 0.0 }
    };
    let mut score = score_of(past, past);
    let early = level(series.early);
    if one.is_of_baseline && early.count >= 1.0 {
        // The value of this morning that is most like the past: harm may have begun a little before it was noticed.
        let usual = past.median.clamp(early.min, early.max);
        let fresh = score_of(Level { median: usual, min: usual, max: usual, ..past }, past);
        score = if fresh.signum() == score.signum() {
            score.signum() * score.abs().min(fresh.abs())
        } else {
            0.0
        };
    }
    let rise = (reached(past) - past.median) / scale;
    let worse = |rise: f64| if one.worse == Worse::Down { -rise } else { rise };
    let worse_by = worse(rise);
    // An instance that starts needs more than one that runs.
    let filled =
        if one.is_share && one.past.is_some() { worse(reached(past) - past.median) / one.whole } else { 0.0 };
    // A symptom that eased is no harm.
    let weight = if topic.is_symptom() && worse_by < 0.0 { 0.05 } else { weight(*topic) };
    MetricMove {
        id: series.id,
        name: series.name.clone(),
        service: one.place.to_owned(),
        source: one.source.to_owned(),
        instance: series.labels.get("instance").cloned().unwrap_or_default(),
        is_new: one.past.is_none(),
        topic: *topic,
        worse: one.worse,
        of_machine: names_a_machine(&series.name),
        unit: series.unit.clone(),
        is_rate: series.kind != MetricKind::Gauge,
        score,
        reached: reached(past),
        worse_by,
        worse_since: (late_count >= 1.0).then(|| worse((mean - past.median) / scale)),
        filled: filled.clamp(0.0, 1.0),
        weight,
        began: (series.left_at > 0).then_some(UnixNanos(series.left_at)),
        before: past,
        now,
    }
}

/// Whether the values are numbers of things that wait, are held or are worked on.
fn counts_things(one: &Described<'_>) -> bool {
    let measured = words(&one.series.name).iter().any(|word| MEASURED.contains(&word.as_str()));
    one.topic == Topic::Saturation
        && !one.is_share
        && !measured
        && one.series.kind == domain::MetricKind::Gauge
        && !matches!(one.series.unit.as_str(), "s" | "ms" | "us" | "ns" | "By" | "bytes" | "%")
}

/// The score of a series that has been drifting one way since before the baseline began: everything in the window before
/// harm was noticed lies beyond everything in the baseline, and everything since then beyond that. A drift hides in the
/// spread that it gives its own baseline. The score is that of the rank test (Mann and Whitney 1947) for two samples that do
/// not overlap, `sqrt(3nm / (n + m + 1))`, with the sign of the drift.
fn drift(series: &SeriesLevels) -> Option<f64> {
    let (before, early) = (level(series.before), level(series.early));
    let [late_count, low, _, high, _] = series.late;
    let rises = before.max < early.min && early.max < low;
    let falls = before.min > early.max && early.min > high;
    let (n, m) = (before.count, early.count);
    if late_count < 2.0 || n < 1.0 || m < 1.0 || !(rises || falls) {
        return None;
    }
    let score = (3.0 * n * m / (n + m + 1.0)).sqrt();
    Some(if rises { score } else { -score })
}

fn level([count, median, mad, min, max]: [f64; 5]) -> Level {
    Level { count, median, mad, min, max }
}

/// Symptoms count most, resources next; traffic alone hurts nobody.
fn weight(topic: Topic) -> f64 {
    match topic {
        Topic::Errors | Topic::Success | Topic::Latency => 1.0,
        Topic::Saturation | Topic::Cpu => 0.8,
        Topic::Memory | Topic::Disk | Topic::Network => 0.5,
        Topic::Traffic | Topic::Other => 0.2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Window = Window { start: UnixNanos(0), end: UnixNanos(600_000_000_000) };

    fn series(name: &str, service: &str, before: [f64; 5], early: [f64; 5], late: [f64; 5]) -> SeriesLevels {
        SeriesLevels {
            id: SeriesId(1),
            name: name.into(),
            labels: [("service".into(), service.into()), ("instance".into(), format!("{service}-1"))].into(),
            kind: MetricKind::Gauge,
            unit: String::new(),
            before,
            now: late,
            early,
            late,
            failing: false,
            left_at: 0,
        }
    }

    #[test]
    fn a_drift_that_hides_in_its_own_spread_is_found_and_dated_before_the_baseline() {
        let since = UnixNanos::from_seconds(500);
        let check = |early: [f64; 5], expected: bool| {
            let before = [30.0, 560.0, 45.0, 480.0, 650.0];
            let late = [6.0, 800.0, 810.0, 815.0, 810.0];
            let levels = MetricLevels {
                series: vec![series("query_latency_ms", "search", before, early, late)],
                ..MetricLevels::default()
            };
            let metric = compared(&levels, since, &WINDOW).remove(0);
            assert_eq!((metric.score >= 4.0, metric.began), (expected, expected.then_some(since)));
        };
        check([30.0, 720.0, 36.0, 651.0, 790.0], true);
        check([30.0, 720.0, 36.0, 600.0, 790.0], false);
    }

    #[test]
    fn what_instances_of_different_services_share_to_the_last_digit_is_their_machines() {
        let full = |service: &str, median: f64| {
            let past = [20.0, median, 0.2, 3.0, 6.0];
            series("memory_usage_pct", service, past, past, [6.0, 86.0, 86.0, 86.0, 86.0])
        };
        let check = |other: f64, expected: bool| {
            let levels = MetricLevels {
                series: vec![full("cart", 5.0), full("payment", other)],
                ..MetricLevels::default()
            };
            let filled =
                compared(&levels, UnixNanos::default(), &WINDOW).iter().all(|metric| metric.filled > 0.5);
            assert_eq!(filled, expected);
        };
        check(5.0, false);
        check(5.1, true);
    }

    #[test]
    fn gauges_that_are_mostly_none_are_no_metrics_of_machines() {
        let queued = |service: &str, past: [f64; 5], now: [f64; 5]| {
            let mut one =
                series("queue_depth", service, past, past, [now[0], now[1], now[1], now[4], now[1]]);
            one.now = now;
            one
        };
        let check = |past: [f64; 5], idle: [f64; 5]| {
            let levels = MetricLevels {
                series: vec![
                    queued("cart", past, [6.0, 40.0, 2.0, 35.0, 45.0]),
                    queued("mail", past, idle),
                    queued("stock", past, idle),
                ],
                ..MetricLevels::default()
            };
            let compared = compared(&levels, UnixNanos::default(), &WINDOW);
            assert!(compared.iter().all(|metric| !metric.of_machine), "{past:?}");
            assert!(compared[0].score > 4.0 && compared[0].weight == weight(Topic::Saturation));
        };
        check([20.0, 0.0, 0.0, 0.0, 1.0], [6.0, 0.0, 0.0, 0.0, 0.0]);
        // Small numbers that were alike, and that part now.
        let past = [20.0, 2.0, 1.0, 0.0, 4.0];
        let levels = MetricLevels {
            series: vec![
                queued("cart", past, [6.0, 40.0, 2.0, 35.0, 45.0]),
                queued("mail", past, [6.0, 2.0, 1.0, 1.0, 3.0]),
            ],
            ..MetricLevels::default()
        };
        let compared = compared(&levels, UnixNanos::default(), &WINDOW);
        assert!(compared.iter().all(|metric| !metric.of_machine));
    }

    #[test]
    fn percent_of_what_is_idle_are_no_shares() {
        let check = |name: &str, unit: &str, busiest: f64, expected: f64| {
            let past = [20.0, 0.3, 0.01, 0.28, 0.32];
            let other = [20.0, busiest, 0.01, busiest, busiest];
            let mut levels = MetricLevels {
                series: vec![
                    series(name, "cart", past, past, [6.0, 1.2, 1.2, 1.2, 1.2]),
                    series(name, "payment", other, other, [6.0, busiest, busiest, busiest, busiest]),
                ],
                ..MetricLevels::default()
            };
            for one in &mut levels.series {
                one.unit = unit.into();
            }
            let filled = compared(&levels, UnixNanos::default(), &WINDOW)[0].filled;
            assert!((filled - expected).abs() < 1e-9, "{name} {unit} {filled}");
        };
        check("cpu_usage_pct", "", 0.4, 0.009);
        check("CpuUsageRate(%)", "", 0.4, 0.009);
        check("cpu_utilization", "%", 0.4, 0.009);
        check("cpu_utilization", "", 60.0, 0.009);
        check("cpu_utilization", "", 0.4, 0.9);
        check("cpu_utilization", "1", 0.4, 0.9);
    }

    #[test]
    fn successes_that_count_things_are_no_ratios() {
        let check = |name: &str, before: f64, now: f64, most: f64, expected: f64| {
            let past = [20.0, before, 0.0, before, before];
            let other = [20.0, most, 0.0, most, most];
            let levels = MetricLevels {
                series: vec![
                    series(name, "cart", past, past, [6.0, now, now, now, now]),
                    series(name, "payment", other, other, [6.0, most, most, most, most]),
                ],
                ..MetricLevels::default()
            };
            let metric = compared(&levels, UnixNanos::default(), &WINDOW).remove(0);
            assert!(metric.score < -4.0 && (metric.worse_by - expected).abs() < 1e-9, "{name} {metric:?}");
        };
        check("success_rate", 1.0, 0.4, 1.0, 0.6);
        check("success_rate", 99.0, 40.0, 100.0, 0.59);
        check("replicas_available", 1.0, 0.0, 3.0, 1.0);
    }

    #[test]
    fn what_eased_and_what_machines_share_is_told_apart() {
        let check = |name: &str, late: f64, improved: bool, of_machine: bool| {
            let past = [20.0, 50.0, 0.5, 49.0, 51.0];
            let levels = MetricLevels {
                series: vec![series(name, "cart", past, past, [6.0, late, late, late, late])],
                ..MetricLevels::default()
            };
            let metric = compared(&levels, UnixNanos::default(), &WINDOW).remove(0);
            assert_eq!((metric.improved(), metric.of_machine), (improved, of_machine), "{name} {late}");
        };
        check("queue_depth", 5.0, true, false);
        check("queue_depth", 90.0, false, false);
        check("memory_free_bytes", 5.0, false, false);
        check("memory_free_bytes", 90.0, true, false);
        check("NodeNetworkReceiveBytes", 5.0, false, true);
        check("node_cpu_utilization_ratio", 90.0, false, true);
    }

    #[test]
    fn a_usage_rate_is_a_share_with_or_without_its_unit() {
        let check = |name: &str, expected: bool| {
            let past = [20.0, 20.0, 1.0, 18.0, 22.0];
            let levels = MetricLevels {
                series: vec![series(name, "cart", past, past, [6.0, 90.0, 90.0, 90.0, 90.0])],
                ..MetricLevels::default()
            };
            let filled = compared(&levels, UnixNanos::default(), &WINDOW)[0].filled;
            assert_eq!(filled > 0.5, expected, "{name} {filled}");
        };
        check("CpuUsageRate(%)", true);
        check("CpuUsageRate", true);
        check("cpu.utilization", true);
        check("disk_read_rate", false);
        check("CpuUsage", false);
    }

    #[test]
    fn counters_are_never_shares_and_failures_are_compared_with_none() {
        let past = [20.0, 0.9, 0.01, 0.8, 0.95];
        let mut hits = series("keyspace_hits_total", "cache", past, past, [6.0, 0.5, 0.5, 0.5, 0.5]);
        hits.kind = MetricKind::Counter;
        let levels = MetricLevels { series: vec![hits], ..MetricLevels::default() };
        let metric = compared(&levels, UnixNanos::default(), &WINDOW).remove(0);
        assert_eq!((metric.topic, metric.weight), (Topic::Traffic, 0.2));

        // Failures that begin with the harm have no past; successes are none for them, but their share of the whole has one.
        let none = [0.0; 5];
        let zero = [20.0, 0.0, 0.0, 0.0, 0.0];
        let mut failed = series("requests_total", "cart", none, none, [6.0, 3.0, 3.0, 3.0, 3.0]);
        (failed.kind, failed.failing) = (MetricKind::Counter, true);
        let mut fine = series("requests_total", "cart", past, past, [6.0, 0.9, 0.9, 0.9, 0.9]);
        fine.kind = MetricKind::Counter;
        let share = series("requests_total_error_ratio", "cart", zero, zero, [6.0, 0.4, 0.4, 0.4, 0.4]);
        let levels = MetricLevels { series: vec![failed.clone(), fine.clone()], ..MetricLevels::default() };
        let topics = |levels: &MetricLevels| -> Vec<Topic> {
            compared(levels, UnixNanos::default(), &WINDOW).iter().map(|metric| metric.topic).collect()
        };
        assert_eq!(topics(&levels), [Topic::Traffic]);
        let levels = MetricLevels { series: vec![failed, fine, share], ..MetricLevels::default() };
        assert_eq!(topics(&levels), [Topic::Traffic, Topic::Errors]);
        let moved = compared(&levels, UnixNanos::default(), &WINDOW);
        assert!(moved[1].score > 4.0 && moved[1].worse_by == 0.4, "{:?}", moved[1]);
    }
}
