//! Metric series: order statistics of baseline and window, and points to draw.

use std::collections::BTreeMap;

use clickhouse::Row;
use domain::{Attributes, MetricKind, SeriesId, UnixNanos, Window};
use serde::{Deserialize, Serialize};

use super::derived::{self, Derivable};
use super::sql;
use crate::{Error, Store};

/// Series compared at most: those that deviate most.
const MAX_SERIES: usize = 20_000;
/// What a series without a past counts, in deviations, where not all can be returned.
const UNKNOWN: f64 = 3.0;
/// Points returned per series.
const MAX_POINTS: usize = 240;
/// It has left for good when at least this share of the values from there on lies out.
const STAYS: f64 = 0.3;
/// A value leaves the usual range when it passes it by this share of the usual level.
const MARGIN: f64 = 0.05;

/// One series, before and now. Counters and deltas are rates per second.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SeriesLevels {
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
    /// Baseline: values, median, median absolute deviation, smallest, largest.
    pub before: [f64; 5],
    /// Window: the same.
    pub now: [f64; 5],
    /// The window before harm was noticed: the same.
    pub early: [f64; 5],
    /// The window from then on: values, their 20th, 50th and 80th percentile, and their mean.
    pub late: [f64; 5],
    /// Whether its labels say that what it counts failed.
    #[serde(default)]
    pub failing: bool,
    /// When the window first leaves the range of the baseline (or of `early` where there is none) on the side where
    /// `late` lies, Unix nanoseconds; 0 when it never does.
    pub left_at: i64,
}

/// The compared series.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct MetricLevels {
    /// Series sent, and those derived from them (means of histograms, failed shares), in order of name and id.
    pub series: Vec<SeriesLevels>,
    /// Whether there were more series than are returned.
    #[serde(default)]
    pub cut: bool,
    /// The SQL that gave them.
    pub query: String,
}

#[derive(Row, Deserialize)]
struct LevelsRow {
    id: u64,
    name: String,
    labels: Vec<(String, String)>,
    kind: String,
    unit: String,
    before: Vec<f64>,
    now: Vec<f64>,
    early: Vec<f64>,
    late: Vec<f64>,
    failing: bool,
    left_at: i64,
}

#[derive(Row, Deserialize)]
struct PointsRow {
    id: u64,
    points: Vec<(i64, f64)>,
}

impl Store {
    /// Compares every series that has values in the window. `noticed` cuts the window in two; without it all of it is late.
    pub async fn metric_levels(
        &self,
        baseline: Window,
        window: Window,
        noticed: Option<UnixNanos>,
    ) -> Result<MetricLevels, Error> {
        let cut = noticed.map_or(window.start, |at| at.max(window.start).min(window.end));
        let query = levels_query(&baseline, &window, cut, self.derivable().await?);
        let rows = self.client().query(&query).fetch_all::<LevelsRow>().await?;
        let cut = rows.len() > MAX_SERIES;
        let mut series: Vec<SeriesLevels> = rows.into_iter().filter_map(levels).take(MAX_SERIES).collect();
        series.sort_by(|left, right| (&left.name, left.id).cmp(&(&right.name, right.id)));
        Ok(MetricLevels { series, cut, query })
    }

    /// Points of some series over `span`, thinned to a bounded number. Counters and deltas are rates per second.
    pub async fn metric_points(
        &self,
        ids: &[SeriesId],
        span: Window,
    ) -> Result<BTreeMap<SeriesId, Vec<(UnixNanos, f64)>>, Error> {
        if ids.is_empty() {
            return Ok(BTreeMap::new());
        }
        let query = points_query(ids, &span, self.derivable().await?);
        let rows = self.client().query(&query).fetch_all::<PointsRow>().await?;
        let points = |row: &PointsRow| {
            row.points.iter().map(|(millis, value)| (UnixNanos::from_millis(*millis), *value)).collect()
        };
        Ok(rows.iter().map(|row| (SeriesId(row.id), points(row))).collect())
    }

    async fn derivable(&self) -> Result<Derivable, Error> {
        Ok(self.client().query(&derived::derivable()).fetch_one().await?)
    }
}

fn levels(row: LevelsRow) -> Option<SeriesLevels> {
    Some(SeriesLevels {
        id: SeriesId(row.id),
        name: row.name,
        labels: row.labels.into_iter().collect(),
        kind: MetricKind::parse(&row.kind),
        unit: row.unit,
        before: five(&row.before)?,
        now: five(&row.now)?,
        early: five(&row.early)?,
        late: five(&row.late)?,
        failing: row.failing,
        left_at: row.left_at * 1_000_000,
    })
}

/// Five finite numbers: sums and differences of huge values pass what a number can hold.
fn five(values: &[f64]) -> Option<[f64; 5]> {
    let values: [f64; 5] = values.try_into().ok()?;
    values.iter().all(|value| value.is_finite()).then_some(values)
}

/// What is sent as a level but is named and behaves as a running total: it grows, and where it falls, it falls to less than
/// half, as after a restart. Programs that write down no kinds leave it to the reader.
const GROWS: &str = "match(series.Name, '_(total|sum|count|bucket)$') AND length(raw) >= 5 AND \
    arrayExists((a, b) -> a > b, arrayPopFront(raw.2), arrayPopBack(raw.2)) AND \
    NOT arrayExists((a, b) -> a < b AND a > b / 2, arrayPopFront(raw.2), arrayPopBack(raw.2)) AND \
    10 * arrayCount((a, b) -> a < b, arrayPopFront(raw.2), arrayPopBack(raw.2)) <= length(raw)";

