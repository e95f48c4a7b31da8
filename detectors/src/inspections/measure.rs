//! What an inspection computes, and of which series.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::{Attributes, MetricKind, SeriesId, UnixNanos, Window};

use super::growth;
use super::names::{joined, plain, scale};
use crate::statistics::median;

/// Levels and rates are those of the last ten minutes.
pub const PRESENT: Duration = Duration::from_secs(600);
/// Values of a gauge that its level needs.
const FEWEST: usize = 3;

/// A series as inspections read it.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// Identity.
    pub id: SeriesId,
    /// Metric name.
    pub name: String,
    /// Labels.
    pub labels: Attributes,
    /// How the raw values were to be read.
    pub kind: MetricKind,
    /// Unit as sent.
    pub unit: String,
    /// Values in order of time: levels as they are, counters and deltas as rates per second.
    pub points: Vec<(UnixNanos, f64)>,
}

/// A metric by its plain name, and what its labels must say.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// See [`plain`].
    pub name: &'static str,
    /// A label (its words joined by `_`) and the values it may have, in lower case.
    pub label: Option<(&'static str, &'static [&'static str])>,
}

/// Any series of that name.
pub const fn all(name: &'static str) -> Source {
    Source { name, label: None }
}

/// Those with one of the values in a label.
pub const fn only(name: &'static str, label: &'static str, values: &'static [&'static str]) -> Source {
    Source { name, label: Some((label, values)) }
}

