//! Line charts: panels stacked over one time axis, with the incident shaded, the usual range, limits and marks.

use std::fmt::Write;

use domain::evidence::{Line, LineRole, Mark, Panel};
use domain::text::{duration, plain};
use domain::{UnixNanos, Window};

use super::axis::{self, Scale};
use super::{coordinate, escape, width};

/// What to draw.
pub(in crate::pages) struct Chart<'a> {
    /// Panels, top first.
    pub panels: &'a [Panel],
    /// The stretch to shade.
    pub incident: Window,
    /// Moments to mark.
    pub marks: &'a [Mark],
    /// The sentence that says what is seen.
    pub label: &'a str,
    /// Whether this is one of several small charts: its title stands outside and the shading goes without a name.
    pub small: bool,
    /// Whether the incident goes on.
    pub ongoing: bool,
}

/// Panels beyond this are left to the table.
pub(in crate::pages) const MOST_PANELS: usize = 5;
/// Lines of a panel beyond this are left to the table.
pub(in crate::pages) const MOST_LINES: usize = 6;
const MOST_MARKS: usize = 4;
const MOST_POINTS: usize = 160;

/// Where the plot begins, as a share of the width; axis labels stand before it.
const LEFT: f64 = 0.09;
const INNER_WIDTH: f64 = 1000.0;
const FIRST_HEIGHT: f64 = 112.0;
const NEXT_HEIGHT: f64 = 76.0;
const SMALL_HEIGHT: f64 = 104.0;
const PANEL_GAP: f64 = 26.0;
const LABEL_ROW: f64 = 14.0;
/// Values keep this far from the top edge of their panel.
const HEADROOM: f64 = 4.0;
/// A mark's name is cut to this many characters.
const MARK_LIMIT: usize = 44;
/// Width of a character of an axis label, as a share of the narrowest chart we promise to fit (350 px).
const CHARACTER: f64 = 0.0145;

/// The time axis: what the panels' points cover, and the incident where that is longer, so that a series which began
/// within it stands where it began.
pub(in crate::pages) fn span(panels: &[Panel], incident: Window) -> Option<Window> {
    let times = || panels.iter().flat_map(|panel| &panel.lines).flat_map(|line| &line.points).map(|p| p.0);
    let points = Window::new(times().min()?, times().max()?);
    let whole = Window::new(points.start.min(incident.start), points.end.max(incident.end));
    Some(if points.duration() < incident.duration() { whole } else { points })
}

/// Draws the chart; `None` when there is no point to draw.
pub(in crate::pages) fn chart(chart: &Chart<'_>) -> Option<String> {
    let span = span(chart.panels, chart.incident)?;
    let panels = &chart.panels[..chart.panels.len().min(MOST_PANELS)];
    let labels = top_labels(chart, span);
    let rows = labels.iter().map(|label| label.row + 1).max().unwrap_or(0) as f64;
    let top = 2.0 + LABEL_ROW * rows.max(1.0);
    let mut plots = Vec::with_capacity(panels.len());
    let mut y = top + if chart.small { 2.0 } else { 6.0 };
    for (index, panel) in panels.iter().enumerate() {
        let height = match (chart.small, index) {
            (true, _) => SMALL_HEIGHT,
            (false, 0) => FIRST_HEIGHT,
            (false, _) => NEXT_HEIGHT,
        };
        plots.push(Plot { panel, y, height, scale: fit(panel) });
        y += height + PANEL_GAP;
    }
    let bottom = y - PANEL_GAP;

    let mut out = String::with_capacity(16 * 1024);
    let _ = write!(
        out,
        r#"<svg class="chart" height="{}" role="img" aria-label="{}">"#,
        coordinate(bottom + 20.0, 0),
        escape(chart.label)
    );
    grid(&mut out, &plots);
    shading(&mut out, chart.incident, span, top, bottom);
    for plot in &plots {
        curves(&mut out, plot, chart.incident, span);
    }
    for plot in &plots {
        limit(&mut out, plot);
    }
    marks(&mut out, chart.marks, span, top, bottom);
    for plot in &plots {
        ticks(&mut out, plot);
        if !chart.small {
            title(&mut out, plot, chart.incident);
        }
    }
    for label in &labels {
        let y = 14.0 + LABEL_ROW * label.row as f64 - if rows > 1.0 { 1.0 } else { 0.0 };
        let _ = write!(
            out,
            r#"<text class="{}" x="{}" y="{}" text-anchor="{}">{}</text>"#,
            label.class,
            width(label.x),
            coordinate(y, 0),
            label.anchor,
            escape(&label.text)
        );
    }
    for tick in axis::time_ticks(span) {
        let _ = write!(
            out,
            r#"<text x="{}" y="{}" text-anchor="{}">{}</text>"#,
            width(across(tick.share)),
            coordinate(bottom + 17.0, 0),
            tick.anchor,
            tick.text
        );
    }
    out.push_str("</svg>");
    Some(out)
}

