//! Series that nobody sends but that say what those sent do not: the mean of a histogram (`_sum` by `_count`), and the
//! share of a counter that its labels call failed.
//!
//! A sum of seconds, a count of requests and the requests of one status all grow with load. Only divided do they tell
//! slowness and failure from more work.

use clickhouse::Row;
use serde::Deserialize;

/// The labels that place a series; all others tell series of one place apart.
const PLACE: &str =
    "mapFilter((k, v) -> k IN ('service', 'instance', 'source', 'destination'), series_labels)";

/// Labels whose value says how a request ended, spelled with underscores.
const ENDINGS: &str = "'status', 'status_code', 'code', 'http_status', 'http_status_code', 'http_response_status_code', \
    'http_response_code', 'response_code', 'response_status', 'envoy_response_code', 'outcome', 'result'";
/// Labels of the class of a status: the first digit alone may stand for it.
const CLASSES: &str = "'status_class', 'code_class', 'response_code_class', 'envoy_response_code_class'";
/// Labels that are only set on failures, or say that there was none.
const NAMED_FAILURES: &str = "'error_type', 'exception', 'error'";
/// Values of those that say so.
const NO_FAILURE: &str = "'', 'none', 'ok', 'null', 'false', '0', 'no'";
/// Server errors of HTTP: `500`, `5xx`.
const HTTP: &str = "^5[0-9x.][0-9x.]$";
/// Codes of gRPC that speak of the server: unknown, deadline exceeded, resource exhausted, internal, unavailable, data loss.
const GRPC: &str = "^(2|4|8|13|14|15|unknown)$";
/// Words for an end that nobody wants.
const WORDS: &str = "(^|[^a-z])(error|errors|err|fail|failed|failure|fault|timeout|timed_out|timedout|exception|unavailable|\
    internal|deadline_exceeded|deadlineexceeded|data_loss|dataloss|resource_exhausted|resourceexhausted|aborted|\
    rejected|refused|crashed)$";

/// Whether the labels in `labels` say that what is counted failed. What the client did wrong is not the server's failure.
pub(super) fn failing(labels: &str) -> String {
    let word = format!("(match(v, '{WORDS}') AND NOT startsWith(v, 'client'))");
    format!(
        "arrayExists((k, v) -> multiIf(k IN ({NAMED_FAILURES}), v NOT IN ({NO_FAILURE}), \
           k = 'success', v IN ('false', '0', 'no'), \
           k IN ({CLASSES}), v = '5' OR match(v, '{HTTP}') OR {word}, \
           position(k, 'grpc') > 0, match(v, '{GRPC}') OR {word}, \
           k IN ({ENDINGS}), match(v, '{HTTP}') OR {word}, false), \
         arrayMap(k -> replaceRegexpAll(lower(toString(k)), '[^a-z0-9]', '_'), mapKeys({labels})), \
         arrayMap(v -> lower(toString(v)), mapValues({labels})))"
    )
}

fn sorted(labels: &str) -> String {
    format!(
        "arraySort(arrayMap((k, v) -> (toString(k), toString(v)), mapKeys({labels}), mapValues({labels})))"
    )
}

/// Identity of the mean that a `_sum` or `_count` is a part of.
fn mean_id(name: &str, labels: &str) -> String {
    format!("cityHash64('mean', replaceRegexpOne(toString({name}), '_(sum|count)$', ''), {})", sorted(labels))
}

/// Identity of the failed share of a name in a place.
fn share_id(name: &str, labels: &str) -> String {
    let place = PLACE.replace("series_labels", labels);
    format!("cityHash64('failed share', toString({name}), {})", sorted(&place))
}

/// Whether a series in `metric_series` has no part in a histogram's buckets, which move together with their count.
const NO_BUCKET: &str = "NOT endsWith(Name, '_bucket') AND NOT mapContains(Labels, 'le')";

/// What can be derived from the series that are sent. Asked first, for to look for it in samples costs as much as the samples do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Row, Deserialize)]
pub(super) struct Derivable {
    /// Whether there are sums and counts.
    pub means: bool,
    /// Whether the labels of something that is counted say that it failed.
    pub shares: bool,
}

/// The question about [`Derivable`].
pub(super) fn derivable() -> String {
    format!(
        "SELECT countIf(match(Name, '_(sum|count)$')) > 0 AS means, countIf(NOT endsWith(Name, '_sum') AND {}) > 0 AS shares \
         FROM metric_series WHERE {NO_BUCKET}",
        failing("Labels")
    )
}

