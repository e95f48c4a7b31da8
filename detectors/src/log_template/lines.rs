//! The lines of a log file: joined into messages, templated, and given their patterns once those have settled.

use super::event::is_continuation;
use super::{Novelty, PatternId, Templater};

/// Lines held back, so that what is learned from later lines counts for earlier ones: 8 MiB of ids.
const HELD_LINES: usize = 1 << 20;
/// Lines and bytes of one message; more begin another.
const MESSAGE_LINES: usize = 1_024;
const MESSAGE_BYTES: usize = 64 * 1024;

/// Gives every line of a log file its pattern. The lines of a stack trace belong to the message above them.
#[derive(Debug, Default)]
pub struct Lines {
    templater: Templater,
    message: String,
    message_lines: usize,
    held: Vec<PatternId>,
}

impl Lines {
    /// Takes the next line, without its end. Patterns of lines that have settled are handed to `out`, in order: the id,
    /// the template. Tells how new the pattern was of the message that this line ended, when it ended one.
    pub fn push(&mut self, line: &str, mut out: impl FnMut(PatternId, &str)) -> Option<Novelty> {
        let goes_on = self.message_lines > 0
            && self.message_lines < MESSAGE_LINES
            && self.message.len() + line.len() < MESSAGE_BYTES
            && is_continuation(line);
        let ended = if goes_on { None } else { self.end_message(&mut out) };
        if goes_on {
            self.message.push('\n');
        }
        self.message.push_str(line);
        self.message_lines += 1;
        ended
    }

    /// Hands out what is left.
    pub fn finish(&mut self, mut out: impl FnMut(PatternId, &str)) -> Option<Novelty> {
        let ended = self.end_message(&mut out);
        self.hand_out(&mut out);
        ended
    }

    fn end_message(&mut self, out: &mut impl FnMut(PatternId, &str)) -> Option<Novelty> {
        if self.message_lines == 0 {
            return None;
        }
        if self.held.len() >= HELD_LINES || self.templater.is_full() {
            self.hand_out(out);
        }
        let seen = self.templater.add(0, &self.message);
        self.held.resize(self.held.len() + self.message_lines, seen.own);
        self.message.clear();
        self.message_lines = 0;
        Some(seen.novelty)
    }

    fn hand_out(&mut self, out: &mut impl FnMut(PatternId, &str)) {
        for own in self.held.drain(..) {
            let pattern = self.templater.settled(own);
            out(pattern, self.templater.template(pattern).unwrap_or_default());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lines: &[&str], expected: &[&str]) {
        let mut templates = Vec::new();
        let mut reader = Lines::default();
        for line in lines {
            reader.push(line, |_, template| templates.push(template.to_owned()));
        }
        reader.finish(|_, template| templates.push(template.to_owned()));
        assert_eq!(templates, expected);
    }

    #[test]
    fn every_line_has_its_pattern_in_order() {
        check(&[], &[]);
        check(&["", "a 1", "a 2"], &["", "a <*>", "a <*>"]);
    }

    #[test]
    fn a_stack_trace_belongs_to_its_message() {
        let failed = "failed java.io.IOException";
        check(
            &["failed", "Caused by: java.io.IOException: no", "\tat a.b(C.java:1)", "next"],
            &[failed, failed, failed, "next"],
        );
    }

    #[test]
    fn earlier_lines_gain_from_later_ones() {
        check(&["user bob left room", "user 5 left room"], &["user <*> left room"; 2]);
    }
}
