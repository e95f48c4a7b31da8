//! Values of all series of some metrics, for detectors that look at each.

use clickhouse::Row;
use domain::{Attributes, MetricKind, SeriesId, UnixNanos, Window};
use serde::Deserialize;

use super::metrics::values;
use super::sql;
use crate::{Error, Store};

/// Names returned at most.
const MAX_NAMES: usize = 10_000;
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
    /// The names of all metrics that are known.
    pub async fn metric_names(&self) -> Result<Vec<String>, Error> {
        let query = format!(
            "SELECT DISTINCT toString(Name) AS name FROM metric_series ORDER BY name LIMIT {MAX_NAMES}"
        );
        Ok(self.client().query(&query).fetch_all::<String>().await?)
    }

    /// Every series of these metrics that has values in the window. Means keep what rates add up to, which thinning would
    /// not.
    pub async fn metric_values(&self, names: &[String], window: Window) -> Result<Vec<SeriesValues>, Error> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let rows = self.client().query(&query(names, &window)).fetch_all::<ValuesRow>().await?;
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

fn query(names: &[String], window: &Window) -> String {
    let which = format!(
        "SeriesId IN (SELECT Id FROM metric_series WHERE Name IN {}) AND {}",
        sql::quote_list(names.iter().map(String::as_str)),
        sql::within("Timestamp", window)
    );
    let length = window.end.millis().saturating_sub(window.start.millis());
    let stretch = length.div_euclid(MAX_VALUES).saturating_add(1).max(FINEST_MILLIS);
    format!(
        "SELECT id, any(slot_name) AS name, any(slot_labels) AS labels, any(slot_kind) AS kind, any(slot_unit) AS unit, \
           arraySort(groupArray((last, mean))) AS points FROM \
         (SELECT SeriesId AS id, any(series_name) AS slot_name, any(series_labels) AS slot_labels, any(series_kind) AS slot_kind, \
            any(series_unit) AS slot_unit, max(point.1) AS last, avg(point.2) AS mean \
          FROM ({}) ARRAY JOIN points AS point GROUP BY id, intDiv(point.1 - {}, {stretch})) \
         GROUP BY id ORDER BY name, id LIMIT {MAX_SERIES}",
        values(&which),
        window.start.millis(),
    )
}
