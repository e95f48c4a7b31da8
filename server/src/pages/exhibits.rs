//! What a card draws: one view per kind of exhibit, with every list cut to a named bound.

use domain::evidence::{
    ErrorCause, Exhibit, Frame, LineRole, LogPattern, Mark, Panel, PatternMove, SkewRow, Trace,
};
use domain::text::{percent, plain, seconds};
use domain::{Change, Evidence, EvidenceKind, UnixNanos, Window};
use serde::Serialize;

use super::evidence::Around;
use super::svg::axis;
use super::svg::chart::{self, Chart, chart};
use super::svg::flame;
use super::svg::spark::spark;
use super::svg::width;
use super::templates::Svg;
use super::trace::{Waterfall, waterfall};
use super::words::{Cut, Head, State, Table, count, cut, short_time};

const MOST_CAUSES: usize = 12;
const MOST_PATTERNS: usize = 10;
const MOST_SKEWS: usize = 12;
const MOST_ROWS: usize = 40;
const MOST_COLUMNS: usize = 8;
const MOST_CHART_ROWS: usize = 24;
const MOST_KEYS: usize = 5;
const CELL_LIMIT: usize = 120;
const SAMPLE_LIMIT: usize = 400;
/// Characters of a trace id that are shown.
pub(super) const SHORT_ID: usize = 8;

