//! The latency flame graph: all traces of a window, merged by their path of operations.
//!
//! Per trace, spans become arrays; a span's parent is found by its place in them, its exclusive time is its length less
//! the union of its children's, and its path is the hash of the operations from the root down to it. Paths are hashed by
//! pointer doubling: after `k` rounds a span knows the hash of its nearest `2^k` ancestors, so [`ROUNDS`] rounds reach a
//! depth of 64. A span on a cycle never reaches a root, has no path, and is counted as left out.
//!
//! Merging costs about a second per million spans, and a million tell shares and means to a fraction of a percent. Of more,
//! one whole trace in so many is looked at, chosen by the hash of its id: the same traces each time it is asked.

use std::collections::{BTreeMap, BTreeSet};

use clickhouse::Row;
use domain::{SpanKind, Window};
use serde::{Deserialize, Serialize};

use super::sql;
use crate::{Error, Store};

/// Rounds of pointer doubling: depth 2^6.
const ROUNDS: usize = 6;
/// Spans of one trace looked at; larger traces are cut, and counted.
const MAX_SPANS_PER_TRACE: usize = 1_000;
/// Paths returned of one window: those where failures begin first, then the most travelled.
const MAX_PATHS: usize = 5_000;
/// Times that one window is asked for paths that only the other, or a path's end, named.
const MAX_FILLS: usize = 4;
/// Operations returned, most frequent first.
const MAX_OPERATIONS: usize = 20_000;

/// Spans of a window that are merged, about.
const SAMPLED_SPANS: u64 = 1_000_000;

/// Which traces are merged: one in this many; 0 where there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampling(u64);

impl Sampling {
    /// Every trace.
    pub const ALL: Self = Self(1);
    /// There are none: to merge nothing takes the engine as long as it takes it to read the question, which is long.
    pub const NONE: Self = Self(0);

    /// One trace in `traces`; 0 is taken as 1.
    pub fn one_in(traces: u64) -> Self {
        Self(traces.max(1))
    }

    /// Spans of the window that belong to these traces.
    fn within(self, window: &Window) -> String {
        let within = sql::within("Timestamp", window);
        match self {
            Self::ALL | Self::NONE => within,
            Self(one_in) => format!("{within} AND cityHash64(TraceId) % {one_in} = 0"),
        }
    }
}

/// Calls that share a path of operations from a root.
#[derive(Clone, Debug, Row, Serialize, Deserialize)]
pub struct PathStats {
    /// Hash of the path.
    pub path: u64,
    /// Hash of the path without its last step; 0 for a root.
    pub parent: u64,
    /// The last step, a key of [`CallTree::operations`].
    pub operation: u64,
    /// Calls.
    pub calls: u64,
    /// Sum of lengths, milliseconds.
    pub total_ms: f64,
    /// Sum of squared lengths.
    pub total_squares: f64,
    /// Sum of exclusive times, milliseconds.
    pub self_ms: f64,
    /// Sum of squared exclusive times.
    pub self_squares: f64,
    /// Sum of the logarithms of exclusive times, `ln(1 + microseconds / 100)`: long tails do not drown in them.
    pub self_logs: f64,
    /// Sum of their squares.
    pub self_log_squares: f64,
    /// Failed calls.
    pub errors: u64,
    /// Failed calls with no failed child: where a failure begins.
    pub origins: u64,
}

/// An operation: what a service calls a piece of its work.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Operation {
    /// Service.
    pub service: String,
    /// Span name.
    pub name: String,
    /// Role.
    pub kind: SpanKind,
    /// Whom it calls, if it says so.
    pub peer: String,
    /// Database system, if it calls one.
    pub database: String,
    /// Statement or route behind it, as sent.
    pub detail: String,
}

