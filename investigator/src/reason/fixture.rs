//! A small system for tests of the reasoning: a quiet ten minutes, then five of harm, in slices of ten seconds.

use domain::{Change, ChangeKind, MetricKind, SeriesId, SpanKind, UnixNanos, Window};
use storage::questions::call_tree::{CallTree, Operation, PathStats};
use storage::questions::error_causes::ErrorGroup;
use storage::questions::log_groups::LogGroup;
use storage::questions::metrics::SeriesLevels;
use storage::questions::operations::OperationSlice;
use storage::questions::service_graph::ServiceEdge;

use crate::{Observations, Question};

/// When the quiet time begins, harm begins, and the window ends, in seconds.
pub const QUIET: i64 = 1_000_000;
pub const HARM: i64 = QUIET + 600;
pub const END: i64 = HARM + 300;
const SLICE: i64 = 10;

pub fn at(seconds: i64) -> UnixNanos {
    UnixNanos::from_seconds(seconds)
}

/// A change of a service, some seconds before the harm.
pub fn deploy(service: &str, before: i64) -> Change {
    Change {
        at: at(HARM - before),
        kind: ChangeKind::Deploy,
        service: service.into(),
        version: "2.0".into(),
        reference: format!("deploy-{service}"),
        ..Change::default()
    }
}

/// Requests of one slice.
#[derive(Clone, Copy)]
pub struct Load {
    pub calls: u64,
    pub errors: u64,
    pub p95_ms: f64,
}

pub fn load(calls: u64, errors: u64, p95_ms: f64) -> Load {
    Load { calls, errors, p95_ms }
}

/// Calls and milliseconds per call.
pub type Calls = (u64, f64);

/// Observations, put together piece by piece. The service asked about is `shop`.
#[derive(Clone)]
pub struct World(pub Observations);

impl World {
    pub fn new() -> Self {
        let window = Window::new(at(HARM), at(END));
        let baseline = Some(Window::new(at(QUIET), at(HARM)));
        let question =
            Question { baseline, started: Some(at(HARM)), ..Question::new(Some("shop".to_owned()), window) };
        Self(Observations { question: Some(question), ..Observations::default() })
    }

    /// The same load in every slice of the quiet time, another in every slice of the harm.
    pub fn requests(mut self, service: &str, before: Load, now: Load) -> Self {
        for at in (QUIET..END).step_by(SLICE as usize) {
            let load = if at < HARM { before } else { now };
            self.0.requests.push(OperationSlice {
                service: service.into(),
                name: String::new(),
                at: at * 1_000_000_000,
                calls: load.calls,
                errors: load.errors,
                mean_ms: load.p95_ms / 2.0,
                p95_ms: load.p95_ms,
            });
        }
        self
    }

    /// Half of the shop's requests fail since the harm, within the shop itself.
    pub fn failing_shop() -> Self {
        Self::new().requests("shop", load(100, 0, 40.0), load(100, 50, 40.0)).calls(
            ["shop", "GET /", ""],
            "",
            (6000, 10.0),
            (3000, 10.0),
            1500,
        )
    }

    pub fn edge(mut self, caller: &str, callee: &str) -> Self {
        let edge =
            ServiceEdge { caller: caller.into(), callee: callee.into(), calls: 1000, errors: 0, gap_ms: 0.0 };
        self.0.graph.push(edge);
        self
    }

    pub fn changed(mut self, change: Change) -> Self {
        self.0.changes.push(change);
        self
    }

    /// A message that some traces end in; the quiet time knows none.
    pub fn failed(mut self, service: &str, exception: &str, message: &str, traces: u64) -> Self {
        self.0.errors_now.failing_traces += traces;
        self.0.errors_now.groups.push(ErrorGroup {
            service: service.into(),
            name: "work".into(),
            kind: "server".into(),
            peer: String::new(),
            exception: exception.into(),
            message: message.into(),
            traces,
            spans: traces,
            sample_trace: String::new(),
            first_seen: HARM * 1_000_000_000,
        });
        self
    }

    /// A message, so often before and now.
    pub fn logged(mut self, service: &str, severity: u8, sample: &str, before: u64, now: u64) -> Self {
        self.0.logs.groups.push(LogGroup {
            service: service.into(),
            severity,
            logger: String::new(),
            pattern: 0,
            template: String::new(),
            before,
            now,
            first_seen: HARM * 1_000_000_000,
            sample: sample.into(),
            variants: 1,
            slices: Vec::new(),
            counts: Vec::new(),
        });
        self
    }

    /// A gauge that stands at one value, then at another.
    pub fn labelled(
        mut self,
        labels: &[(&str, &str)],
        name: &str,
        unit: &str,
        before: f64,
        now: f64,
    ) -> Self {
        let level = |count: f64, value: f64| [count, value, value * 0.01, value * 0.98, value * 1.02];
        self.0.metrics.series.push(SeriesLevels {
            id: SeriesId(self.0.metrics.series.len() as u64 + 1),
            name: name.into(),
            labels: labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            kind: MetricKind::Gauge,
            unit: unit.into(),
            before: level(40.0, before),
            now: level(20.0, now),
            early: level(0.0, 0.0),
            late: [20.0, now, now, now, now],
            failing: false,
            left_at: HARM * 1_000_000_000,
        });
        self
    }

    /// An operation, below another if one is named; its failures begin here.
    pub fn calls(
        mut self,
        [service, name, below]: [&str; 3],
        database: &str,
        before: Calls,
        now: Calls,
        failed: u64,
    ) -> Self {
        let id = |name: &str| name.bytes().fold(7_u64, |id, byte| id * 31 + u64::from(byte));
        let operation = Operation {
            service: service.into(),
            name: name.into(),
            kind: if database.is_empty() { SpanKind::Server } else { SpanKind::Client },
            peer: database.into(),
            database: database.into(),
            detail: String::new(),
        };
        let sides = [(&mut self.0.calls_before, before, 0), (&mut self.0.calls_now, now, failed)];
        for (tree, (calls, own), failed) in sides {
            add(tree, id(name), if below.is_empty() { 0 } else { id(below) }, &operation, calls, own, failed);
        }
        self
    }
}

fn add(
    tree: &mut CallTree,
    path: u64,
    parent: u64,
    operation: &Operation,
    calls: u64,
    own: f64,
    failed: u64,
) {
    let count = calls as f64;
    // A spread of a tenth, so that nothing is infinitely certain.
    let square = own * own * 1.01;
    let logs = own.max(0.001).ln();
    tree.operations.insert(path, operation.clone());
    tree.spans += calls;
    tree.one_in = 1;
    if parent == 0 {
        tree.traces += calls;
    }
    tree.paths.push(PathStats {
        path,
        parent,
        operation: path,
        calls,
        total_ms: own * count,
        total_squares: square * count,
        self_ms: own * count,
        self_squares: square * count,
        self_logs: logs * count,
        self_log_squares: (logs * logs + 0.01) * count,
        errors: failed,
        origins: failed,
    });
}
