//! The bars of a waterfall, one small drawing per row; names stand beside them as ordinary text.

use std::collections::BTreeMap;
use std::fmt::Write;

use domain::evidence::{Trace, TraceSpan};
use domain::text::seconds;

use super::{coordinate, width};

/// The trace's end lies here, so that the longest bar leaves room for its label.
const END: f64 = 0.74;
const LABEL_GAP: f64 = 0.014;
const LABEL: f64 = 0.11;
const NARROWEST: f64 = 0.003;
/// Runs of a folded row beyond this are drawn as one bar with the last.
const MOST_RUNS: usize = 200;
const INNER: f64 = 1000.0;
/// Categories, told apart by class; services beyond that share the last.
const CATEGORIES: usize = 6;

/// The category of each service, in order of appearance.
pub(in crate::pages) fn categories(trace: &Trace) -> BTreeMap<&str, usize> {
    let mut categories = BTreeMap::new();
    for span in &trace.spans {
        let next = (categories.len() + 1).min(CATEGORIES);
        categories.entry(span.service.as_str()).or_insert(next);
    }
    categories
}

/// How long a row's spans take together, in words.
pub(in crate::pages) fn length(span: &TraceSpan) -> String {
    seconds(span.runs.iter().map(|run| run.1 as f64).sum::<f64>() / 1e9)
}

/// Draws the bars of one row.
pub(in crate::pages) fn bars(trace: &Trace, span: &TraceSpan, category: usize) -> String {
    let total = (trace.duration_ns as f64).max(1.0);
    let place = |at: f64| (at / total).clamp(0.0, 1.0) * END;
    let (first, last) = span.runs.iter().fold((f64::INFINITY, 0.0_f64), |(a, b), (at, ns)| {
        (a.min(*at as f64), b.max(*at as f64 + *ns as f64))
    });
    let (left, right) = if first.is_finite() { (place(first), place(last)) } else { (0.0, 0.0) };
    let class = if span.failed { "kx".to_owned() } else { format!("k{category}") };
    let mut out = String::from(r#"<svg aria-hidden="true">"#);
    let _ = write!(out, r#"<line class="end" x1="{end}" x2="{end}" y2="26"/>"#, end = width(END));
    match span.runs.as_slice() {
        [] => {}
        [_] => {
            let _ = write!(
                out,
                r#"<rect class="{class}" x="{}" y="9" width="{}" height="8" rx="1"/>"#,
                width(left),
                width((right - left).max(NARROWEST))
            );
        }
        runs => {
            let extent = (last - first).max(1.0);
            let _ = write!(
                out,
                r#"<svg x="{}" y="9" width="{}" height="8" viewBox="0 0 1000 8" preserveAspectRatio="none"><path class="{class}" d=""#,
                width(left),
                width((right - left).max(NARROWEST))
            );
            for (at, ns) in runs.iter().take(MOST_RUNS) {
                let x = (*at as f64 - first) / extent * INNER;
                let w = (*ns as f64 / extent * INNER).max(4.0).min(INNER - x.min(INNER - 4.0));
                let (x, w) = (coordinate(x, 0), coordinate(w, 0));
                let _ = write!(out, "M{x} 0h{w}v8h-{w}z");
            }
            out.push_str(r#""/></svg>"#);
        }
    }
    // A label that would run over the line at the end stands behind it.
    let label = if right + LABEL_GAP + LABEL > END { END + LABEL_GAP } else { right + LABEL_GAP };
    let failed = if span.failed { r#" class="hi""# } else { "" };
    let _ = write!(out, r#"<text{failed} x="{}" y="17">{}</text></svg>"#, width(label), length(span));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{SpanKind, UnixNanos};

    #[test]
    fn bars_stay_inside_whatever_the_clock_said() {
        let span = TraceSpan {
            depth: 0,
            service: "a".into(),
            name: "b".into(),
            kind: SpanKind::Server,
            runs: vec![(-50, 10), (i64::MAX, u64::MAX)],
            failed: false,
            message: String::new(),
            span_id: String::new(),
        };
        let trace = Trace {
            trace_id: String::new(),
            start: UnixNanos(0),
            duration_ns: 0,
            spans: vec![span.clone()],
            omitted: 0,
        };
        let drawn = bars(&trace, &span, 1);
        assert!(drawn.contains(r#"x="0%" y="9" width="74%""#), "{drawn}");
        assert!(!drawn.contains("NaN") && !drawn.contains("inf"), "{drawn}");
    }
}