/// What is computed per subject. Of several sources the first that the subject has counts, but for [`Measure::Least`].
#[derive(Clone, Copy, Debug)]
pub enum Measure {
    /// The largest level of the subject's series: the median of a gauge, the mean rate of a counter.
    Level(&'static [Source]),
    /// The smallest level of the subject's series, of all sources together: for what is as well as the worst of it. A limit
    /// below which a level is bad is one for this, and not for [`Self::Level`], which one that is well would satisfy.
    Least(&'static [Source]),
    /// One less the mean level: busy where idle is measured.
    Rest(&'static [Source]),
    /// The sum of one level over the sum of another.
    Ratio(&'static [(Source, Source)]),
    /// One less that: used where free is measured.
    RestRatio(&'static [(Source, Source)]),
    /// By how much counters grew over the whole window, together.
    Increase(&'static [Source]),
    /// The growth of one counter per unit of another: the mean of what a histogram's `_sum` and `_count` measured.
    Mean(&'static [(Source, Source)]),
    /// Growth per hour as a share of the level, by [`growth::hourly`], over the whole window.
    Growth(&'static [Source]),
    /// Seconds from now to the instant that a gauge holds as Unix time; the earliest counts.
    Until(&'static [Source]),
}

impl Measure {
    /// The plain names of all metrics read.
    pub fn names(&self) -> Vec<&'static str> {
        match self {
            Self::Level(sources)
            | Self::Least(sources)
            | Self::Rest(sources)
            | Self::Increase(sources)
            | Self::Growth(sources)
            | Self::Until(sources) => sources.iter().map(|source| source.name).collect(),
            Self::Ratio(pairs) | Self::RestRatio(pairs) | Self::Mean(pairs) => {
                pairs.iter().flat_map(|(top, bottom)| [top.name, bottom.name]).collect()
            }
        }
    }
}

/// What is inspected: service, instance, and the values of the labels that an inspection tells apart.
pub type Subject = (String, String, Vec<String>);

/// A subject's value, and the series it comes from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// In base units.
    pub value: f64,
    /// Series read.
    pub series: Vec<SeriesId>,
}

/// Series by plain name, so that each inspection finds its own at once.
pub struct Index<'a>(BTreeMap<String, Vec<&'a Observed>>);

impl<'a> Index<'a> {
    /// Of all series.
    pub fn new(series: &'a [Observed]) -> Self {
        let mut index: BTreeMap<String, Vec<&Observed>> = BTreeMap::new();
        for series in series {
            index.entry(plain(&series.name)).or_default().push(series);
        }
        Self(index)
    }

    /// The series of a source, by subject.
    fn of(&self, source: &Source, by: &[&str]) -> BTreeMap<Subject, Vec<&'a Observed>> {
        let mut groups: BTreeMap<Subject, Vec<&Observed>> = BTreeMap::new();
        for series in self.0.get(source.name).into_iter().flatten() {
            let fits = source.label.is_none_or(|(label, values)| {
                label_of(series, label).is_some_and(|value| values.contains(&value.to_lowercase().as_str()))
            });
            if fits {
                groups.entry(subject(series, by)).or_default().push(series);
            }
        }
        groups
    }
}

fn label_of<'a>(series: &'a Observed, name: &str) -> Option<&'a str> {
    let exact = series.labels.get(name);
    let found =
        exact.or_else(|| series.labels.iter().find(|(key, _)| joined(key) == name).map(|(_, value)| value));
    found.map(String::as_str)
}

fn subject(series: &Observed, by: &[&str]) -> Subject {
    let label = |name: &str| label_of(series, name).unwrap_or_default().to_owned();
    (label("service"), label("instance"), by.iter().map(|name| label(name)).collect())
}

/// Measures every subject that has what it takes.
pub fn measure(measure: &Measure, by: &[&str], index: &Index, window: Window) -> BTreeMap<Subject, Reading> {
    let present = Window::new(window.end.minus(PRESENT).max(window.start), window.end);
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let sum = |values: &[f64]| values.iter().sum::<f64>();
    let level = |series: &Observed| level(series, present);
    let increase = |series: &Observed| increase(series, window);
    match measure {
        Measure::Level(sources) => {
            each(sources, by, index, level, |values| values.iter().copied().fold(f64::MIN, f64::max))
        }
        Measure::Least(sources) => least(sources, by, index, level),
        Measure::Rest(sources) => each(sources, by, index, level, |values| 1.0 - mean(values)),
        Measure::Increase(sources) => each(sources, by, index, increase, sum),
        Measure::Growth(sources) => each(
            sources,
            by,
            index,
            |series| growth::hourly(&within(series, window)),
            |values| values.iter().copied().fold(f64::MIN, f64::max),
        ),
        Measure::Until(sources) => {
            let until = |series: &Observed| {
                let last = within(series, window).last().map(|(_, value)| *value);
                last.filter(|seconds| *seconds > 0.0).map(|seconds| seconds - window.end.seconds() as f64)
            };
            each(sources, by, index, until, |values| values.iter().copied().fold(f64::MAX, f64::min))
        }
        Measure::Ratio(pairs) => ratios(pairs, by, index, level),
        Measure::RestRatio(pairs) => {
            let mut readings = ratios(pairs, by, index, level);
            readings.values_mut().for_each(|reading| reading.value = 1.0 - reading.value);
            readings
        }
        Measure::Mean(pairs) => ratios(pairs, by, index, increase),
    }
}

/// One value per subject from the values of its series.
fn each(
    sources: &[Source],
    by: &[&str],
    index: &Index,
    value: impl Fn(&Observed) -> Option<f64>,
    join: impl Fn(&[f64]) -> f64,
) -> BTreeMap<Subject, Reading> {
    let mut readings = BTreeMap::new();
    for source in sources {
        for (subject, series) in index.of(source, by) {
            if let Some((values, ids)) = gathered(&series, &value) {
                readings.entry(subject).or_insert_with(|| Reading { value: join(&values), series: ids });
            }
        }
    }
    readings
}

/// The smallest value per subject of the series of all sources.
fn least(
    sources: &[Source],
    by: &[&str],
    index: &Index,
    value: impl Fn(&Observed) -> Option<f64>,
) -> BTreeMap<Subject, Reading> {
    let mut readings: BTreeMap<Subject, Reading> = BTreeMap::new();
    for source in sources {
        for (subject, series) in index.of(source, by) {
            let Some((values, ids)) = gathered(&series, &value) else { continue };
            let reading = readings.entry(subject).or_insert(Reading { value: f64::MAX, series: Vec::new() });
            reading.value = values.into_iter().fold(reading.value, f64::min);
            reading.series.extend(ids);
        }
    }
    readings
}

/// One sum over another; a lower part that is nothing makes no ratio.
fn ratios(
    pairs: &[(Source, Source)],
    by: &[&str],
    index: &Index,
    value: impl Fn(&Observed) -> Option<f64>,
) -> BTreeMap<Subject, Reading> {
    let mut readings = BTreeMap::new();
    for (top, bottom) in pairs {
        let bottoms = index.of(bottom, by);
        for (subject, series) in index.of(top, by) {
            let Some((over, mut ids)) = gathered(&series, &value) else { continue };
            let Some((under, more)) = bottoms.get(&subject).and_then(|series| gathered(series, &value))
            else {
                continue;
            };
            let ratio = over.iter().sum::<f64>() / under.iter().sum::<f64>();
            ids.extend(more);
            if ratio.is_finite() && ratio >= 0.0 {
                readings.entry(subject).or_insert(Reading { value: ratio, series: ids });
            }
        }
    }
    readings
}

/// The values of the series that have one, in base units, with their ids.
fn gathered(
    series: &[&Observed],
    value: impl Fn(&Observed) -> Option<f64>,
) -> Option<(Vec<f64>, Vec<SeriesId>)> {
    let scaled = |series: &&Observed| {
        let value = value(series)? * scale(&series.name, &series.unit);
        value.is_finite().then_some((value, series.id))
    };
    let found: (Vec<f64>, Vec<SeriesId>) = series.iter().filter_map(scaled).unzip();
    (!found.0.is_empty()).then_some(found)
}

fn within(series: &Observed, window: Window) -> Vec<(UnixNanos, f64)> {
    series.points.iter().copied().filter(|(at, value)| window.contains(*at) && value.is_finite()).collect()
}

/// The median of a gauge, so that a spike is no level; the mean of a rate, since counters come in bursts.
fn level(series: &Observed, window: Window) -> Option<f64> {
    let mut values: Vec<f64> = within(series, window).iter().map(|(_, value)| *value).collect();
    match series.kind {
        MetricKind::Gauge => (values.len() >= FEWEST).then(|| median(&mut values)).flatten(),
        MetricKind::Counter | MetricKind::Delta => {
            (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
        }
    }
}

/// Rates times the time each holds for; of a gauge that counts (as some exporters send them), the rises.
fn increase(series: &Observed, window: Window) -> Option<f64> {
    let points = within(series, window);
    let steps = || points.windows(2).map(|pair| (pair[1].0.seconds_since(pair[0].0), pair[0].1, pair[1].1));
    if series.kind == MetricKind::Gauge {
        return (points.len() >= 2)
            .then(|| steps().map(|(_, before, after)| (after - before).max(0.0)).sum());
    }
    // The first rate was measured against a value outside; it held for as long as the next one does.
    let first = points.first()?.1 * steps().next().map_or(0.0, |(seconds, ..)| seconds);
    Some(first + steps().map(|(seconds, _, rate)| seconds * rate).sum::<f64>())
}