/// The merged traces of a window.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct CallTree {
    /// Paths, each once.
    pub paths: Vec<PathStats>,
    /// Operations by key.
    pub operations: BTreeMap<u64, Operation>,
    /// One trace in this many was merged; 0 or 1 where all were.
    #[serde(default)]
    pub one_in: u64,
    /// Merged traces, which begin in the window.
    pub traces: u64,
    /// Their spans in the window.
    pub spans: u64,
    /// Traces cut to their first spans.
    pub cut_traces: u64,
    /// Whether there were more paths than are returned.
    #[serde(default)]
    pub cut_paths: bool,
    /// The SQL that gave the paths.
    pub query: String,
}

#[derive(Row, Deserialize)]
struct OperationRow {
    operation: u64,
    service: String,
    name: String,
    kind: String,
    peer: String,
    database: String,
    detail: String,
}

#[derive(Row, Deserialize)]
struct Extent {
    traces: u64,
    spans: u64,
    cut_traces: u64,
}

impl Store {
    /// How traces are to be sampled so that none of `windows` has more spans than can be merged quickly. Windows that are to
    /// be compared take the same sampling: counts of both then mean the same.
    pub async fn sampling(&self, windows: &[Window]) -> Result<Sampling, Error> {
        let mut most = 0;
        for window in windows {
            let query = format!("SELECT count() FROM otel_traces WHERE {}", sql::within("Timestamp", window));
            most = most.max(self.client().query(&query).fetch_one::<u64>().await?);
        }
        Ok(if most == 0 { Sampling::NONE } else { Sampling::one_in(most.div_ceil(SAMPLED_SPANS)) })
    }

    /// Merges the traces whose spans begin inside `window`, as many as are sampled.
    pub async fn call_tree(&self, window: Window, sampling: Sampling) -> Result<CallTree, Error> {
        let within = sampling.within(&window);
        let query = paths_query(&within);
        if sampling == Sampling::NONE {
            return Ok(CallTree { one_in: 1, query, ..CallTree::default() });
        }
        let (mut paths, operations, extent) = tokio::try_join!(
            async { self.client().query(&query).fetch_all::<PathStats>().await },
            async { self.client().query(&operations_query(&window)).fetch_all::<OperationRow>().await },
            async { self.client().query(&extent_query(&within)).fetch_one::<Extent>().await },
        )?;
        let operations = operations.into_iter().map(|row| (row.operation, operation(row))).collect();
        let Extent { traces, spans, cut_traces } = extent;
        let cut_paths = paths.len() > MAX_PATHS;
        paths.truncate(MAX_PATHS);
        Ok(CallTree { paths, operations, one_in: sampling.0, traces, spans, cut_traces, cut_paths, query })
    }

    /// [`Store::call_tree`] of two windows that are to be compared. Where one has too many paths, both are asked for those
    /// that the other returned and for those above: a path that is missing from one of them is then missing from the
    /// traces, and not from the answer.
    pub async fn call_trees(
        &self,
        before: Window,
        now: Window,
        sampling: Sampling,
    ) -> Result<(CallTree, CallTree), Error> {
        let (mut old, mut new) =
            tokio::try_join!(self.call_tree(before, sampling), self.call_tree(now, sampling))?;
        if !old.cut_paths && !new.cut_paths {
            return Ok((old, new));
        }
        let known = |tree: &CallTree| tree.paths.iter().map(|path| path.path).collect::<BTreeSet<u64>>();
        let (mut asked_old, mut asked_new) = (known(&old), known(&new));
        let (within_old, within_new) = (sampling.within(&before), sampling.within(&now));
        for _ in 0..MAX_FILLS {
            let wanted: BTreeSet<u64> = old
                .paths
                .iter()
                .chain(&new.paths)
                .flat_map(|path| [path.path, path.parent])
                .filter(|path| *path != 0)
                .collect();
            let missing_old: Vec<u64> = wanted.difference(&asked_old).copied().collect();
            let missing_new: Vec<u64> = wanted.difference(&asked_new).copied().collect();
            let (found_old, found_new) = tokio::try_join!(
                self.paths(&within_old, &missing_old),
                self.paths(&within_new, &missing_new),
            )?;
            asked_old.extend(missing_old);
            asked_new.extend(missing_new);
            if found_old.is_empty() && found_new.is_empty() {
                break;
            }
            old.paths.extend(found_old);
            new.paths.extend(found_new);
        }
        Ok((old, new))
    }