struct Plot<'a> {
    panel: &'a Panel,
    y: f64,
    height: f64,
    scale: Scale,
}

impl Plot<'_> {
    /// The height of a value, from the top of this plot.
    fn inner(&self, value: f64) -> f64 {
        let share = (value - self.scale.low) / (self.scale.high - self.scale.low);
        self.height - share.clamp(0.0, 1.0) * (self.height - HEADROOM)
    }

    fn outer(&self, value: f64) -> f64 {
        self.y + self.inner(value)
    }
}

fn fit(panel: &Panel) -> Scale {
    let points = panel.lines.iter().take(MOST_LINES).flat_map(|line| &line.points).map(|point| point.1);
    let limit = panel.limit.iter().map(|limit| limit.value);
    let band = panel.band.iter().flat_map(|band| [band.0, band.1]);
    axis::scale(points.chain(limit).chain(band), panel.unit)
}

/// From a share of the time axis to a share of the whole width.
fn across(share: f64) -> f64 {
    LEFT + share * (1.0 - LEFT)
}

fn share_of(at: UnixNanos, span: Window) -> f64 {
    at.seconds_since(span.start) / span.seconds().max(1e-9)
}

fn grid(out: &mut String, plots: &[Plot<'_>]) {
    out.push_str(r#"<g class="grid">"#);
    for plot in plots {
        for tick in &plot.scale.ticks {
            let y = coordinate(plot.outer(*tick), 0);
            let _ = write!(out, r#"<line x1="9%" x2="100%" y1="{y}" y2="{y}"/>"#);
        }
    }
    out.push_str("</g>");
}

/// The shaded part of the time axis, as shares of it.
fn shaded(incident: Window, span: Window) -> Option<(f64, f64)> {
    let start = share_of(incident.start, span).clamp(0.0, 1.0);
    let end = share_of(incident.end, span).clamp(0.0, 1.0);
    (end > start).then_some((start, end))
}

fn shading(out: &mut String, incident: Window, span: Window, top: f64, bottom: f64) {
    let Some((start, end)) = shaded(incident, span) else { return };
    let _ = write!(
        out,
        r#"<rect class="span" x="{}" width="{}" y="{}" height="{}"/>"#,
        width(across(start)),
        width(across(end) - across(start)),
        coordinate(top, 0),
        coordinate(bottom - top, 0)
    );
}

fn curves(out: &mut String, plot: &Plot<'_>, incident: Window, span: Window) {
    let _ = write!(
        out,
        r#"<svg x="9%" y="{}" width="91%" height="{h}" viewBox="0 0 1000 {h}" preserveAspectRatio="none" overflow="visible">"#,
        coordinate(plot.y, 0),
        h = coordinate(plot.height, 0)
    );
    if let Some((low, high)) = plot.panel.band {
        let (y1, y2) = (plot.inner(low.max(high)), plot.inner(low.min(high)));
        let _ = write!(
            out,
            r#"<rect class="band" width="1000" y="{}" height="{}"/>"#,
            coordinate(y1, 1),
            coordinate((y2 - y1).max(1.0), 1)
        );
    }
    // Peers first, so that the thing that changed lies on top.
    let lines = &plot.panel.lines[..plot.panel.lines.len().min(MOST_LINES)];
    for role in [LineRole::Peer, LineRole::Subject] {
        for line in lines.iter().filter(|line| line.role == role) {
            curve(out, line, plot, incident, span);
        }
    }
    out.push_str("</svg>");
}

fn curve(out: &mut String, line: &Line, plot: &Plot<'_>, incident: Window, span: Window) {
    let points = thin(&line.points);
    let gap = usual_gap(&points) * 2.5;
    let mut class = "";
    for (index, (at, value)) in points.iter().enumerate() {
        let previous = index.checked_sub(1).map(|before| points[before]);
        let within = incident.start <= *at && previous.is_none_or(|(before, _)| before < incident.end);
        let wanted = match line.role {
            LineRole::Peer => "base",
            LineRole::Subject if within => "inc",
            LineRole::Subject => "plain",
        };
        let broken = previous.is_some_and(|(before, _)| at.seconds_since(before) > gap);
        let is_last = points.get(index + 1).is_none_or(|next| next.0.seconds_since(*at) > gap);
        let place = |(at, value): (UnixNanos, f64)| {
            let x = share_of(at, span) * INNER_WIDTH;
            format!("{} {}", coordinate(x, 0), coordinate(plot.inner(value), 1))
        };
        if (previous.is_none() || broken) && is_last {
            // A point by itself: a line of no length, whose round ends make it a dot.
            if !std::mem::take(&mut class).is_empty() {
                out.push_str(r#""/>"#);
            }
            let _ = write!(out, r#"<path class="{wanted} dot" d="M{}h0"/>"#, place((*at, *value)));
            continue;
        }
        if wanted != class {
            if !class.is_empty() {
                out.push_str(r#""/>"#);
            }
            let _ = write!(out, r#"<path class="{wanted}" d="M"#);
            if let Some(before) = previous.filter(|_| !broken) {
                let _ = write!(out, "{}L", place(before));
            }
            class = wanted;
        } else {
            out.push(if broken { 'M' } else { 'L' });
        }
        out.push_str(&place((*at, *value)));
    }
    if !class.is_empty() {
        out.push_str(r#""/>"#);
    }
}

/// At most [`MOST_POINTS`] finite points: of each group, the one farthest from the mean of all, so that peaks stay.
fn thin(points: &[(UnixNanos, f64)]) -> Vec<(UnixNanos, f64)> {
    let finite: Vec<_> = points.iter().copied().filter(|point| point.1.is_finite()).collect();
    if finite.len() <= MOST_POINTS {
        return finite;
    }
    let mean = finite.iter().map(|point| point.1).sum::<f64>() / finite.len() as f64;
    let far = |point: &&(UnixNanos, f64)| (point.1 - mean).abs();
    finite
        .chunks(finite.len().div_ceil(MOST_POINTS))
        .filter_map(|group| group.iter().max_by(|a, b| far(a).total_cmp(&far(b))).copied())
        .collect()
}

/// The median distance of neighbours in seconds.
fn usual_gap(points: &[(UnixNanos, f64)]) -> f64 {
    let mut gaps: Vec<f64> = points.windows(2).map(|pair| pair[1].0.seconds_since(pair[0].0)).collect();
    gaps.sort_by(f64::total_cmp);
    gaps.get(gaps.len() / 2).copied().unwrap_or(f64::INFINITY)
}

/// Whether a limit is one that must not be reached, rather than a goal.
fn is_ceiling(name: &str) -> bool {
    name.starts_with("limit")
}

fn limit(out: &mut String, plot: &Plot<'_>) {
    let Some(limit) = plot.panel.limit.as_ref().filter(|limit| limit.value.is_finite()) else { return };
    let y = plot.outer(limit.value);
    let (line, text) = if is_ceiling(&limit.name) { ("limit", "hi halo") } else { ("goal", "halo") };
    let _ =
        write!(out, r#"<line class="{line}" x1="9%" x2="100%" y1="{y}" y2="{y}"/>"#, y = coordinate(y, 1));
    // Names of goals at the very top would run into the row of marks.
    let below = y - plot.y < 12.0 && !is_ceiling(&limit.name);
    let _ = write!(
        out,
        r#"<text class="{text}" x="10%" y="{}">{}</text>"#,
        coordinate(if below { y + 15.0 } else { y - 5.0 }, 0),
        escape(&plain(&limit.name, 40))
    );
}

fn marks(out: &mut String, marks: &[Mark], span: Window, top: f64, bottom: f64) {
    for mark in marks.iter().take(MOST_MARKS).filter(|mark| in_span(mark.at, span)) {
        let _ = write!(
            out,
            r#"<line class="mark" x1="{x}" x2="{x}" y1="{}" y2="{}"/>"#,
            coordinate(top, 0),
            coordinate(bottom, 0),
            x = width(across(share_of(mark.at, span)))
        );
    }
}

fn in_span(at: UnixNanos, span: Window) -> bool {
    span.start <= at && at <= span.end
}

fn ticks(out: &mut String, plot: &Plot<'_>) {
    for tick in &plot.scale.ticks {
        let _ = write!(
            out,
            r#"<text x="7.5%" y="{}" text-anchor="end">{}</text>"#,
            coordinate(plot.outer(*tick) + 4.0, 0),
            escape(&axis::tick(*tick, plot.panel.unit))
        );
    }
}

/// The panel's title, inside the plot, on the side that its line leaves free before the incident.
fn title(out: &mut String, plot: &Plot<'_>, incident: Window) {
    let quiet = |point: &&(UnixNanos, f64)| point.0 < incident.start && point.1.is_finite();
    let heights: Vec<f64> = plot
        .panel
        .lines
        .iter()
        .take(MOST_LINES)
        .flat_map(|line| line.points.iter().filter(quiet))
        .map(|point| plot.inner(point.1))
        .collect();
    let mean = heights.iter().sum::<f64>() / heights.len().max(1) as f64;
    let y = if !heights.is_empty() && mean < plot.height / 2.0 {
        plot.y + plot.height - 7.0
    } else {
        let limit = plot.panel.limit.as_ref().map(|limit| plot.outer(limit.value));
        plot.y + if limit.is_some_and(|y| y - plot.y < 24.0) { 34.0 } else { 20.0 }
    };
    let _ = write!(
        out,
        r#"<text class="lab halo" x="10%" y="{}">{}</text>"#,
        coordinate(y, 0),
        escape(&plain(&plot.panel.title, 60))
    );
}

/// Whole minutes are enough on a chart; the page's head has the seconds.
fn length_of(incident: Window) -> String {
    match incident.seconds() {
        seconds if (120.0..7200.0).contains(&seconds) => format!("{:.0} min", (seconds / 60.0).floor()),
        seconds => duration(seconds),
    }
}

struct TopLabel {
    x: f64,
    anchor: &'static str,
    class: &'static str,
    text: String,
    row: usize,
}

/// Names of the marks and of the incident, each in the first row where it runs into no other.
fn top_labels(chart: &Chart<'_>, span: Window) -> Vec<TopLabel> {
    let mut taken: Vec<(usize, f64, f64)> = Vec::new();
    let mut place = |x: f64, from: f64, to: f64, anchor, class, text: String| {
        let free = |row: &usize| !taken.iter().any(|(at, a, b)| at == row && from < *b && *a < to);
        let row = (0..=MOST_MARKS).find(free).unwrap_or(MOST_MARKS);
        taken.push((row, from, to));
        TopLabel { x, anchor, class, text, row }
    };
    let length = |text: &str| text.chars().count() as f64 * CHARACTER;
    let mut labels = Vec::new();
    let shown = shaded(chart.incident, span).filter(|_| !chart.small);
    if let Some((start, end)) = shown {
        let going = if chart.ongoing { " so far" } else { "" };
        let text = format!("incident, {}{going}", length_of(chart.incident));
        let (x, anchor) = if end > 0.5 { (across(end), "end") } else { (across(start), "start") };
        let (from, to) = if end > 0.5 { (x - length(&text), x) } else { (x, x + length(&text)) };
        labels.push(place(x, from, to, anchor, "hi", text));
    }
    for mark in chart.marks.iter().take(MOST_MARKS).filter(|mark| in_span(mark.at, span)) {
        let at = across(share_of(mark.at, span));
        let text = plain(&mark.name, MARK_LIMIT);
        let before = at - length(&text) > 0.0 || at > 0.55;
        let (x, anchor) = if before { (at - 0.008, "end") } else { (at + 0.008, "start") };
        let (from, to) = if before { (x - length(&text), x) } else { (x, x + length(&text)) };
        labels.push(place(x, from, to, anchor, "lab", text));
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::evidence::{Limit, Unit};

    fn panel(points: &[(i64, f64)]) -> Panel {
        let points = points.iter().map(|(at, value)| (UnixNanos::from_seconds(*at), *value)).collect();
        let line = Line { name: "a".into(), role: LineRole::Subject, points };
        Panel { title: "A <b>".into(), unit: Unit::Number, lines: vec![line], limit: None, band: None }
    }

    fn draw(panels: &[Panel]) -> Option<String> {
        let incident = Window::new(UnixNanos::from_seconds(120), UnixNanos::from_seconds(240));
        let marks = [Mark { at: UnixNanos::from_seconds(100), name: "\"<script>".into() }];
        chart(&Chart { panels, incident, marks: &marks, label: "x & y", small: false, ongoing: true })
    }

    #[test]
    fn splits_the_line_at_the_incident_and_at_gaps() {
        let drawn = draw(&[panel(&[(0, 1.0), (60, 1.0), (120, 9.0), (180, 9.0), (600, 9.0), (660, 1.0)])]);
        let drawn = drawn.expect("points");
        assert_eq!(drawn.matches(r#"class="inc""#).count(), 1, "{drawn}");
        assert_eq!(drawn.matches(r#"class="plain""#).count(), 2, "{drawn}");
    }

    #[test]
    fn a_point_by_itself_is_a_dot_where_it_lies_in_the_incident() {
        let drawn = draw(&[panel(&[(180, 9.0)])]).expect("a point");
        assert!(drawn.contains(r#"<path class="inc dot" d="M500 "#) && drawn.contains("h0"), "{drawn}");
        assert!(drawn.contains(">00:02:00<") && drawn.contains(">00:04:00<"), "{drawn}");
    }

    #[test]
    fn hostile_names_and_values_stay_text_and_numbers() {
        let mut hostile = panel(&[(0, f64::NAN), (60, f64::INFINITY), (120, -1.0), (120, 1e300)]);
        hostile.limit = Some(Limit { name: "limit </svg>".into(), value: f64::NAN });
        hostile.band = Some((f64::NAN, 1.0));
        let drawn = draw(&[hostile]).expect("points");
        assert!(!drawn.contains("<script>") && !drawn.contains("</svg> "), "{drawn}");
        assert!(!drawn.contains("NaN") && !drawn.contains("inf\""), "{drawn}");
        assert!(drawn.contains("A &lt;b&gt;") && drawn.contains("x &amp; y"), "{drawn}");
        assert!(draw(&[]).is_none());
        assert!(draw(&[panel(&[])]).is_none());
    }

    #[test]
    fn many_points_are_thinned_but_peaks_stay() {
        let points: Vec<_> = (0..5000).map(|i| (UnixNanos(i), if i == 2500 { 100.0 } else { 1.0 })).collect();
        let thinned = thin(&points);
        assert!(thinned.len() <= MOST_POINTS);
        assert!(thinned.iter().any(|point| point.1 == 100.0));
    }
}