/// Values per series in order of time: levels as they are, counters and deltas as rates. A counter that falls was reset,
/// so its new value is what it grew by. Names and labels are joined to whole series, not to each sample.
pub(super) fn values(which: &str) -> String {
    format!(
        "SELECT SeriesId, if(series.Kind = 'gauge' AND {GROWS}, 'counter', toString(series.Kind)) AS series_kind, series.Name AS series_name, series.Labels AS series_labels, series.Unit AS series_unit, \
           raw.1 AS times, raw.2 AS levels, \
           arrayMap((a, b) -> greatest(a - b, 1) / 1000, arrayPopFront(times), arrayPopBack(times)) AS gaps, \
           arrayFilter(p -> isFinite(p.2), multiIf(series_kind = 'gauge', arrayZip(times, levels), \
             series_kind = 'counter', arrayZip(arrayPopFront(times), \
               arrayMap((a, b, gap) -> if(a < b, a, a - b) / gap, arrayPopFront(levels), arrayPopBack(levels), gaps)), \
             arrayZip(arrayPopFront(times), arrayMap((a, gap) -> a / gap, arrayPopFront(levels), gaps)))) AS points \
         FROM (SELECT SeriesId, arraySort(groupArray((toInt64(toUnixTimestamp64Milli(Timestamp)), Value))) AS raw \
           FROM metric_samples WHERE {which} AND isFinite(Value) GROUP BY SeriesId) AS samples \
         INNER JOIN (SELECT Id, any(Name) AS Name, any(Labels) AS Labels, any(Kind) AS Kind, any(Unit) AS Unit \
           FROM metric_series GROUP BY Id) AS series ON SeriesId = series.Id"
    )
}

fn levels_query(baseline: &Window, window: &Window, cut: UnixNanos, derivable: Derivable) -> String {
    let (before, now) = (sql::within("Timestamp", baseline), sql::within("Timestamp", window));
    let inside =
        |window: &Window| format!("p -> p.1 >= {} AND p.1 < {}", window.start.millis(), window.end.millis());
    let part = |window: &Window| format!("arrayFilter({}, points).2", inside(window));
    // Order statistics of one part; the median is computed once, beside it.
    let five = |values: &str, median: &str| {
        format!(
            "[toFloat64(length({values})), if(isNaN({median}), 0, {median}), \
              ifNotFinite(arrayReduce('median', arrayMap(v -> abs(v - {median}), {values})), 0), \
              arrayMin({values}), arrayMax({values})]"
        )
    };
    let quantile = |level: f64| format!("ifNotFinite(arrayReduce('quantile({level})', late_values), 0)");
    format!(
        "WITH if(length(old_values) >= 2, before, early) AS usual, sign(late_median - usual[2]) AS side, \
           arrayFilter({}, points) AS inside, \
           arrayMap(p -> usual[1] >= 2 AND side != 0 AND side * p.2 > (if(side > 0, usual[5], -usual[4]) + {MARGIN} * abs(usual[2])), inside) AS outs, \
           arrayMap((out, place) -> out / place, arrayReverse(arrayCumSum(arrayReverse(outs))), \
             arrayReverse(arrayEnumerate(outs))) AS rests \
         SELECT SeriesId AS id, series_name AS name, series_labels AS labels, series_kind AS kind, series_unit AS unit, \
           {} AS before, {} AS now, {} AS early, \
           [toFloat64(length(late_values)), {}, late_median, {}, ifNotFinite(arrayAvg(late_values), 0)] AS late, \
           failing, toInt64(arrayFirst((p, is_out, rest) -> is_out AND rest >= {STAYS}, inside, outs, rests).1) AS left_at FROM \
         (SELECT *, {} AS old_values, {} AS new_values, {} AS early_values, {} AS late_values, \
            arrayReduce('median', old_values) AS old_median, arrayReduce('median', new_values) AS new_median, \
            arrayReduce('median', early_values) AS early_median, ifNotFinite(arrayReduce('median', late_values), 0) AS late_median \
          FROM ({})) \
         WHERE length(new_values) >= 1 \
         ORDER BY if(usual[1] < 2, {UNKNOWN}, ifNotFinite(abs(late_median - usual[2]) / \
           (usual[3] + {MARGIN} * greatest(abs(usual[2]), abs(late_median))), 0)) DESC, name, id LIMIT {most}",
        inside(window),
        five("old_values", "old_median"),
        five("new_values", "new_median"),
        five("early_values", "early_median"),
        quantile(0.2),
        quantile(0.8),
        part(baseline),
        part(window),
        part(&Window::new(window.start, cut)),
        part(&Window::new(cut, window.end)),
        derived::series(&format!("(({before}) OR ({now}))"), None, derivable),
        most = MAX_SERIES + 1,
    )
}

fn points_query(ids: &[SeriesId], span: &Window, derivable: Derivable) -> String {
    let ids: Vec<String> = ids.iter().map(|id| id.0.to_string()).collect();
    format!(
        "SELECT SeriesId AS id, arrayFilter((p, place) -> place % greatest(intDiv(length(points), {MAX_POINTS}), 1) = 0, points, \
           arrayEnumerate(points)) AS points FROM ({})",
        derived::series(&sql::within("Timestamp", span), Some(&ids.join(", ")), derivable)
    )
}