/// What a card draws.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Drawing {
    None,
    Charts { charts: Vec<SmallChart>, keys: Vec<Key>, table: Table },
    Causes { rows: Vec<CauseRow>, failing: String, omitted: usize },
    Latency(Box<LatencyView>),
    Patterns { rows: Vec<PatternRow>, samples: Vec<Sample>, omitted: usize },
    Skew { rows: Vec<SkewView>, bad: String, good: String, omitted: usize },
    Change { rows: Vec<(&'static str, Cut)> },
    Table { table: Table },
}

impl Drawing {
    pub(super) fn is_wide(&self) -> bool {
        match self {
            Self::Charts { charts, .. } => charts.len() > 1,
            Self::Causes { .. } | Self::Latency(_) | Self::Patterns { .. } => true,
            Self::Table { table } => table.heads.len() > 4,
            Self::None | Self::Skew { .. } | Self::Change { .. } => false,
        }
    }
}

/// A chart and the title that stands over it; one alone carries its titles inside.
#[derive(Serialize)]
pub(super) struct SmallChart {
    title: String,
    svg: Svg,
}

/// An entry of a legend.
#[derive(Serialize)]
pub(super) struct Key {
    class: &'static str,
    name: String,
}

#[derive(Serialize)]
pub(super) struct CauseRow {
    service: Cut,
    place: Cut,
    error: Cut,
    exception: Cut,
    before: String,
    now: String,
    hot: bool,
    share: String,
    trace: String,
    trace_href: String,
}

#[derive(Serialize)]
pub(super) struct LatencyView {
    flame: Option<Svg>,
    omitted: usize,
    detail: Option<FrameDetail>,
    table: Table,
    sample: Option<Waterfall>,
    trace_href: String,
}

#[derive(Serialize)]
struct FrameDetail {
    title: Cut,
    text: String,
}

#[derive(Serialize)]
pub(super) struct PatternRow {
    state: State,
    /// The template, cut where it varies: each piece but the first follows a `<*>`.
    pieces: Vec<String>,
    source: String,
    spark: Option<Svg>,
    before: String,
    now: String,
}

#[derive(Serialize)]
pub(super) struct Sample {
    source: String,
    text: String,
}

#[derive(Serialize)]
pub(super) struct SkewView {
    name: Cut,
    bad_width: String,
    good_width: String,
    bad: String,
    good: String,
}

/// Turns an exhibit into its view. One with nothing to show is left out, never faked.
pub(super) fn drawing(evidence: &Evidence, around: &Around<'_>) -> Drawing {
    match &evidence.exhibit {
        Exhibit::None => Drawing::None,
        Exhibit::Panels { panels, incident, marks } => charts(evidence, panels, *incident, marks, around),
        Exhibit::ErrorCauses { causes, failing_traces } => Drawing::Causes {
            rows: causes.iter().take(MOST_CAUSES).map(|cause| cause_row(cause, around.base)).collect(),
            failing: count(*failing_traces),
            omitted: causes.len().saturating_sub(MOST_CAUSES),
        },
        Exhibit::Latency { operation, frames, sample } => {
            Drawing::Latency(Box::new(latency(evidence, operation, frames, sample.as_ref(), around)))
        }
        Exhibit::LogPatterns { patterns } => Drawing::Patterns {
            rows: patterns
                .iter()
                .take(MOST_PATTERNS)
                .map(|row| pattern(row, evidence.window.start))
                .collect(),
            samples: patterns.iter().take(MOST_PATTERNS).filter_map(sample_line).collect(),
            omitted: patterns.len().saturating_sub(MOST_PATTERNS),
        },
        Exhibit::Skew { bad, good, rows } => Drawing::Skew {
            rows: rows.iter().take(MOST_SKEWS).map(skew).collect(),
            bad: count(*bad),
            good: count(*good),
            omitted: rows.len().saturating_sub(MOST_SKEWS),
        },
        Exhibit::Change { change } => Drawing::Change { rows: change_rows(change) },
        Exhibit::Table { columns, rows } => {
            table(columns, rows).map_or(Drawing::None, |table| Drawing::Table { table })
        }
    }
}

fn charts(
    evidence: &Evidence,
    panels: &[Panel],
    incident: Window,
    marks: &[Mark],
    around: &Around<'_>,
) -> Drawing {
    let side_by_side = panels.len() == 2 && evidence.kind != EvidenceKind::ServiceLevel;
    let draw = |panels: &[Panel]| {
        let label = sentence(evidence, panels, incident);
        let drawn =
            Chart { panels, incident, marks, label: &label, small: side_by_side, ongoing: around.ongoing };
        chart(&drawn).map(Svg)
    };
    let charts: Vec<SmallChart> = if side_by_side {
        let one = |panel: &Panel| {
            Some(SmallChart { title: plain(&panel.title, 80), svg: draw(std::slice::from_ref(panel))? })
        };
        panels.iter().filter_map(one).collect()
    } else {
        draw(panels).into_iter().map(|svg| SmallChart { title: String::new(), svg }).collect()
    };
    if charts.is_empty() {
        return Drawing::None;
    }
    Drawing::Charts { charts, keys: keys(panels), table: points_table(panels) }
}

/// What a chart shows, in a sentence: for those who do not see it.
fn sentence(evidence: &Evidence, panels: &[Panel], incident: Window) -> String {
    let span = chart::span(panels, incident).unwrap_or(incident);
    let mut text = format!(
        "{} Chart from {} to {} UTC, incident from {}.",
        plain(&evidence.claim, 240),
        short_time(span.start, span.start),
        short_time(span.end, span.start),
        incident.start.clock_time()
    );
    for panel in panels.iter().take(chart::MOST_PANELS) {
        let subject = |line: &&domain::evidence::Line| line.role == LineRole::Subject;
        let Some(line) = panel.lines.iter().find(subject).or(panel.lines.first()) else { continue };
        let middle = |inside: bool| {
            let within =
                |point: &&(UnixNanos, f64)| incident.contains(point.0) == inside && point.1.is_finite();
            let mut values: Vec<f64> = line.points.iter().filter(within).map(|point| point.1).collect();
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).map(|value| axis::value(*value, panel.unit))
        };
        let (before, during) = (middle(false), middle(true));
        text.push_str(&match (before, during) {
            (Some(before), Some(during)) => {
                format!(" {}: usually {before}, in the incident {during}.", plain(&panel.title, 80))
            }
            (Some(value), None) | (None, Some(value)) => {
                format!(" {}: usually {value}.", plain(&panel.title, 80))
            }
            (None, None) => String::new(),
        });
    }
    text
}

