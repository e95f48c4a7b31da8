//! The strip of changes on the overview: what changed when, and when users were hurt.

use std::fmt::Write;

use domain::{UnixNanos, Window};

use super::axis::time_ticks;
use super::{coordinate, escape, width};

/// A change on the strip.
pub(in crate::pages) struct Tick {
    pub at: UnixNanos,
    pub name: String,
    /// Whether it is blamed for an open incident.
    pub hot: bool,
}

const CHARACTER: f64 = 0.0075;
const ROW: f64 = 14.0;
const MOST_ROWS: usize = 3;

/// Draws `ticks` over `span` with the open incidents shaded. Names that find no room are left to the list below.
pub(in crate::pages) fn strip(ticks: &[Tick], incidents: &[Window], span: Window, label: &str) -> String {
    let share = |at: UnixNanos| (at.seconds_since(span.start) / span.seconds().max(1.0)).clamp(0.0, 1.0);
    let mut taken: Vec<(usize, f64, f64)> = Vec::new();
    let mut names = String::new();
    let mut lines = Vec::new();
    for tick in ticks {
        let x = share(tick.at);
        let length = tick.name.chars().count() as f64 * CHARACTER;
        let before = x - length > 0.0 && !(tick.hot && x + length < 1.0);
        let (from, to) = if before { (x - 0.006 - length, x) } else { (x, x + 0.006 + length) };
        let free = |row: &usize| !taken.iter().any(|(at, a, b)| at == row && from < *b && *a < to);
        let row = (0..MOST_ROWS).find(free);
        lines.push((x, tick.hot, row));
        let Some(row) = row else { continue };
        taken.push((row, from, to));
        let (class, at, anchor) = match (tick.hot, before) {
            (true, true) => ("hi", x - 0.006, "end"),
            (true, false) => ("hi", x + 0.006, "start"),
            (false, true) => ("lab", x - 0.006, "end"),
            (false, false) => ("lab", x + 0.006, "start"),
        };
        let _ = write!(
            names,
            r#"<text class="{class}" x="{}" y="{}" text-anchor="{anchor}">{}</text>"#,
            width(at),
            14.0 + ROW * row as f64,
            escape(&tick.name)
        );
    }
    let rows = taken.iter().map(|name| name.0 + 1).max().unwrap_or(1) as f64;
    let axis = 20.0 + ROW * rows;
    let mut out = format!(
        r#"<svg class="chart" height="{}" role="img" aria-label="{}">"#,
        coordinate(axis + 22.0, 0),
        escape(label)
    );
    for incident in incidents.iter().filter(|incident| incident.overlaps(&span)) {
        let (start, end) = (share(incident.start), share(incident.end));
        let _ = write!(
            out,
            r#"<rect class="span" x="{}" width="{}" y="0" height="{}"/>"#,
            width(start),
            width((end - start).max(0.002)),
            coordinate(axis, 0)
        );
    }
    let y = coordinate(axis, 0);
    let _ = write!(out, r#"<line class="axis" x1="0" x2="100%" y1="{y}" y2="{y}"/>"#);
    for (x, hot, row) in lines {
        let top = row.map_or(axis - 8.0, |row| 6.0 + ROW * row as f64);
        let _ = write!(
            out,
            r#"<line class="pg{}" x1="{x}" x2="{x}" y1="{}" y2="{y}"/>"#,
            if hot { " hot" } else { "" },
            coordinate(top, 0),
            x = width(x)
        );
    }
    out.push_str(&names);
    for tick in time_ticks(span) {
        let _ = write!(
            out,
            r#"<text x="{}" y="{}" text-anchor="{}">{}</text>"#,
            width(tick.share),
            coordinate(axis + 17.0, 0),
            tick.anchor,
            tick.text
        );
    }
    out.push_str("</svg>");
    out
}
