//! The latency flame graph of a window against its baseline.
//!
//! Width is time in the window; colour is how a frame's own time (not covered by its children) moved, so that the
//! darkest frames are where the added time is spent. Frames are links: the one picked stands in the address.

use std::fmt::Write;

use domain::evidence::Frame;
use domain::text::{plain, seconds};

use super::{coordinate, escape, width};

const ROW: f64 = 25.0;
const MOST_DEPTH: u32 = 20;
/// Narrower frames cannot be read or clicked.
const NARROWEST: f64 = 0.003;
const MOST_FRAMES: usize = 160;
/// Steps of change of a frame's own time, as shares of the entry's duration.
const STEPS: [f64; 3] = [0.008, 0.06, 0.15];

/// Where a frame lies, as shares of the width.
#[derive(Clone, Copy, Debug)]
struct Place {
    left: f64,
    width: f64,
}

/// A drawn flame graph.
pub(in crate::pages) struct Flame {
    /// The drawing.
    pub svg: String,
    /// Frames that were too narrow, too deep or too many to draw.
    pub omitted: usize,
}

/// Draws `frames` with `selected` marked; `None` without frames or without time.
pub(in crate::pages) fn flame(
    frames: &[Frame],
    selected: usize,
    href: impl Fn(usize) -> String,
    label: &str,
) -> Option<Flame> {
    let total = frames.first().map(|root| root.now_ms).filter(|total| total.is_finite() && *total > 0.0)?;
    let places = layout(frames, total);
    let drawn: Vec<usize> = (0..frames.len())
        .filter(|index| places[*index].width >= NARROWEST && frames[*index].depth <= MOST_DEPTH)
        .take(MOST_FRAMES)
        .collect();
    let deepest = drawn.iter().map(|index| frames[*index].depth).max().unwrap_or(0);
    let mut out = String::with_capacity(300 * drawn.len());
    let _ = write!(
        out,
        r#"<svg class="flame" height="{}" role="group" aria-label="{}">"#,
        coordinate(f64::from(deepest + 1) * ROW, 0),
        escape(label)
    );
    for index in &drawn {
        frame(&mut out, frames, *index, places[*index], total, *index == selected, &href(*index));
    }
    out.push_str("</svg>");
    Some(Flame { svg: out, omitted: frames.len() - drawn.len() })
}