    /// These paths of a window, where it has them.
    async fn paths(&self, within: &str, paths: &[u64]) -> Result<Vec<PathStats>, Error> {
        if paths.is_empty() {
            return Ok(Vec::new());
        }
        let paths: Vec<String> = paths.iter().map(u64::to_string).collect();
        let query = format!("{} HAVING path IN ({}) ORDER BY path", all_paths(within), paths.join(", "));
        Ok(self.client().query(&query).fetch_all().await?)
    }
}

fn operation(row: OperationRow) -> Operation {
    Operation {
        service: row.service,
        name: row.name,
        kind: SpanKind::parse(&row.kind),
        peer: row.peer,
        database: row.database,
        detail: row.detail,
    }
}

fn extent_query(within: &str) -> String {
    format!(
        "SELECT count() AS traces, sum(size) AS spans, countIf(size > {MAX_SPANS_PER_TRACE}) AS cut_traces \
         FROM (SELECT count() AS size FROM otel_traces WHERE {within} GROUP BY TraceId)"
    )
}

/// Each operation as its first span tells it: attributes are wide, and only these spans' are read.
fn operations_query(window: &Window) -> String {
    let first = |column: &str| format!("argMin({column}, SpanId)");
    format!(
        "SELECT cityHash64(ServiceName, SpanName, SpanKind) AS operation, any(ServiceName) AS service, any(SpanName) AS name, \
           any(SpanKind) AS kind, {peer} AS peer, {database} AS database, {detail} AS detail \
         FROM otel_traces WHERE {within} AND (ServiceName, SpanName, SpanKind, Timestamp) IN \
           (SELECT ServiceName, SpanName, SpanKind, min(Timestamp) FROM otel_traces WHERE {within} \
            GROUP BY ServiceName, SpanName, SpanKind ORDER BY count() DESC, ServiceName, SpanName LIMIT {MAX_OPERATIONS}) \
         GROUP BY operation ORDER BY operation",
        peer = first(sql::PEER),
        database =
            first("coalesce(nullIf(SpanAttributes['db.system.name'], ''), SpanAttributes['db.system'])"),
        detail = first(
            "substring(arrayFirst(x -> x != '', [SpanAttributes['db.query.text'], SpanAttributes['db.statement'], \
             SpanAttributes['http.route'], SpanAttributes['url.path']]), 1, 400)"
        ),
        within = sql::within("Timestamp", window)
    )
}

/// The paths that matter most.
fn paths_query(within: &str) -> String {
    format!("{} ORDER BY origins > 0 DESC, calls DESC, path LIMIT {}", all_paths(within), MAX_PATHS + 1)
}