fn keys(panels: &[Panel]) -> Vec<Key> {
    let mut keys: Vec<Key> = Vec::new();
    if panels.iter().any(|panel| panel.band.is_some()) {
        keys.push(Key { class: "f-band", name: "Usual range".into() });
    }
    if panels.iter().all(|panel| panel.lines.len() <= 1) {
        keys.push(Key { class: "f-inc", name: "Incident".into() });
        return keys;
    }
    for line in panels.iter().flat_map(|panel| panel.lines.iter().take(chart::MOST_LINES)) {
        let class = if line.role == LineRole::Subject { "f-inc" } else { "f-base" };
        let name = plain(&line.name, 60);
        if !name.is_empty() && !keys.iter().any(|key| key.class == class && key.name == name) {
            keys.push(Key { class, name });
        }
    }
    let more = keys.len().saturating_sub(MOST_KEYS);
    keys.truncate(MOST_KEYS);
    if more > 0 {
        keys.push(Key { class: "f-base", name: format!("and {more} more") });
    }
    keys
}

/// The points of the panels, evenly thinned, as a table.
pub(super) fn points_table(panels: &[Panel]) -> Table {
    let lines: Vec<(&Panel, &domain::evidence::Line)> =
        panels.iter().flat_map(|panel| panel.lines.iter().map(move |line| (panel, line))).collect();
    let shown = &lines[..lines.len().min(MOST_COLUMNS - 1)];
    let mut times: Vec<UnixNanos> =
        shown.iter().flat_map(|(_, line)| line.points.iter().map(|point| point.0)).collect();
    times.sort_unstable();
    times.dedup();
    let step = times.len().div_ceil(MOST_CHART_ROWS).max(1);
    let form = if step == 1 || times.len() < 2 { "%H:%M:%S" } else { "%H:%M" };
    let head = |(panel, line): &(&Panel, &domain::evidence::Line)| {
        let name = match panel.lines.len() {
            1 => plain(&panel.title, 40),
            _ => format!("{}: {}", plain(&panel.title, 30), plain(&line.name, 30)),
        };
        Head { name, num: true }
    };
    let rows = times.iter().step_by(step).map(|at| {
        let value = |(panel, line): &(&Panel, &domain::evidence::Line)| {
            let found = line.points.binary_search_by_key(at, |point| point.0).ok();
            cut(&found.map_or("–".into(), |index| axis::value(line.points[index].1, panel.unit)), 40)
        };
        let time = cut(&at.to_timestamp().strftime(form).to_string(), 40);
        std::iter::once(time).chain(shown.iter().map(value)).collect()
    });
    let mut note = Vec::new();
    if step > 1 {
        note.push(format!("One of every {step} points."));
    }
    if lines.len() > shown.len() {
        note.push(format!("{} more lines are left out.", lines.len() - shown.len()));
    }
    Table {
        heads: std::iter::once(Head { name: "Time, UTC".into(), num: false })
            .chain(shown.iter().map(head))
            .collect(),
        rows: rows.collect(),
        note: note.join(" "),
    }
}

fn cause_row(cause: &ErrorCause, base: &str) -> CauseRow {
    let place = match cause.peer.as_str() {
        "" => cause.span_name.clone(),
        peer => format!("{} → {}", plain(&cause.span_name, 80), peer),
    };
    let message = if cause.message.is_empty() { "no message" } else { &cause.message };
    CauseRow {
        service: cut(&cause.service, 60),
        place: cut(&place, 90),
        error: cut(message, 160),
        exception: cut(&cause.exception, 80),
        before: domain::text::number(cause.before.round()),
        now: count(cause.now),
        hot: cause.now as f64 > 2.0 * cause.before + 1.0,
        share: percent(cause.share),
        trace: cause.sample_trace.chars().take(SHORT_ID).collect(),
        trace_href: trace_href(base, &cause.sample_trace),
    }
}

/// The address of a trace; empty when its id is none, so that nothing foreign gets into a link.
fn trace_href(base: &str, trace_id: &str) -> String {
    let valid =
        !trace_id.is_empty() && trace_id.len() <= 64 && trace_id.bytes().all(|b| b.is_ascii_alphanumeric());
    if valid { format!("{base}/traces/{trace_id}") } else { String::new() }
}

