//! Where axes are cut and how their cuts are written.

use domain::evidence::Unit;
use domain::text;
use domain::{UnixNanos, Window};

/// The vertical extent of a panel and its cuts, lowest first.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::pages) struct Scale {
    pub low: f64,
    pub high: f64,
    pub ticks: Vec<f64>,
}

/// A share that never falls below this is drawn near the top of its range, where the difference shows.
const ZOOM_RATIO: f64 = 0.5;
const INTERVALS: f64 = 3.0;

/// Fits an axis to `values`, which must include limits and bands. Counts start at zero. Values that are not finite
/// are passed over; without any, the axis runs from 0 to 1.
pub(in crate::pages) fn scale(values: impl Iterator<Item = f64>, unit: Unit) -> Scale {
    let (low, high) = values
        .filter(|value| value.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    if low > high {
        return Scale { low: 0.0, high: 1.0, ticks: vec![0.0, 1.0] };
    }
    if unit == Unit::Ratio && low >= ZOOM_RATIO && high <= 1.0 {
        let step = nice((1.0 - low).max(0.001) / INTERVALS, unit);
        let low = ((low / step).floor() * step).min(1.0 - step);
        return Scale { low, high: 1.0, ticks: ticks(low, 1.0, step) };
    }
    let low = low.min(0.0);
    let high = if high <= low { low + 1.0 } else { high };
    let step = nice((high - low) / INTERVALS, unit);
    let low = (low / step).floor() * step;
    let high = high + (high - low) * 0.05;
    Scale { low, high, ticks: ticks(low, high, step) }
}

/// The next step of 1, 2, 5 times a power of ten (of two, for bytes) that is at least `rough`.
fn nice(rough: f64, unit: Unit) -> f64 {
    if unit == Unit::Bytes {
        return rough.max(1.0).log2().ceil().exp2();
    }
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().find(|step| step * power >= rough * 0.999).unwrap_or(10.0);
    step * power
}

fn ticks(low: f64, high: f64, step: f64) -> Vec<f64> {
    const MOST: usize = 8;
    let first = (low / step).round();
    (0..MOST)
        .map(|index| (first + index as f64) * step)
        .take_while(|tick| *tick <= high + step * 1e-6)
        .collect()
}

/// A value on an axis: short, with its unit.
pub(in crate::pages) fn tick(value: f64, unit: Unit) -> String {
    if value == 0.0 {
        return "0".into();
    }
    match unit {
        Unit::Ratio => format!("{}%", super::coordinate(value * 100.0, 2)),
        Unit::Seconds if value.abs() >= 1.0 && value.abs() < 120.0 => {
            format!("{} s", super::coordinate(value, 2))
        }
        Unit::Seconds => text::seconds(value),
        Unit::Bytes => text::bytes(value),
        Unit::Number | Unit::PerSecond => match value.abs() {
            magnitude if magnitude >= 1e15 => format!("{value:.0e}"),
            magnitude if magnitude >= 1e9 => format!("{} G", super::coordinate(value / 1e9, 2)),
            magnitude if magnitude >= 1e6 => format!("{} M", super::coordinate(value / 1e6, 2)),
            magnitude if magnitude >= 1e4 => format!("{} k", super::coordinate(value / 1e3, 2)),
            magnitude if magnitude >= 0.01 => super::coordinate(value, 2),
            _ => text::number(value),
        },
    }
}

/// A value in words and tables.
pub(in crate::pages) fn value(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Ratio => text::percent(value),
        Unit::Seconds => text::seconds(value),
        Unit::Bytes => text::bytes(value),
        Unit::Number => text::number(value),
        Unit::PerSecond => format!("{}/s", text::number(value)),
    }
}

/// A cut of a time axis: where (0 to 1), what to write, and which side of the text stands there.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::pages) struct TimeTick {
    pub share: f64,
    pub text: String,
    pub anchor: &'static str,
}

const STEPS_SECONDS: [i64; 15] =
    [1, 5, 10, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21_600, 43_200, 86_400];
const MOST_TIME_TICKS: i64 = 5;
/// How much of the axis a character of its labels takes on the narrowest charts.
const CHARACTER: f64 = 0.014;

