//! Numbers and outside text made fit for a person to read. One place, so that pages, terminal and Markdown agree.

/// Seconds with a fitting unit: `84 ms`, `1.98 s`, `240 µs`.
pub fn seconds(value: f64) -> String {
    let magnitude = value.abs();
    if !value.is_finite() {
        "–".into()
    } else if magnitude == 0.0 {
        "0 ms".into()
    } else if magnitude < 0.001 {
        format!("{:.0} µs", value * 1e6)
    } else if magnitude < 0.01 {
        format!("{:.1} ms", value * 1e3)
    } else if magnitude < 1.0 {
        format!("{:.0} ms", value * 1e3)
    } else if magnitude < 10.0 {
        format!("{value:.2} s")
    } else if magnitude < 120.0 {
        format!("{value:.1} s")
    } else {
        format!("{:.1} min", value / 60.0)
    }
}

/// A share in percent, with as many digits as keep it honest: `99.95%` is not rounded to `100%`.
pub fn percent(ratio: f64) -> String {
    if !ratio.is_finite() {
        return "–".into();
    }
    let value = ratio * 100.0;
    let digits = if value == value.round() {
        0
    } else if value.abs() > 99.0 || value.abs() < 0.1 {
        2
    } else {
        1
    };
    match format!("{value:.digits$}").as_str() {
        "100.00" => "99.99%".into(),
        "0.00" => "0.01%".into(),
        // 99.90 says no more than 99.9.
        text => format!("{}%", text.strip_suffix('0').filter(|_| digits == 2).unwrap_or(text)),
    }
}

/// A number to three significant digits, thousands set apart by a thin gap: `1 613`, `18.4`, `0.012`.
pub fn number(value: f64) -> String {
    let magnitude = value.abs();
    if !value.is_finite() {
        "–".into()
    } else if magnitude >= 1000.0 || value == value.round() {
        count(value.round() as i64)
    } else if magnitude >= 100.0 {
        format!("{value:.0}")
    } else if magnitude >= 10.0 {
        format!("{value:.1}")
    } else if magnitude >= 0.01 {
        format!("{value:.2}")
    } else if magnitude >= 0.0001 {
        let digits = if magnitude >= 0.001 { 4 } else { 5 };
        format!("{value:.digits$}").trim_end_matches('0').to_owned()
    } else {
        format!("{value:.1e}")
    }
}

/// A whole number with its thousands set apart: `20 424`.
pub fn count(value: i64) -> String {
    let digits = value.unsigned_abs().to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3 + 1);
    if value < 0 {
        text.push('−');
    }
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// Bytes in binary units: `35 MiB`.
pub fn bytes(value: f64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut scaled = value;
    let mut unit = 0;
    while scaled.abs() >= 1024.0 && unit + 1 < UNITS.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    format!("{} {}", number(scaled), UNITS[unit])
}

/// A length of time for people: `18 m 29 s`, `2 h 5 m`, `9 s`.
pub fn duration(seconds: f64) -> String {
    let total = seconds.abs().round() as u64;
    let (days, hours, minutes, rest) = (total / 86_400, total / 3600 % 24, total / 60 % 60, total % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{rest} s"),
        (0, 0, _) => format!("{minutes} m {rest} s"),
        (0, _, _) => format!("{hours} h {minutes} m"),
        _ => format!("{days} d {hours} h"),
    }
}

/// Outside text cut to `limit` characters (an ellipsis marks the cut), with control, zero-width and bidirectional
/// characters removed, so that it can neither flood nor reorder what stands around it.
pub fn plain(text: &str, limit: usize) -> String {
    let mut kept = String::new();
    let mut length = 0;
    for character in text.chars() {
        let character = match character {
            '\n' | '\r' | '\t' => ' ',
            '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' => {
                continue;
            }
            other if other.is_control() => continue,
            other => other,
        };
        if length == limit {
            kept.push('…');
            break;
        }
        kept.push(character);
        length += 1;
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_numbers_as_people_read_them() {
        assert_eq!(seconds(0.0843), "84 ms");
        assert_eq!(seconds(1.984), "1.98 s");
        assert_eq!(seconds(f64::NAN), "–");
        assert_eq!(percent(0.9995), "99.95%");
        assert_eq!(percent(0.99999), "99.99%");
        assert_eq!(percent(1.0), "100%");
        assert_eq!(percent(0.079), "7.9%");
        assert_eq!(percent(0.000_001), "0.01%");
        assert_eq!(count(20_424), "20\u{202f}424");
        assert_eq!(number(18.42), "18.4");
        assert_eq!(number(0.0023), "0.0023");
        assert_eq!(number(0.005), "0.005");
        assert_eq!(number(0.00017), "0.00017");
        assert_eq!(number(0.000_017), "1.7e-5");
        assert_eq!(duration(1109.0), "18 m 29 s");
    }

    #[test]
    fn hostile_text_loses_its_tricks() {
        assert_eq!(plain("a\u{202e}b\u{0}c\nd", 10), "abc d");
        assert_eq!(plain("abcdef", 3), "abc…");
    }
}