fn latency(
    evidence: &Evidence,
    operation: &str,
    frames: &[Frame],
    sample: Option<&Trace>,
    around: &Around<'_>,
) -> LatencyView {
    let grown = flame::most_grown(frames);
    let selected = around.frame.map_or(grown, |frame| frame as usize);
    let selected = if selected < frames.len() { selected } else { grown };
    let label = format!(
        "Latency flame graph of {}, incident against baseline. {}",
        plain(operation, 80),
        plain(&evidence.claim, 240)
    );
    let href = |index: usize| format!("?frame={index}#e{}", evidence.id.0);
    let drawn = flame::flame(frames, selected, href, &label);
    LatencyView {
        omitted: drawn.as_ref().map_or(0, |drawn| drawn.omitted),
        flame: drawn.map(|drawn| Svg(drawn.svg)),
        detail: frames.get(selected).map(|_| frame_detail(frames, selected)),
        table: frames_table(frames),
        sample: sample.map(waterfall),
        trace_href: sample.map_or(String::new(), |trace| trace_href(around.base, &trace.trace_id)),
    }
}

fn frame_detail(frames: &[Frame], index: usize) -> FrameDetail {
    let frame = &frames[index];
    let title = if frame.detail.is_empty() { &frame.name } else { &frame.detail };
    let ms = |value: f64| seconds(value / 1e3);
    let mut text = plain(&frame.service, 60);
    if let Some(above) = frames.get(frame.parent as usize).filter(|_| index > 0) {
        text.push_str(&format!(", called by {} {}", plain(&above.service, 60), plain(&above.name, 80)));
    }
    text.push_str(&format!(
        ". {} → {} per request, {} → {} calls.",
        ms(frame.before_ms),
        ms(frame.now_ms),
        flame::calls_text(frame.calls_before),
        flame::calls_text(frame.calls_now)
    ));
    if frame.calls_before > 0.0 && frame.calls_now > 0.0 {
        let (before, now) = (frame.before_ms / frame.calls_before, frame.now_ms / frame.calls_now);
        let same = (now - before).abs() <= 0.15 * before.max(0.01);
        text.push_str(&match same {
            true => format!(" Each call takes as long as before, {}.", ms(now)),
            false => format!(" Each call {} → {}.", ms(before), ms(now)),
        });
    }
    if frame.errors_now > 0.0 {
        text.push_str(&format!(" {} of calls fail.", percent(frame.errors_now)));
    }
    FrameDetail { title: cut(title, 200), text }
}

fn frames_table(frames: &[Frame]) -> Table {
    let mut order: Vec<usize> = (0..frames.len()).collect();
    let moved = |index: &usize| (frames[*index].self_now_ms - frames[*index].self_before_ms).abs();
    order.sort_by(|a, b| moved(b).total_cmp(&moved(a)));
    let row = |index: usize| {
        let frame = &frames[index];
        let ms = |value: f64| cut(&seconds(value / 1e3), 20);
        let calls =
            format!("{} → {}", flame::calls_text(frame.calls_before), flame::calls_text(frame.calls_now));
        vec![
            cut(&format!("{} {}", plain(&frame.service, 40), plain(&frame.name, 60)), 110),
            ms(frame.before_ms),
            ms(frame.now_ms),
            ms(frame.self_before_ms),
            ms(frame.self_now_ms),
            cut(&calls, 40),
        ]
    };
    Table {
        heads: heads(&["Call", "Before", "Now", "Own time before", "Own time now", "Calls"], 1),
        rows: order.iter().take(MOST_CHART_ROWS).map(|index| row(*index)).collect(),
        note: left_out(frames.len(), MOST_CHART_ROWS),
    }
}

fn heads(names: &[&str], words: usize) -> Vec<Head> {
    let head = |(index, name): (usize, &&str)| Head { name: (*name).to_owned(), num: index >= words };
    names.iter().enumerate().map(head).collect()
}

fn left_out(all: usize, shown: usize) -> String {
    match all.saturating_sub(shown) {
        0 => String::new(),
        more => format!("{more} more are left out."),
    }
}

