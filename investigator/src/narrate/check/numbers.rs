//! Numbers in text: a value in base units, what it measures, and how many digits were given.

/// What a number measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dimension {
    /// A count, a factor, or unknown.
    Plain,
    /// A share, in 0 to 1.
    Ratio,
    /// Seconds.
    Time,
    /// Bytes.
    Size,
    /// Per second.
    Rate,
}

/// A number as written.
#[derive(Clone, Debug, PartialEq)]
pub struct Number {
    /// As written.
    pub text: String,
    /// In base units.
    pub value: f64,
    /// What it measures.
    pub dimension: Dimension,
    /// Half a unit of the last digit given, in base units.
    tolerance: f64,
}

impl Number {
    /// Reads `84`, `84ms`, `1.2%`, `2.1e-5/s`, `3x`.
    pub fn parse(word: &str) -> Option<Self> {
        let word = word.strip_prefix(['~', '≈', '+']).unwrap_or(word);
        let (digits, unit) = split(word)?;
        let value: f64 = digits
            .replace(['−', '–'], "-")
            .replace(',', "")
            .parse()
            .ok()
            .filter(|value: &f64| value.is_finite())?;
        let (dimension, scale) = scale(unit)?;
        Some(Self {
            text: word.to_owned(),
            value: value * scale,
            dimension,
            tolerance: half_a_digit(digits, value) * scale,
        })
    }

    /// The number with the unit that stands in the next word.
    pub fn with_unit(&self, unit: &str) -> Option<Self> {
        let (dimension, scale) =
            scale(unit).filter(|_| self.dimension == Dimension::Plain && !unit.is_empty())?;
        Some(Self {
            text: format!("{} {unit}", self.text),
            value: self.value * scale,
            dimension,
            tolerance: self.tolerance * scale,
        })
    }

    /// Whether `self` may be written where `seen` was seen: the same quantity, rounded to the digits given, at least two.
    pub fn rounds(&self, seen: &Self) -> bool {
        self.dimension == seen.dimension
            && (self.value - seen.value).abs() <= self.tolerance.max(1e-12) * 1.000_001
    }
}

/// `2.1e-5/s` into `2.1e-5` and `/s`.
fn split(word: &str) -> Option<(&str, &str)> {
    let is_part = |place: usize, character: char| {
        let before = word[..place].chars().next_back();
        character.is_ascii_digit()
            || character == '.'
            || (character == ',' && before.is_some_and(|before| before.is_ascii_digit()))
            || (matches!(character, '-' | '−' | '–') && (place == 0 || before == Some('e')))
            || (character == 'e'
                && before.is_some_and(|before| before.is_ascii_digit())
                && word[place + 1..].starts_with(|next: char| next == '-' || next.is_ascii_digit()))
    };
    let end = word.char_indices().find(|(place, character)| !is_part(*place, *character));
    let (digits, unit) = word.split_at(end.map_or(word.len(), |(place, _)| place));
    digits.contains(|character: char| character.is_ascii_digit()).then_some((digits, unit))
}

/// What a unit measures, and its size in base units.
fn scale(unit: &str) -> Option<(Dimension, f64)> {
    Some(match unit {
        "" | "x" | "×" | "times" => (Dimension::Plain, 1.0),
        "%" | "percent" => (Dimension::Ratio, 0.01),
        "ns" => (Dimension::Time, 1e-9),
        "µs" | "us" | "μs" | "microseconds" => (Dimension::Time, 1e-6),
        "ms" | "milliseconds" => (Dimension::Time, 1e-3),
        "s" | "sec" | "second" | "seconds" => (Dimension::Time, 1.0),
        "m" | "min" | "minute" | "minutes" => (Dimension::Time, 60.0),
        "h" | "hour" | "hours" => (Dimension::Time, 3600.0),
        "d" | "day" | "days" => (Dimension::Time, 86_400.0),
        "B" | "bytes" => (Dimension::Size, 1.0),
        "KiB" => (Dimension::Size, 1024.0),
        "MiB" => (Dimension::Size, 1024.0 * 1024.0),
        "GiB" => (Dimension::Size, 1024.0 * 1024.0 * 1024.0),
        "TiB" => (Dimension::Size, 1024.0 * 1024.0 * 1024.0 * 1024.0),
        "kB" | "KB" => (Dimension::Size, 1e3),
        "MB" => (Dimension::Size, 1e6),
        "GB" => (Dimension::Size, 1e9),
        "/s" => (Dimension::Rate, 1.0),
        "/min" => (Dimension::Rate, 1.0 / 60.0),
        _ => return None,
    })
}

/// Half a unit of the last significant digit, at least the second: 5 stands for 4.95 to 5.05, 697 for 696.5 to 697.5.
fn half_a_digit(digits: &str, value: f64) -> f64 {
    if value == 0.0 {
        return 0.0;
    }
    let mantissa = digits.split('e').next().unwrap_or(digits);
    let given =
        mantissa.chars().filter(char::is_ascii_digit).skip_while(|digit| *digit == '0').count().max(2) as i32;
    let magnitude = value.abs().log10().floor() as i32;
    0.5 * 10_f64.powi(magnitude - given + 1)
}
