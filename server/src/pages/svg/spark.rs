//! Sparklines: one line, no axis, the numbers stand beside it.

use super::coordinate;

const WIDTH: f64 = 100.0;
const TOP: f64 = 3.0;
const BOTTOM: f64 = 23.0;
const MOST_POINTS: usize = 60;

/// Draws `values` from zero; those from index `hot` on belong to the incident.
/// `None` when there are fewer than two values.
pub(in crate::pages) fn spark(values: &[f64], hot: Option<usize>) -> Option<String> {
    let group = values.len().div_ceil(MOST_POINTS).max(1);
    let points: Vec<f64> = values
        .chunks(group)
        .map(|chunk| {
            let finite: Vec<f64> = chunk.iter().copied().filter(|value| value.is_finite()).collect();
            finite.iter().sum::<f64>() / finite.len().max(1) as f64
        })
        .collect();
    if points.len() < 2 {
        return None;
    }
    let mean = points.iter().sum::<f64>() / points.len() as f64;
    let high = points.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    // A line that hardly moves lies in the middle.
    let high = if hot.is_none() { high.max(2.0 * mean) } else { high };
    let step = WIDTH / (points.len() - 1) as f64;
    let path = |from: usize, to: usize| {
        let mut text = String::new();
        for (index, value) in points.iter().enumerate().take(to + 1).skip(from) {
            let y = BOTTOM - value.max(0.0) / high * (BOTTOM - TOP);
            text.push(if text.is_empty() { 'M' } else { 'L' });
            text.push_str(&format!("{} {}", coordinate(index as f64 * step, 0), coordinate(y, 1)));
        }
        text
    };
    let last = points.len() - 1;
    let lines = match hot.map(|index| (index / group).min(last)) {
        None => format!(r#"<path class="plain" d="{}"/>"#, path(0, last)),
        Some(0) => format!(r#"<path class="inc" d="{}"/>"#, path(0, last)),
        Some(split) => format!(
            r#"<path class="base" d="{}"/><path class="inc" d="{}"/>"#,
            path(0, split - 1),
            path(split - 1, last)
        ),
    };
    Some(format!(
        r#"<svg class="spark" viewBox="0 0 100 24" preserveAspectRatio="none" aria-hidden="true">{lines}</svg>"#
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_the_line_where_the_incident_begins() {
        let drawn = spark(&[1.0, 1.0, 2.0], Some(2)).expect("three points");
        assert!(drawn.contains(r#"class="base" d="M0 13L50 13"#), "{drawn}");
        assert!(drawn.contains(r#"class="inc" d="M50 13L100 3"#), "{drawn}");
    }

    #[test]
    fn needs_two_points_and_survives_nan() {
        assert!(spark(&[], None).is_none());
        assert!(spark(&[1.0], None).is_none());
        let drawn = spark(&[f64::NAN, f64::INFINITY], Some(9)).expect("two points");
        assert!(!drawn.contains("NaN") && !drawn.contains("inf"), "{drawn}");
    }
}