fn frame(
    out: &mut String,
    frames: &[Frame],
    index: usize,
    place: Place,
    total: f64,
    selected: bool,
    href: &str,
) {
    let frame = &frames[index];
    let name = escape(&name(frames, index)).into_owned();
    let number = if index == 0 { seconds(frame.now_ms / 1e3) } else { change(frame) };
    let mut class = shade(frame, total).to_owned();
    if selected {
        class.push_str(" on");
    }
    let _ = write!(
        out,
        r#"<svg x="{}" y="{}" width="{}" height="25"{}><a href="{}"{}><title>{name}{}{number}</title><rect width="100%" height="25" rx="2"/><foreignObject width="100%" height="25"><div class="fl"><span>{name}</span><em>{number}</em></div></foreignObject></a></svg>"#,
        width(place.left),
        coordinate(f64::from(frame.depth) * ROW, 0),
        width(place.width),
        if class.is_empty() { String::new() } else { format!(r#" class="{}""#, class.trim()) },
        escape(href),
        if selected { r#" aria-current="true""# } else { "" },
        if number.is_empty() { "" } else { ", " },
    );
}

/// The name on a frame: its service only where it differs from the frame above, its number of calls if several.
pub(in crate::pages) fn name(frames: &[Frame], index: usize) -> String {
    let frame = &frames[index];
    let above = frames.get(frame.parent as usize).filter(|_| index > 0);
    let service = match above {
        Some(above) if above.service != frame.service => format!("{}  ", plain(&frame.service, 40)),
        _ => String::new(),
    };
    let calls = match frame.calls_now {
        calls if calls >= 1.5 => format!("  × {}", calls_text(calls)),
        _ => String::new(),
    };
    format!("{service}{}{calls}", plain(&frame.name, 80))
}

/// Calls per request: whole numbers when there are many.
pub(in crate::pages) fn calls_text(calls: f64) -> String {
    match calls {
        calls if !calls.is_finite() => "–".into(),
        calls if calls >= 9.5 => domain::text::count(calls.round() as i64),
        calls => coordinate(calls, 1),
    }
}

/// The change of a frame's time: `+1.57 s`, `−21 ms`, or nothing when there is none worth a word.
pub(in crate::pages) fn change(frame: &Frame) -> String {
    let change = (frame.now_ms - frame.before_ms) / 1e3;
    if !change.is_finite() || change.abs() < 0.0005 {
        return String::new();
    }
    format!("{}{}", if change < 0.0 { '−' } else { '+' }, seconds(change.abs()))
}

/// The frame whose own time grew most: the one to look at first.
pub(in crate::pages) fn most_grown(frames: &[Frame]) -> usize {
    let grown = |frame: &Frame| frame.self_now_ms - frame.self_before_ms;
    (0..frames.len()).max_by(|a, b| grown(&frames[*a]).total_cmp(&grown(&frames[*b]))).unwrap_or(0)
}

fn shade(frame: &Frame, total: f64) -> &'static str {
    if frame.depth == 0 {
        return "";
    }
    let own = (frame.self_now_ms - frame.self_before_ms) / total;
    let whole = (frame.now_ms - frame.before_ms) / total;
    let step = STEPS.iter().filter(|step| own.abs() >= **step).count();
    match (own > 0.0, step) {
        (true, 3) => "w3",
        (true, 2) => "w2",
        (true, 1) => "w1",
        (false, 3) => "n3",
        (false, 2) => "n2",
        (false, 1) => "n1",
        // Its own time stood still, but something below it grew.
        _ if whole >= STEPS[1] => "w1",
        _ => "",
    }
}

/// Children stand side by side under their parent. Calls made at the same time can add up to more than their parent;
/// they are then drawn narrower, so that no frame leaves its parent's edges.
fn layout(frames: &[Frame], total: f64) -> Vec<Place> {
    let mut children: Vec<f64> = vec![0.0; frames.len()];
    for (index, frame) in frames.iter().enumerate().skip(1) {
        if let Some(sum) = children.get_mut(parent(frame, index)) {
            *sum += frame.now_ms.max(0.0);
        }
    }
    let mut places = vec![Place { left: 0.0, width: 1.0 }; frames.len()];
    let mut used = vec![0.0; frames.len()];
    for (index, frame) in frames.iter().enumerate().skip(1) {
        let above = parent(frame, index);
        let room = places[above].width;
        let sum = children[above] / total;
        let squeeze = if sum > room { room / sum } else { 1.0 };
        let width = (frame.now_ms.max(0.0) / total * squeeze).min(room - used[above]).max(0.0);
        places[index] = Place { left: places[above].left + used[above], width };
        used[above] += width;
    }
    places
}

/// A frame's parent always comes before it; anything else hangs from the root.
fn parent(frame: &Frame, index: usize) -> usize {
    let parent = frame.parent as usize;
    if parent < index { parent } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(depth: u32, parent: u32, now_ms: f64, before_ms: f64) -> Frame {
        Frame {
            depth,
            parent,
            service: "a".into(),
            name: "<b>".into(),
            detail: String::new(),
            now_ms,
            before_ms,
            self_now_ms: now_ms,
            self_before_ms: before_ms,
            calls_now: 1.0,
            calls_before: 1.0,
            errors_now: 0.0,
        }
    }

    #[test]
    fn children_stay_within_their_parent_even_when_they_overlap() {
        let frames = [frame(0, 0, 100.0, 50.0), frame(1, 0, 80.0, 1.0), frame(1, 0, 80.0, 80.0)];
        let places = layout(&frames, 100.0);
        assert_eq!(places[1].width + places[2].width, 1.0);
        assert_eq!(places[2].left, 0.5);
    }

    #[test]
    fn survives_bad_parents_and_bad_numbers() {
        let frames = [frame(0, 9, 10.0, 1.0), frame(1, 7, f64::NAN, 1.0), frame(900, 1, -5.0, 1.0)];
        let drawn = flame(&frames, 0, |index| format!("?frame={index}\""), "x").expect("a root");
        assert!(!drawn.svg.contains("NaN") && !drawn.svg.contains("<b>"), "{}", drawn.svg);
        assert!(drawn.svg.contains("?frame=0&quot;"), "{}", drawn.svg);
        assert_eq!(drawn.omitted, 2);
        assert!(flame(&[], 0, |_| String::new(), "x").is_none());
        assert!(flame(&[frame(0, 0, 0.0, 0.0)], 0, |_| String::new(), "x").is_none());
    }
}
