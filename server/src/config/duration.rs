//! Lengths of time as people write them: `30d`, `1h30m`, `250ms`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A length of time read from text: whole numbers with units `ms`, `s`, `m`, `h`, `d` or `w`, largest first by habit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Span(pub Duration);

const UNITS: [(&str, u64); 6] =
    [("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a length of time such as `30d`, `1h30m` or `250ms`");
        let mut rest = text.trim();
        let mut millis = 0_u64;
        if rest.is_empty() {
            return Err(wrong());
        }
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, tail) = rest.split_at(digits);
            let letters = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
            let (unit, tail) = tail.split_at(letters);
            let scale = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?.1;
            let amount: u64 = number.parse().map_err(|_| wrong())?;
            millis = amount.checked_mul(scale).and_then(|part| millis.checked_add(part)).ok_or_else(wrong)?;
            rest = tail.trim_start();
        }
        Ok(Self(Duration::from_millis(millis)))
    }
}

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Span> for String {
    fn from(span: Span) -> Self {
        span.to_string()
    }
}

impl fmt::Display for Span {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if rest == 0 {
            return formatter.write_str("0s");
        }
        for (unit, scale) in UNITS {
            if rest >= scale {
                write!(formatter, "{}{unit}", rest / scale)?;
                rest %= scale;
            }
        }
        Ok(())
    }
}

/// How long something is kept: a [`Span`], or `forever`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Keep {
    /// Until it is this old.
    For(Span),
    /// For as long as there is room.
    Forever,
}

impl Keep {
    /// The length; `None` for ever.
    pub fn duration(self) -> Option<Duration> {
        match self {
            Self::For(span) => Some(span.0),
            Self::Forever => None,
        }
    }
}

/// Shorter retention than this is a slip of the pen: it would delete what a running investigation looks at.
const SHORTEST_RETENTION: Duration = Duration::from_secs(3600);

impl TryFrom<String> for Keep {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == "forever" {
            return Ok(Self::Forever);
        }
        let span: Span = text.parse().map_err(|error| format!("{error}, or `forever`"))?;
        if span.0 < SHORTEST_RETENTION {
            return Err(format!("`{text}` is too short: at least {} is kept", Span(SHORTEST_RETENTION)));
        }
        Ok(Self::For(span))
    }
}

impl From<Keep> for String {
    fn from(keep: Keep) -> Self {
        match keep {
            Keep::For(span) => span.to_string(),
            Keep::Forever => "forever".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write_and_writes_it_back() {
        let check = |text: &str, millis: u64| {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.0.as_millis(), u128::from(millis), "{text}");
            assert_eq!(span.to_string().parse::<Span>().unwrap(), span);
        };
        check("30d", 30 * 86_400_000);
        check("1h30m", 5_400_000);
        check("1h 30m", 5_400_000);
        check("250ms", 250);
        check("0s", 0);
        assert_eq!(Span(Duration::from_secs(90)).to_string(), "1m30s");
    }

    #[test]
    fn refuses_what_it_cannot_read() {
        for text in
            ["", " ", "30", "d", "30 days", "-1h", "1.5h", "1h30", "99999999999999999999s", "584942417355w9w"]
        {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
        assert!(Keep::try_from("5m".to_owned()).is_err());
        assert_eq!(Keep::try_from("forever".to_owned()), Ok(Keep::Forever));
    }
}
