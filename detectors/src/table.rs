//! A series as text: CSV with the columns `timestamp` and `value`, read line by line.

use domain::UnixNanos;

/// Longest line read; a longer one is damage, not data.
pub const LONGEST_LINE: usize = 4096;

/// Why a line cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {fault}")]
pub struct Problem {
    /// Counted from 1, the header included.
    pub line: usize,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What can be wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The header names no such column.
    #[error("the header has no column {0:?}; the columns `timestamp` and `value` are needed")]
    NoColumn(&'static str),
    /// The line ends too early.
    #[error("column {0:?} is missing")]
    Missing(&'static str),
    /// A time of no known form.
    #[error("{0:?} is not a time, such as `2026-11-19 14:02:31`, `2026-11-19T14:02:31Z` or Unix seconds")]
    Time(String),
    /// Neither a number nor empty.
    #[error("{0:?} is not a number")]
    Number(String),
    /// More than [`LONGEST_LINE`] bytes.
    #[error("longer than {LONGEST_LINE} bytes")]
    TooLong,
}

/// One value of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row<'a> {
    /// When.
    pub at: UnixNanos,
    /// The time as written.
    pub timestamp: &'a str,
    /// NaN where there is none: an empty field, `NaN`, `null` and the like are gaps.
    pub value: f64,
    /// The value as written.
    pub text: &'a str,
}

/// Where the two columns stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Columns {
    timestamp: usize,
    value: usize,
}

impl Columns {
    /// Reads the header: names in any case, in any order, with any others beside them.
    pub fn of(header: &str) -> Result<Self, Problem> {
        let place = |name: &'static str| {
            fields(header)
                .position(|field| field.eq_ignore_ascii_case(name))
                .ok_or(Problem { line: 1, fault: Fault::NoColumn(name) })
        };
        check_length(1, header)?;
        Ok(Self { timestamp: place("timestamp")?, value: place("value")? })
    }

    /// Reads a line below the header; `None` for an empty one. `number` is what errors call it.
    pub fn row<'a>(&self, number: usize, line: &'a str) -> Result<Option<Row<'a>>, Problem> {
        check_length(number, line)?;
        if line.trim().is_empty() {
            return Ok(None);
        }
        let problem = |fault| Problem { line: number, fault };
        let field = |place, name| fields(line).nth(place).ok_or_else(|| problem(Fault::Missing(name)));
        let (timestamp, text) = (field(self.timestamp, "timestamp")?, field(self.value, "value")?);
        let at = instant(timestamp).ok_or_else(|| problem(Fault::Time(shown(timestamp))))?;
        let value = number_or_gap(text).ok_or_else(|| problem(Fault::Number(shown(text))))?;
        Ok(Some(Row { at, timestamp, value, text }))
    }
}

/// Reads all lines of a text.
pub fn read(text: &str) -> Result<Vec<(UnixNanos, f64)>, Problem> {
    let mut lines = text.lines();
    let columns = Columns::of(lines.next().unwrap_or_default())?;
    let rows = lines.enumerate().filter_map(|(place, line)| columns.row(place + 2, line).transpose());
    rows.map(|row| row.map(|row| (row.at, row.value))).collect()
}

/// Reads RFC 3339, the same without a zone (UTC, with a space or a `T`), or Unix seconds.
pub fn instant(text: &str) -> Option<UnixNanos> {
    if let Some(at) = UnixNanos::parse(text) {
        return Some(at);
    }
    let civil: jiff::civil::DateTime = text.parse().ok()?;
    let at = civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
    i64::try_from(at.as_nanosecond()).ok().map(UnixNanos)
}

fn number_or_gap(text: &str) -> Option<f64> {
    let gap = ["", "nan", "null", "none", "na", "n/a", "-"];
    if gap.iter().any(|word| text.eq_ignore_ascii_case(word)) {
        return Some(f64::NAN);
    }
    text.parse().ok()
}

/// Fields without the quotes and blanks around them. Neither times nor numbers hold commas.
fn fields(line: &str) -> impl Iterator<Item = &str> {
    let line = line.trim_start_matches('\u{feff}');
    line.split(',').map(|field| field.trim().trim_matches('"').trim())
}

fn check_length(line: usize, text: &str) -> Result<(), Problem> {
    if text.len() > LONGEST_LINE { Err(Problem { line, fault: Fault::TooLong }) } else { Ok(()) }
}

fn shown(text: &str) -> String {
    domain::text::plain(text, 40)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(i64, f64)]) {
        let rows = read(text).unwrap();
        let plain: Vec<String> = rows.iter().map(|(at, value)| format!("{} {value}", at.seconds())).collect();
        let wanted: Vec<String> = expected.iter().map(|(at, value)| format!("{at} {value}")).collect();
        assert_eq!(plain, wanted, "{text}");
    }

    fn check_problem(text: &str, expected: &str) {
        assert_eq!(read(text).unwrap_err().to_string(), expected);
    }

    #[test]
    fn times_and_numbers_in_their_usual_forms() {
        check("timestamp,value\n2014-02-14 14:30:00,0.132\n", &[(1_392_388_200, 0.132)]);
        check(
            "timestamp,value\n2014-02-14 14:30:00.5,1\n2014-02-14T14:30:00Z,-2e3",
            &[(1_392_388_200, 1.0), (1_392_388_200, -2000.0)],
        );
        check("\u{feff}Value, host,\"Timestamp\"\r\n7,a,1392388200\r\n\r\n", &[(1_392_388_200, 7.0)]);
        check("timestamp,value\n1,\n2,NaN\n3,null", &[(1, f64::NAN), (2, f64::NAN), (3, f64::NAN)]);
        check("timestamp,value", &[]);
    }

    #[test]
    fn damage_is_shown_where_it_is() {
        check_problem(
            "",
            "line 1: the header has no column \"timestamp\"; the columns `timestamp` and `value` are needed",
        );
        check_problem(
            "timestamp,level\n",
            "line 1: the header has no column \"value\"; the columns `timestamp` and `value` are needed",
        );
        check_problem("timestamp,value\n1,2\n\n3", "line 4: column \"value\" is missing");
        check_problem("timestamp,value\n1,2\n1,two", "line 3: \"two\" is not a number");
        check_problem(
            "timestamp,value\nmonday,2",
            "line 2: \"monday\" is not a time, such as `2026-11-19 14:02:31`, `2026-11-19T14:02:31Z` or Unix seconds",
        );
        check_problem(&format!("timestamp,value\n{},2", "1".repeat(5000)), "line 2: longer than 4096 bytes");
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(timestamp,value\\PC?\n)?(\\PC{0,40}[,\n]?){0,20}") {
            let _ = read(&text);
        }
    }
}