fn pattern(pattern: &LogPattern, incident: UnixNanos) -> PatternRow {
    let values: Vec<f64> = pattern.counts.iter().map(|(_, value)| *value).collect();
    let hot = pattern.counts.iter().position(|(at, _)| *at >= incident);
    let mut source = vec![plain(&pattern.service, 60)];
    source.extend(severity(pattern.severity).map(str::to_owned));
    if !pattern.logger.is_empty() {
        source.push(plain(&pattern.logger, 60));
    }
    if pattern.now > 0 {
        source.push(format!("first {}", pattern.first_seen.clock_time()));
    }
    PatternRow {
        state: match pattern.movement {
            PatternMove::New => State::new("st-crit", "i-up", "New"),
            PatternMove::Spiking => State::new("st-crit", "i-up", "Spiking"),
            PatternMove::Gone => State::new("st-none", "i-none", "Gone"),
        },
        pieces: plain(&pattern.template, 240).split("<*>").map(str::to_owned).collect(),
        source: source.join(", "),
        spark: spark(&values, hot).map(Svg),
        before: domain::text::number(pattern.before.round()),
        now: count(pattern.now),
    }
}

fn sample_line(pattern: &LogPattern) -> Option<Sample> {
    (!pattern.sample.is_empty())
        .then(|| Sample { source: plain(&pattern.service, 60), text: plain(&pattern.sample, SAMPLE_LIMIT) })
}

/// The word for an OpenTelemetry severity number.
const fn severity(number: u8) -> Option<&'static str> {
    match number {
        1..=4 => Some("trace"),
        5..=8 => Some("debug"),
        9..=12 => Some("info"),
        13..=16 => Some("warning"),
        17..=20 => Some("error"),
        21..=24 => Some("fatal"),
        _ => None,
    }
}

fn skew(row: &SkewRow) -> SkewView {
    SkewView {
        name: cut(&row.name, 100),
        bad_width: width(row.bad.clamp(0.0, 1.0)),
        good_width: width(row.good.clamp(0.0, 1.0)),
        bad: percent(row.bad),
        good: percent(row.good),
    }
}

fn change_rows(change: &Change) -> Vec<(&'static str, Cut)> {
    let version = match (change.previous.is_empty(), change.version.is_empty()) {
        (false, false) => format!("{} → {}", plain(&change.previous, 80), change.version),
        _ => change.version.clone(),
    };
    let source = match change.source.as_str() {
        "api" => "the changes API",
        "telemetry" => "the version in the telemetry",
        other => other,
    };
    [
        ("What", change.kind.as_str().replace('_', " ")),
        ("Service", change.service.clone()),
        ("Version", version),
        ("Time", format!("{} UTC", change.at.clock_time())),
        ("Reference", change.reference.clone()),
        ("Detail", change.detail.clone()),
        ("Known from", source.to_owned()),
    ]
    .into_iter()
    .filter(|(_, value)| !value.is_empty())
    .map(|(name, value)| (name, cut(&value, 200)))
    .collect()
}

fn table(columns: &[String], rows: &[Vec<String>]) -> Option<Table> {
    if columns.is_empty() || rows.is_empty() {
        return None;
    }
    let columns = &columns[..columns.len().min(MOST_COLUMNS)];
    let numeric = |column: usize| {
        let is_number = |cell: &String| {
            cell.len() <= 24 && cell.starts_with(|c: char| c.is_ascii_digit() || "+-−–<×".contains(c))
        };
        column > 0 && rows.iter().filter_map(|row| row.get(column)).all(is_number)
    };
    let head = |(index, name): (usize, &String)| Head { name: plain(name, 60), num: numeric(index) };
    let cells = |row: &Vec<String>| {
        (0..columns.len()).map(|column| cut(row.get(column).map_or("", String::as_str), CELL_LIMIT)).collect()
    };
    Some(Table {
        heads: columns.iter().enumerate().map(head).collect(),
        rows: rows.iter().take(MOST_ROWS).map(cells).collect(),
        note: left_out(rows.len(), MOST_ROWS),
    })
}
