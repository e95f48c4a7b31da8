//! Two call trees, baseline and window, laid over each other.

use std::collections::BTreeMap;

use detectors::statistics::{Moments, proportion_z, welch_z};
use domain::SpanKind;
use storage::questions::call_tree::{CallTree, Operation, PathStats};

use super::is_usable;

/// One side of a step.
#[derive(Clone, Copy, Debug, Default)]
pub struct Side {
    /// Calls.
    pub calls: f64,
    /// Lengths, milliseconds.
    pub total: Moments,
    /// Exclusive times, milliseconds.
    pub own: Moments,
    /// Logarithms of exclusive times.
    pub own_logs: Moments,
    /// Failed calls.
    pub errors: f64,
    /// Failed calls with no failed child.
    pub origins: f64,
}

impl Side {
    fn of(stats: &PathStats) -> Self {
        let calls = stats.calls as f64;
        Self {
            calls,
            total: Moments { count: calls, sum: stats.total_ms, squares: stats.total_squares },
            own: Moments { count: calls, sum: stats.self_ms, squares: stats.self_squares },
            own_logs: Moments { count: calls, sum: stats.self_logs, squares: stats.self_log_squares },
            errors: stats.errors as f64,
            origins: stats.origins as f64,
        }
    }
}

/// A path of operations from a root, in both windows.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its last operation.
    pub operation: Operation,
    /// The step above, if any; always earlier in the list.
    pub parent: Option<usize>,
    /// Steps below.
    pub children: Vec<usize>,
    /// 0 for a root.
    pub depth: u32,
    /// The baseline.
    pub before: Side,
    /// The window.
    pub now: Side,
    /// Whether it lies below (or is) an entry of the impacted service.
    pub in_scope: bool,
    /// Whether it is such an entry.
    pub is_entry: bool,
}

impl Step {
    /// A call that leaves the service, by kind or, where systems name no kinds, by having children elsewhere.
    pub fn leaves_service(&self, steps: &[Self]) -> bool {
        matches!(self.operation.kind, SpanKind::Client | SpanKind::Producer)
            || self.children.iter().any(|child| steps[*child].operation.service != self.operation.service)
    }

    /// The services that its calls arrive at.
    pub fn callees<'a>(&'a self, steps: &'a [Self]) -> impl Iterator<Item = &'a str> {
        let here = &self.operation.service;
        self.children
            .iter()
            .map(|child| steps[*child].operation.service.as_str())
            .filter(move |service| service != here)
    }
}

/// Both trees, depth first.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    /// Steps; parents before children.
    pub steps: Vec<Step>,
    /// Requests that entered the scope, before and now.
    pub entries: (f64, f64),
    /// Traces, before and now.
    pub traces: (f64, f64),
}

impl Comparison {
    /// Lays `now` over `before`; the scope is what happens below requests to `service`, or everything.
    pub fn new(before: &CallTree, now: &CallTree, service: Option<&str>) -> Self {
        let mut merged: BTreeMap<u64, (u64, u64, Side, Side)> = BTreeMap::new();
        let usable = |path: &&PathStats| {
            let sums = [
                path.total_ms,
                path.total_squares,
                path.self_ms,
                path.self_squares,
                path.self_logs,
                path.self_log_squares,
            ];
            sums.into_iter().all(is_usable)
        };
        for path in before.paths.iter().filter(usable) {
            merged
                .entry(path.path)
                .or_insert((path.parent, path.operation, Side::default(), Side::default()))
                .2 = Side::of(path);
        }
        for path in now.paths.iter().filter(usable) {
            merged
                .entry(path.path)
                .or_insert((path.parent, path.operation, Side::default(), Side::default()))
                .3 = Side::of(path);
        }
        let mut below: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for (path, (parent, ..)) in &merged {
            // A parent that was cut from the answer leaves its children as roots.
            let above = if merged.contains_key(parent) && parent != path { *parent } else { 0 };
            below.entry(above).or_default().push(*path);
        }
        let mut comparison = Self { traces: (before.traces as f64, now.traces as f64), ..Self::default() };
        let mut pending: Vec<(u64, Option<usize>)> =
            below.get(&0).into_iter().flatten().rev().map(|root| (*root, None)).collect();
        while let Some((path, parent)) = pending.pop() {
            let Some((_, operation, before_side, now_side)) = merged.remove(&path) else { continue };
            let Some(operation) =
                now.operations.get(&operation).or_else(|| before.operations.get(&operation))
            else {
                continue;
            };
            let place = comparison.steps.len();
            if let Some(parent) = parent {
                comparison.steps[parent].children.push(place);
            }
            comparison.steps.push(Step {
                operation: operation.clone(),
                parent,
                children: Vec::new(),
                depth: parent.map_or(0, |parent| comparison.steps[parent].depth + 1),
                before: before_side,
                now: now_side,
                in_scope: false,
                is_entry: false,
            });
            pending.extend(below.get(&path).into_iter().flatten().rev().map(|child| (*child, Some(place))));
        }
        comparison.set_scope(service);
        comparison
    }

