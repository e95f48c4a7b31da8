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

/// Width of a character and the gap beside a line, as shares of the width: between a narrow screen and a wide one.
const CHARACTER: f64 = 0.0105;
const GAP: f64 = 0.006;
const ROW: f64 = 14.0;
const MOST_ROWS: usize = 3;

/// Draws `ticks` over `span` with the open incidents shaded. Names that find no room are left to the list below.
pub(in crate::pages) fn strip(ticks: &[Tick], incidents: &[Window], span: Window, label: &str) -> String {
    let share = |at: UnixNanos| (at.seconds_since(span.start) / span.seconds().max(1.0)).clamp(0.0, 1.0);
    let mut placed: Vec<Placed> = Vec::with_capacity(ticks.len());
    for tick in ticks {
        let label = place(share(tick.at), tick, &placed);
        placed.push(label);
    }
    let mut names = String::new();
    for (tick, label) in ticks.iter().zip(&placed) {
        let Some(row) = label.row else { continue };
        let (x, anchor) = match label.before {
            true => (label.x - GAP, "end"),
            false => (label.x + GAP, "start"),
        };
        let _ = write!(
            names,
            r#"<text class="{}" x="{}" y="{}" text-anchor="{anchor}">{}</text>"#,
            if tick.hot { "hi" } else { "lab" },
            width(x),
            14.0 + ROW * row as f64,
            escape(&tick.name)
        );
    }
    let rows = placed.iter().filter_map(|label| label.row).map(|row| row + 1).max().unwrap_or(1) as f64;
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
    for (tick, label) in ticks.iter().zip(&placed) {
        let top = label.row.map_or(axis - 8.0, |row| 6.0 + ROW * row as f64);
        let _ = write!(
            out,
            r#"<line class="pg{}" x1="{x}" x2="{x}" y1="{}" y2="{y}"/>"#,
            if tick.hot { " hot" } else { "" },
            coordinate(top, 0),
            x = width(label.x)
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

/// Where a change's line stands, and which stretch of which row its name takes.
struct Placed {
    x: f64,
    from: f64,
    to: f64,
    before: bool,
    /// The row of the name; `None` when there was no room for it.
    row: Option<usize>,
}

/// The first row and side where the name meets no other name and no line, and its own line cuts no name.
fn place(x: f64, tick: &Tick, others: &[Placed]) -> Placed {
    let length = tick.name.chars().count() as f64 * CHARACTER + GAP;
    let side = |before: bool| if before { (x - length, x) } else { (x, x + length) };
    let fits = |row: usize, (from, to): (f64, f64)| {
        let inside = from >= 0.0 && to <= 1.0;
        let clear = |other: &Placed| {
            let Some(at) = other.row else { return true };
            let meets = at == row && from < other.to && other.from < to;
            let crosses = at <= row && from < other.x && other.x < to;
            let cuts = at >= row && other.from < x && x < other.to;
            !(meets || crosses || cuts)
        };
        inside && others.iter().all(clear)
    };
    // A change that is blamed is named over the incident that it began.
    let sides = if tick.hot { [false, true] } else { [true, false] };
    let found = (0..MOST_ROWS)
        .flat_map(|row| sides.map(|before| (row, before)))
        .find(|(row, before)| fits(*row, side(*before)));
    let before = found.is_none_or(|(_, before)| before);
    let (from, to) = side(before);
    Placed { x, from, to, before, row: found.map(|(row, _)| row) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_find_no_room_are_left_out_but_their_lines_stay() {
        let at = UnixNanos::from_seconds;
        let tick = |index: i64| Tick { at: at(1800 + index), name: "a <b> 1.2.3".into(), hot: index == 3 };
        let ticks: Vec<Tick> = (0..12).map(tick).collect();
        let drawn = strip(&ticks, &[], Window::new(at(0), at(3600)), "x");
        assert_eq!(drawn.matches("class=\"pg").count(), 12, "{drawn}");
        let names = drawn.matches("a &lt;b&gt; 1.2.3").count();
        assert!((2..=2 * MOST_ROWS).contains(&names), "{names}: {drawn}");
    }
}