/// Series with their points, sent and derived, with columns `SeriesId`, `series_name`, `series_labels`, `series_kind`,
/// `series_unit`, `failing` and `points`. `time` says which samples, `ids` which series, where not all.
///
/// The sum of a histogram is left to its mean. Failed shares are of the same stretches of time, each as long as the
/// longest usual gap between samples of the counters: those need not be read at the same instant.
pub(super) fn series(time: &str, ids: Option<&str>, derivable: Derivable) -> String {
    let chosen = |id: &str| ids.map_or_else(String::new, |ids| format!(" AND {id} IN ({ids})"));
    let from = |which: String| super::metrics::values(&format!("SeriesId IN ({which}) AND {time}"));
    let catalog = |id: &str, condition: &str| {
        from(format!("SELECT Id FROM metric_series WHERE {NO_BUCKET} AND {condition}{}", chosen(id)))
    };
    let sent = catalog("Id", "1");
    let parts = catalog(&mean_id("Name", "Labels"), "match(Name, '_(sum|count)$')");
    let (share_of_row, share_of_series) =
        (share_id("Name", "Labels"), share_id("series_name", "series_labels"));
    let families = catalog(
        &share_of_row,
        &format!(
            "{share_of_row} IN (SELECT {share_of_row} FROM metric_series WHERE {NO_BUCKET} AND NOT endsWith(Name, '_sum') AND {})",
            failing("Labels")
        ),
    );
    let sent = format!(
        "SELECT SeriesId, toString(series_name) AS series_name, series_labels, toString(series_kind) AS series_kind, \
           toString(series_unit) AS series_unit, {} AS failing, points \
         FROM ({sent}) WHERE NOT (series_kind != 'gauge' AND endsWith(series_name, '_sum'))",
        failing("series_labels")
    );
    let means = format!(
        "SELECT id AS SeriesId, concat(any(stem), '_mean') AS series_name, any(labels) AS series_labels, \
           'gauge' AS series_kind, anyIf(unit, is_sum) AS series_unit, toUInt8(0) AS failing, \
           arrayMap((a, b) -> (a.1, a.2 / b.2), arrayFilter((a, b) -> b.2 > 0, anyIf(values, is_sum) AS sums, \
             anyIf(values, NOT is_sum) AS counts), arrayFilter(b -> b.2 > 0, counts)) AS points FROM \
           (SELECT {} AS id, replaceRegexpOne(toString(series_name), '_(sum|count)$', '') AS stem, \
              series_labels AS labels, toString(series_unit) AS unit, endsWith(series_name, '_sum') AS is_sum, \
              points AS values FROM ({parts}) WHERE series_kind != 'gauge') \
         GROUP BY id HAVING countIf(is_sum) = 1 AND count() = 2 AND uniqExact(values.1) = 1",
        mean_id("series_name", "series_labels"),
    );
    let shares = format!(
        "SELECT id AS SeriesId, concat(any(name), '_error_ratio') AS series_name, any(place) AS series_labels, \
           'gauge' AS series_kind, '1' AS series_unit, toUInt8(0) AS failing, \
           arraySort(groupArray((at, bad / whole))) AS points FROM \
           (SELECT id, any(name) AS name, any(place) AS place, max(last) AS at, sumIf(rate, is_bad) AS bad, sum(rate) AS whole FROM \
             (SELECT id, SeriesId, any(family_name) AS name, any(family_place) AS place, any(bad_label) AS is_bad, \
                intDiv(point.1 - origin + intDiv(width, 2), width) AS slot, max(point.1) AS last, avg(point.2) AS rate FROM \
               (SELECT *, max(gap) OVER (PARTITION BY id) AS width, min(points[1].1) OVER (PARTITION BY id) AS origin FROM \
                 (SELECT {share_of_series} AS id, SeriesId, toString(series_name) AS family_name, {PLACE} AS family_place, \
                    {} AS bad_label, greatest(toInt64(arrayReduce('median', gaps) * 1000), 1) AS gap, points \
                  FROM ({families}) WHERE notEmpty(points) AND notEmpty(gaps))) \
              ARRAY JOIN points AS point GROUP BY id, SeriesId, slot) \
            GROUP BY id, slot HAVING whole > 0) \
         GROUP BY id HAVING min(bad / whole) < 1",
        failing("series_labels")
    );
    let derived = [(derivable.means, means), (derivable.shares, shares)];
    let all = derived.into_iter().filter(|(is_there, _)| *is_there).map(|(_, query)| query);
    std::iter::once(sent).chain(all).collect::<Vec<_>>().join(" UNION ALL ")
}
