//! Drawings: charts, sparklines, flame graphs and waterfalls as SVG text, in percent geometry.
//!
//! The outer drawing is as wide as its place and text is laid over it, so that text never scales. Geometry and colour
//! go by attributes and classes: the pages allow no inline styles. All outside text passes through [`escape`].
//! Deliberately absent: what the drawings mean; that is for their callers to say in words.

pub(super) mod axis;
pub(super) mod chart;
pub(super) mod flame;
pub(super) mod rates;
pub(super) mod spark;
pub(super) mod strip;
pub(super) mod waterfall;

use std::borrow::Cow;

/// Text made safe between tags and in double-quoted attributes.
pub(super) fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(['&', '<', '>', '"', '\'']) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    Cow::Owned(escaped)
}

/// A coordinate with at most `digits` decimals and no trailing zeros.
pub(super) fn coordinate(value: f64, digits: usize) -> String {
    if !value.is_finite() {
        return "0".into();
    }
    let text = format!("{value:.digits$}");
    let text = match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => &text,
    };
    if text == "-0" { "0".into() } else { text.into() }
}

/// A share of the width, 0 to 1, as a percentage.
pub(super) fn width(share: f64) -> String {
    format!("{}%", coordinate(share * 100.0, 2))
}
