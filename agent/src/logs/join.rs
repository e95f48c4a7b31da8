//! The lines of one event, joined: what a runtime has cut, and stack traces.

use domain::UnixNanos;

use super::limits;
use super::line::Line;

/// An event whose next line may still come.
#[derive(Debug)]
pub(super) struct Open {
    /// Where in the file its first line starts.
    pub start: u64,
    pub text: String,
    pub time: Option<UnixNanos>,
    /// When its last line was read.
    pub read: UnixNanos,
    pub cut: bool,
    lines: usize,
    partial: bool,
    trace: Trace,
}

/// A stack trace whose lines do not all begin with a space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trace {
    None,
    /// Python's ends with the first line that does not begin with a space.
    Python,
    /// Go's goes on to the end of the list of routines.
    Go,
}

impl Open {
    pub fn new(line: Line, start: u64, read: UnixNanos) -> Self {
        let trace = trace_of(&line.text);
        let mut open = Self {
            start,
            text: String::new(),
            time: line.time,
            read,
            cut: false,
            lines: 1,
            partial: line.partial,
            trace,
        };
        open.append(&line.text);
        open
    }

    /// Takes the next line of the stream when it belongs here, else gives it back.
    pub fn join(&mut self, line: Line, read: UnixNanos) -> Option<Line> {
        let goes_on = self.partial || continues(&line.text, &mut self.trace);
        if !goes_on || self.lines >= limits::EVENT_LINES {
            return Some(line);
        }
        if !self.partial {
            self.append("\n");
            self.lines += 1;
        }
        self.append(&line.text);
        self.partial = line.partial;
        self.read = read;
        None
    }

    fn append(&mut self, text: &str) {
        let room = limits::EVENT_BYTES.saturating_sub(self.text.len());
        let end = text.floor_char_boundary(room);
        self.cut |= end < text.len();
        self.text.push_str(&text[..end]);
    }
}

fn trace_of(text: &str) -> Trace {
    if text.contains("Traceback (most recent call last)") {
        Trace::Python
    } else if text.starts_with("panic: ") || text.starts_with("fatal error: ") || is_routine(text) {
        Trace::Go
    } else {
        Trace::None
    }
}

fn is_routine(text: &str) -> bool {
    text.starts_with("goroutine ") && text.ends_with(':')
}

/// Whether a line goes on with the event before it.
fn continues(text: &str, trace: &mut Trace) -> bool {
    match *trace {
        Trace::Python => {
            if !text.starts_with(' ') && !text.is_empty() {
                *trace = Trace::None;
            }
            return true;
        }
        Trace::Go => {
            let frame = text.ends_with(')') && text.contains('.') && !text.contains(": ");
            let known = text.is_empty() || text.starts_with(['\t', '[']) || is_routine(text);
            if known || frame || text.starts_with("exit status ") || text.starts_with("created by ") {
                return true;
            }
            *trace = Trace::None;
        }
        Trace::None => {}
    }
    if text.contains("Traceback (most recent call last)") && text.starts_with("Traceback") {
        *trace = Trace::Python;
        return true;
    }
    if text.starts_with(' ') || text.starts_with('\t') {
        return !text.trim().is_empty();
    }
    // Java's; and the closing of what was opened with an indent.
    text.starts_with("Caused by: ")
        || text.starts_with("During handling of the above")
        || matches!(text, "}" | ")" | "]" | "};" | ");" | "},")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The events of lines, each with its lines joined by `|`.
    fn check(lines: &[&str], expected: &[&str]) {
        let mut events: Vec<Open> = Vec::new();
        for text in lines {
            let line = Line::read(text.as_bytes());
            let rest = match events.last_mut() {
                Some(open) => open.join(line, UnixNanos(0)),
                None => Some(line),
            };
            if let Some(line) = rest {
                events.push(Open::new(line, 0, UnixNanos(0)));
            }
        }
        let found: Vec<String> = events.iter().map(|open| open.text.replace('\n', "|")).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn java() {
        check(
            &[
                "ERROR boom",
                "java.lang.X: y",
                "\tat a.b(C.java:1)",
                "\t... 3 more",
                "Caused by: Z",
                "\tat d",
                "INFO ok",
            ],
            &["ERROR boom", "java.lang.X: y|\tat a.b(C.java:1)|\t... 3 more|Caused by: Z|\tat d", "INFO ok"],
        );
    }

    #[test]
    fn python() {
        check(
            &[
                "ERROR x",
                "Traceback (most recent call last):",
                "  File \"a\"",
                "    b()",
                "ValueError: c",
                "next",
            ],
            &["ERROR x|Traceback (most recent call last):|  File \"a\"|    b()|ValueError: c", "next"],
        );
    }

    #[test]
    fn go() {
        check(
            &[
                "panic: oh",
                "",
                "goroutine 1 [running]:",
                "main.main()",
                "\t/a.go:3 +0x1",
                "exit status 2",
                "2026 next",
            ],
            &["panic: oh||goroutine 1 [running]:|main.main()|\t/a.go:3 +0x1|exit status 2", "2026 next"],
        );
    }

    #[test]
    fn parts_of_a_runtime_are_one_line() {
        check(
            &[
                "2026-11-19T14:02:31Z stdout P ab",
                "2026-11-19T14:02:31Z stdout F cd",
                "2026-11-19T14:02:31Z stdout F e",
            ],
            &["abcd", "e"],
        );
    }

    #[test]
    fn an_event_is_bounded() {
        let mut open = Open::new(Line::read(b"start"), 0, UnixNanos(0));
        let mut refused = 0;
        for _ in 0..limits::EVENT_LINES * 2 {
            let line = Line::read(format!("  {}", "x".repeat(1000)).as_bytes());
            refused += usize::from(open.join(line, UnixNanos(0)).is_some());
        }
        assert!(open.text.len() <= limits::EVENT_BYTES && open.cut && refused > 0);
    }
}
