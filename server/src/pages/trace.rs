//! A trace as a waterfall: on its own page, and as the sample on a latency card.

use domain::evidence::Trace;
use domain::text::{plain, seconds};
use serde::Serialize;

use super::exhibits::SHORT_ID;
use super::input::TracePage;
use super::svg::waterfall::{bars, categories, length};
use super::templates::{Svg, render};
use super::words::{Cut, Head, Shell, Table, cut, plural};

/// Rows of the sample on a card; the trace's own page shows all that the trace holds.
const SAMPLE_ROWS: usize = 24;
const PAGE_ROWS: usize = 500;
const MOST_ERRORS: usize = 50;
const DEEPEST: u32 = 12;

/// A waterfall.
#[derive(Serialize)]
pub(super) struct Waterfall {
    trace_id: String,
    short_id: String,
    time: String,
    rows: Vec<Row>,
    /// Rows left out, in words; or empty.
    note: String,
}

#[derive(Serialize)]
struct Row {
    depth: u32,
    name: Cut,
    times: Option<usize>,
    service: String,
    category: usize,
    length: String,
    failed: bool,
    bars: Svg,
}

fn short_id(trace_id: &str) -> String {
    plain(trace_id, 64).chars().take(SHORT_ID).collect()
}

/// The waterfall of a sample, cut to what a card can hold.
pub(super) fn waterfall(trace: &Trace) -> Waterfall {
    rows(trace, SAMPLE_ROWS)
}

fn rows(trace: &Trace, limit: usize) -> Waterfall {
    let categories = categories(trace);
    let row = |span: &domain::evidence::TraceSpan| {
        let category = categories.get(span.service.as_str()).copied().unwrap_or(1);
        Row {
            depth: span.depth.min(DEEPEST),
            name: cut(&span.name, 80),
            times: Some(span.runs.len()).filter(|runs| *runs > 1),
            service: plain(&span.service, 40),
            category,
            length: length(span),
            failed: span.failed,
            bars: Svg(bars(trace, span, category)),
        }
    };
    let hidden =
        trace.spans.len().saturating_sub(limit) + usize::try_from(trace.omitted).unwrap_or(usize::MAX);
    Waterfall {
        trace_id: plain(&trace.trace_id, 64),
        short_id: short_id(&trace.trace_id),
        time: trace.start.to_timestamp().strftime("%H:%M:%S%.3f").to_string(),
        rows: trace.spans.iter().take(limit).map(row).collect(),
        note: if hidden == 0 {
            String::new()
        } else {
            format!("{} not shown.", plural(hidden, "row", "rows"))
        },
    }
}

#[derive(Serialize)]
struct View {
    shell: Shell,
    waterfall: Waterfall,
    duration: String,
    date: String,
    services: Vec<(usize, String)>,
    failed: usize,
    errors: Option<Table>,
}

/// Draws the page of one trace.
pub(super) fn page(page: &TracePage) -> String {
    let trace = &page.trace;
    let mut services: Vec<(usize, String)> =
        categories(trace).into_iter().map(|(name, category)| (category, plain(name, 60))).collect();
    services.sort();
    let view = View {
        shell: Shell::new(format!("Trace {}", short_id(&trace.trace_id)), "traces", &page.top),
        waterfall: rows(trace, PAGE_ROWS),
        duration: seconds(trace.duration_ns as f64 / 1e9),
        date: trace.start.date(),
        services,
        failed: trace.spans.iter().filter(|span| span.failed).count(),
        errors: errors(trace),
    };
    render("trace.html", &view)
}

/// What the failed spans said.
fn errors(trace: &Trace) -> Option<Table> {
    let said = trace.spans.iter().filter(|span| span.failed && !span.message.is_empty());
    let row = |span: &domain::evidence::TraceSpan| {
        vec![cut(&span.service, 60), cut(&span.name, 90), cut(&span.message, 300)]
    };
    let rows: Vec<Vec<Cut>> = said.take(MOST_ERRORS).map(row).collect();
    let head = |name: &str| Head { name: name.to_owned(), num: false };
    (!rows.is_empty()).then(|| Table {
        heads: vec![head("Service"), head("Span"), head("Error")],
        rows,
        note: String::new(),
    })
}
