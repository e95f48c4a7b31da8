//! Alerts by the hour against the limit that brings them back, and the pages before and after.

use std::fmt::Write as _;

use domain::UnixNanos;

use super::axis;
use super::{coordinate, width};
use domain::evidence::Unit;

/// The left edge of the drawing, as a share of the width.
const LEFT: f64 = 0.06;
const TOP: f64 = 18.0;
const HEIGHT: f64 = 92.0;

/// What is drawn.
pub(in crate::pages) struct Rates<'a> {
    /// The first hour.
    pub start: UnixNanos,
    /// Alerts by hour.
    pub hourly: &'a [f64],
    /// How many in an hour bring it back.
    pub limit: f64,
    /// Hours, counted from the first, in which somebody was paged.
    pub before: &'a [usize],
    /// The same with the suppression.
    pub after: &'a [usize],
    /// The sentence that says all that.
    pub label: &'a str,
}

/// Draws it. The axis holds the limit as well, unless it is so far above that nothing else would show.
pub(in crate::pages) fn rates(rates: &Rates<'_>) -> String {
    let highest = rates.hourly.iter().copied().fold(1.0, f64::max);
    let shows_limit = rates.limit <= highest * 8.0;
    let extent = rates.hourly.iter().copied().chain(shows_limit.then_some(rates.limit));
    let scale = axis::scale(extent, Unit::Number);
    let share = |value: f64| ((value - scale.low) / (scale.high - scale.low)).clamp(0.0, 1.0);
    let y = |value: f64| TOP + HEIGHT * (1.0 - share(value));
    let count = rates.hourly.len().max(2);
    let x = |hour: usize| LEFT + (1.0 - LEFT) * hour as f64 / (count - 1) as f64;

    let mut out = format!(
        r#"<svg class="chart" height="218" role="img" aria-label="{}"><g class="grid">"#,
        super::escape(rates.label)
    );
    for tick in &scale.ticks {
        let at = coordinate(y(*tick), 1);
        let _ = write!(out, r#"<line x1="6%" x2="100%" y1="{at}" y2="{at}"/>"#);
    }
    out.push_str("</g>");
    let _ = write!(
        out,
        r#"<svg x="6%" y="{TOP}" width="94%" height="{HEIGHT}" viewBox="0 0 1000 {HEIGHT}" preserveAspectRatio="none" overflow="visible">"#
    );
    let point = |hour: usize, value: f64| {
        let across = 1000.0 * hour as f64 / (count - 1) as f64;
        format!("{} {}", coordinate(across, 1), coordinate(HEIGHT * (1.0 - share(value)), 1))
    };
    let path = |from: usize, to: usize| {
        let points =
            rates.hourly[from..to].iter().enumerate().map(|(index, value)| point(from + index, *value));
        format!("M{}", points.collect::<Vec<_>>().join("L"))
    };
    let _ = write!(out, r#"<path class="base" d="{}"/>"#, path(0, rates.hourly.len()));
    for (hour, value) in rates.hourly.iter().enumerate() {
        let begins = hour == 0 || rates.hourly[hour - 1] <= rates.limit;
        if *value > rates.limit && begins {
            let above = rates.hourly[hour..].iter().take_while(|value| **value > rates.limit).count();
            let (from, to) = (hour.saturating_sub(1), (hour + above + 1).min(rates.hourly.len()));
            let _ = write!(out, r#"<path class="inc" d="{}"/>"#, path(from, to));
        }
    }
    out.push_str("</svg>");
    let limit = domain::text::number(rates.limit);
    let (limit_y, text) = match shows_limit {
        true => (y(rates.limit), format!("comes back above {limit} per hour")),
        false => (TOP - 4.0, format!("comes back above {limit} per hour, far above this scale")),
    };
    if shows_limit {
        let at = coordinate(limit_y, 1);
        let _ = write!(out, r#"<line class="limit" x1="6%" x2="100%" y1="{at}" y2="{at}"/>"#);
    }
    let _ = write!(
        out,
        r#"<text class="hi halo" x="6.6%" y="{}">{text}</text>"#,
        coordinate((limit_y - 5.0).max(11.0), 1)
    );
    for tick in &scale.ticks {
        let _ = write!(
            out,
            r#"<text x="4.8%" y="{}" text-anchor="end">{}</text>"#,
            coordinate(y(*tick) + 4.0, 1),
            axis::tick(*tick, Unit::Number)
        );
    }
    for (hour, _) in rates.hourly.iter().enumerate() {
        let at = rates.start.plus(std::time::Duration::from_secs(3600 * hour as u64));
        // The middle of each day.
        if at.seconds().rem_euclid(86_400) == 43_200 {
            let day = at.to_timestamp().strftime("%a");
            let _ = write!(out, r#"<text x="{}" y="127" text-anchor="middle">{day}</text>"#, width(x(hour)));
        }
    }
    for (title, pages, top) in
        [("as it was", rates.before, 150.0), ("with this suppression", rates.after, 190.0)]
    {
        let word = if pages.len() == 1 { "page" } else { "pages" };
        let _ = write!(out, r#"<text class="lab" x="6%" y="{top}">{} {word} {title}</text>"#, pages.len());
        let (low, high) = (top + 7.0, top + 19.0);
        let _ = write!(out, r#"<line class="axis" x1="6%" x2="100%" y1="{high}" y2="{high}"/>"#);
        for hour in pages {
            let hot =
                if rates.hourly.get(*hour).is_some_and(|value| *value > rates.limit) { " hot" } else { "" };
            let at = width(x(*hour));
            let _ = write!(out, r#"<line class="pg{hot}" x1="{at}" x2="{at}" y1="{low}" y2="{high}"/>"#);
        }
    }
    out.push_str("</svg>");
    out
}
