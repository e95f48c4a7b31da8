//! Values of all series, for detectors that look at each.

use clickhouse::Row;
use domain::{Attributes, MetricKind, SeriesId, UnixNanos, Window};
use serde::Deserialize;

use super::metrics::values;
use super::sql;
use crate::{Error, Store};

/// Series returned at most, in order of name and id.
pub const MAX_SERIES: usize = 20_000;
/// Values returned per series at most.
const MAX_VALUES: i64 = 240;
/// The shortest stretch that is one value.
const FINEST_MILLIS: i64 = 15_000;

/// A series with its values.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesValues {
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
    /// Means over even stretches, in order of time, each at its last value. Counters and deltas are rates per second.
    pub points: Vec<(UnixNanos, f64)>,
}

#[derive(Row, Deserialize)]
struct ValuesRow {
    id: u64,
    name: String,
    labels: Vec<(String, String)>,
    kind: String,
    unit: String,
    points: Vec<(i64, f64)>,
}

impl Store {
    /// Every series that has values in the window, but for the buckets of histograms. Means keep what rates add up to, which
    /// thinning would not.
    pub async fn metric_values(&self, window: Window) -> Result<Vec<SeriesValues>, Error> {
        let rows = self.client().query(&query(&window)).fetch_all::<ValuesRow>().await?;
        let series = rows.into_iter().map(|row| SeriesValues {
            id: SeriesId(row.id),
            name: row.name,
            labels: row.labels.into_iter().collect(),
            kind: MetricKind::parse(&row.kind),
            unit: row.unit,
            points: row
                .points
                .into_iter()
                .map(|(millis, value)| (UnixNanos::from_millis(millis), value))
                .collect(),
        });
        Ok(series.collect())
    }
}

fn query(window: &Window) -> String {
    let which = format!(
        "SeriesId IN (SELECT Id FROM metric_series WHERE NOT endsWith(Name, '_bucket')) AND {}",
        sql::within("Timestamp", window)
    );
    let length = window.end.millis().saturating_sub(window.start.millis());
    let stretch = length.div_euclid(MAX_VALUES).saturating_add(1).max(FINEST_MILLIS);
    // Arrays are cut into stretches where they are: joined rows would carry name and labels with every value.
    format!(
        "SELECT id, name, labels, kind, unit, arrayMap(stretch -> (stretch[-1].1, arrayAvg(stretch.2)), stretches) AS points FROM \
         (SELECT SeriesId AS id, series_name AS name, series_labels AS labels, series_kind AS kind, series_unit AS unit, \
            arrayMap(p -> intDiv(p.1 - {}, {stretch}), points) AS slots, \
            arraySplit((p, is_new) -> is_new, points, arrayMap((slot, before) -> slot != before, slots, \
              arrayConcat([slots[1]], arrayPopBack(slots)))) AS stretches \
          FROM ({}) WHERE notEmpty(points)) ORDER BY name, id LIMIT {MAX_SERIES}",
        window.start.millis(),
        values(&which),
    )
}