/// Cuts a time axis: both ends, and round times between.
pub(in crate::pages) fn time_ticks(span: Window) -> Vec<TimeTick> {
    let seconds = span.seconds().max(1.0);
    let form = match seconds {
        s if s <= 300.0 => "%H:%M:%S",
        s if s <= 2.0 * 86_400.0 => "%H:%M",
        _ => "%-d %b",
    };
    let write = |at: UnixNanos| at.to_timestamp().strftime(form).to_string();
    // Half of a label stands on either side of its cut, the whole of those at the ends within the axis: with a space between.
    let clear = (1.5 * write(span.end).chars().count() as f64 + 1.0) * CHARACTER;
    let step = STEPS_SECONDS
        .into_iter()
        .find(|step| seconds as i64 / step <= MOST_TIME_TICKS)
        .unwrap_or_else(|| (seconds as i64 / MOST_TIME_TICKS / 86_400 + 1) * 86_400);
    let first = span.start.seconds().div_euclid(step) * step;
    let inner = (1..=MOST_TIME_TICKS + 1).filter_map(|index| {
        let at = UnixNanos::from_seconds(first + index * step);
        let share = at.seconds_since(span.start) / seconds;
        (clear < share && share < 1.0 - clear).then(|| TimeTick { share, text: write(at), anchor: "middle" })
    });
    let ends = |share, at, anchor| TimeTick { share, text: write(at), anchor };
    std::iter::once(ends(0.0, span.start, "start")).chain(inner).chain([ends(1.0, span.end, "end")]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(values: &[f64], unit: Unit, expected: &[&str]) {
        let scale = scale(values.iter().copied(), unit);
        let written: Vec<_> = scale.ticks.iter().map(|tick_value| tick(*tick_value, unit)).collect();
        assert_eq!(written, expected, "{values:?}");
        let inside = |value: &f64| !value.is_finite() || (scale.low <= *value && *value <= scale.high);
        assert!(values.iter().all(inside), "{values:?} in {scale:?}");
    }

    #[test]
    fn axes_start_at_zero_but_for_shares_near_one() {
        check(&[0.999, 0.921], Unit::Ratio, &["90%", "95%", "100%"]);
        check(&[0.0, 0.079], Unit::Ratio, &["0", "5%"]);
        check(&[0.232, 1.98], Unit::Seconds, &["0", "1 s", "2 s"]);
        check(&[3.0, 20.0], Unit::Number, &["0", "10", "20"]);
        check(&[0.0, 300.0 * 1024.0 * 1024.0], Unit::Bytes, &["0", "128 MiB", "256 MiB"]);
    }

    #[test]
    fn axes_of_nothing_and_of_one_value_still_have_an_extent() {
        check(&[], Unit::Number, &["0", "1"]);
        check(&[f64::NAN, f64::INFINITY], Unit::Number, &["0", "1"]);
        check(&[0.0, 0.0], Unit::Number, &["0", "0.5", "1"]);
        check(&[1.0, 1.0], Unit::Ratio, &["99.95%", "100%"]);
        check(&[-3.0, 5.0], Unit::Number, &["-5", "0", "5"]);
    }

    #[test]
    fn time_axes_are_cut_at_round_times() {
        let span =
            Window::new(UnixNanos::from_seconds(1_795_095_000), UnixNanos::from_seconds(1_795_098_060));
        let texts: Vec<_> = time_ticks(span).into_iter().map(|tick| tick.text).collect();
        assert_eq!(texts, ["13:30", "13:40", "13:50", "14:00", "14:10", "14:21"]);
        let empty = Window::new(UnixNanos(0), UnixNanos(0));
        assert_eq!(time_ticks(empty).len(), 2);
        let short = Window::new(UnixNanos::from_seconds(26), UnixNanos::from_seconds(46));
        let texts: Vec<_> = time_ticks(short).into_iter().map(|tick| tick.text).collect();
        assert_eq!(
            texts,
            ["00:00:26", "00:00:30", "00:00:35", "00:00:40", "00:00:46"],
            "45 would run into 46"
        );
    }
}