/// The paths, from the inside out; each level names what it adds.
fn all_paths(within: &str) -> String {
    // One row per trace: its distinct spans, siblings side by side in order of start.
    let mut query = format!(
        "SELECT arraySort(x -> (x.2, x.4, x.1), groupArray({MAX_SPANS_PER_TRACE})((cityHash64(SpanId), \
           if(ParentSpanId = '', 0, cityHash64(ParentSpanId)), cityHash64(ServiceName, SpanName, SpanKind), \
           toUnixTimestamp64Nano(Timestamp), toInt64(Duration), StatusCode = 'Error', SpanKind IN ('Client', 'Producer'), \
           cityHash64(ServiceName)))) AS raw, \
           arrayFilter((x, nth) -> nth = 1, raw, arrayEnumerateUniq(raw.1)) AS spans \
         FROM otel_traces WHERE {within} GROUP BY TraceId"
    );
    // Columns, and each span's parent as a place in them (0: none). Ids come first, so a parent's dense rank is its place.
    query = format!(
        "SELECT spans.1 AS ids, spans.2 AS parents, spans.3 AS operations, spans.4 AS starts, spans.5 AS lengths, \
           spans.6 AS failed, spans.7 AS calls_out, spans.8 AS services, arrayMap((a, d) -> a + d, starts, lengths) AS ends, arrayEnumerate(ids) AS place, \
           arrayEnumerateUniq(parents) AS nth, \
           arrayMap(rank -> if(rank > length(ids), 0, rank), \
             arraySlice(arrayEnumerateDense(arrayConcat(ids, parents)), length(ids) + 1)) AS up FROM ({query})"
    );
    // How far earlier siblings reach, so that overlapping children are not counted twice.
    query = format!(
        "SELECT *, arrayReduceInRanges('max', arrayMap((i, k) -> (toInt64(i - k + 1), toUInt64(k - 1)), place, nth), ends) AS reached, \
           arrayMap(u -> if(u = 0, 0, ends[u]), up) AS parent_ends FROM ({query})"
    );
    // What each span covers of its parent, and where its own children lie.
    query = format!(
        "SELECT *, arrayMap((u, a, e, p, r, k) -> if(u = 0, 0, greatest(0, least(e, p) - if(k = 1, a, greatest(a, r)))), \
             up, starts, ends, parent_ends, reached, nth) AS cover, \
           arrayMap(id -> (toInt64(greatest(indexOf(parents, id), 1)), toUInt64(countEqual(parents, id))), ids) AS children \
         FROM ({query})"
    );
    // A childless span may wait for one that its framework started beside it, not below it: what a later sibling
    // shares with it, when that is nearly the whole of that sibling, is not its own work. `host` is the sibling that reaches furthest.
    query = format!(
        "SELECT *, arrayReduceInRanges('argMax', arrayMap((i, k) -> (toInt64(i - k + 1), toUInt64(k - 1)), place, nth), place, ends) AS furthest, \
           arrayMap((a, e, r) -> greatest(0, least(e, r) - a), starts, ends, reached) AS shared, \
           arrayMap((k, d, w, f) -> if(k > 1 AND w >= 0.9 * d AND children[f].2 = 0 AND NOT calls_out[f], f, 0), nth, lengths, shared, furthest) AS host FROM ({query})"
    );
    // A call is told apart by whom it reaches: clients are often all named alike.
    query = format!(
        "SELECT operations, lengths, failed, up AS up_one, up, \
           arrayMap((x, s, c) -> if(c.2 = 0 OR services[c.1] = s, x, cityHash64(x, services[c.1])), operations, services, children) AS hash, \
           arrayMap((i, d, c, n) -> greatest(0, d - c - if(n = 0, arraySum((h, w) -> if(h = i, w, 0), host, shared), 0)), \
             place, lengths, arrayReduceInRanges('sum', children, cover), children.2) AS own, \
           arrayMap((f, c) -> f AND c = 0, failed, arrayReduceInRanges('sum', children, failed)) AS origin FROM ({query})"
    );
    for _ in 0..ROUNDS {
        query = format!(
            "SELECT operations, lengths, failed, own, origin, up_one, next_hash AS hash, next_up AS up FROM \
               (SELECT *, arrayMap((u, x) -> if(u = 0, x, cityHash64(hash[u], x)), up, hash) AS next_hash, \
                  arrayMap(u -> if(u = 0, 0, up[u]), up) AS next_up FROM ({query}))"
        );
    }
    format!(
        "SELECT path, any(above) AS parent, any(step) AS operation, count() AS calls, \
           sum(ns) / 1e6 AS total_ms, sum(pow(ns / 1e6, 2)) AS total_squares, \
           sum(own_ns) / 1e6 AS self_ms, sum(pow(own_ns / 1e6, 2)) AS self_squares, \
           sum(log(1 + own_ns / 1e5)) AS self_logs, sum(pow(log(1 + own_ns / 1e5), 2)) AS self_log_squares, \
           countIf(is_failed) AS errors, countIf(is_origin) AS origins \
         FROM ({query}) ARRAY JOIN hash AS path, arrayMap(u -> if(u = 0, 0, hash[u]), up_one) AS above, up AS left_over, \
           operations AS step, lengths AS ns, own AS own_ns, failed AS is_failed, origin AS is_origin \
         WHERE left_over = 0 GROUP BY path"
    )
}