    fn set_scope(&mut self, service: Option<&str>) {
        let known = service.filter(|name| self.steps.iter().any(|step| step.operation.service == *name));
        for place in 0..self.steps.len() {
            let above = self.steps[place].parent.is_some_and(|parent| self.steps[parent].in_scope);
            let here = known.is_none_or(|name| self.steps[place].operation.service == name);
            self.steps[place].in_scope = above || here;
            self.steps[place].is_entry = here && !above;
        }
        let entries = self.steps.iter().filter(|step| step.is_entry);
        self.entries = entries
            .fold((0.0, 0.0), |(before, now), step| (before + step.before.calls, now + step.now.calls));
    }

    /// Steps in scope, with their places.
    pub fn scoped(&self) -> impl Iterator<Item = (usize, &Step)> {
        self.steps.iter().enumerate().filter(|(_, step)| step.in_scope)
    }

    /// Added exclusive milliseconds per request of the scope; positive when slower.
    pub fn added_ms(&self, step: &Step) -> f64 {
        step.now.own.sum / self.entries.1.max(1.0) - step.before.own.sum / self.entries.0.max(1.0)
    }

    /// Milliseconds that a request of the scope usually takes: its mean in the baseline.
    pub fn usual_ms(&self) -> f64 {
        let total: f64 =
            self.steps.iter().filter(|step| step.is_entry).map(|step| step.before.total.sum).sum();
        total / self.entries.0.max(1.0)
    }

    /// Calls per call of the step above (per request of the scope at its entries), before and now.
    pub fn calls_per_parent(&self, step: &Step) -> (f64, f64) {
        let (before, now) = match step.parent {
            Some(parent) => (self.steps[parent].before.calls, self.steps[parent].now.calls),
            None => self.entries,
        };
        (step.before.calls / before.max(1.0), step.now.calls / now.max(1.0))
    }

    /// How surprising the number of calls of a step is, given the calls of the step above: standard errors of a Poisson
    /// count against what the baseline's ratio predicts, the uncertainty of that ratio included. 0 where the step above
    /// is missing on either side, since then it is what changed.
    pub fn calls_z(&self, step: &Step) -> f64 {
        let Some(parent) = step.parent.map(|parent| &self.steps[parent]) else { return 0.0 };
        if parent.before.calls < 5.0 || parent.now.calls < 5.0 {
            return 0.0;
        }
        let scale = parent.now.calls / parent.before.calls;
        let expected = (step.before.calls + 0.5) * scale;
        (step.now.calls - expected) / (expected * (1.0 + scale)).max(0.25).sqrt()
    }

    /// How surprising the exclusive time per call is.
    pub fn own_z(step: &Step) -> f64 {
        welch_z(step.before.own, step.now.own)
    }

    /// How surprising the number of failures that begin here is.
    pub fn origins_z(step: &Step) -> f64 {
        proportion_z(step.before.origins, step.before.calls, step.now.origins, step.now.calls)
    }
}
