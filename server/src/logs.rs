//! `inquest logs templates`: the patterns of a log file.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::path::Path;

use anyhow::Context as _;
use detectors::log_template::{Lines, PatternId};

use crate::cli::{LogsCommand, TemplatesArgs};
use crate::output;

/// Bytes of a line that are looked at.
const MAX_LINE_BYTES: usize = 64 * 1024;
/// Patterns that the table counts one by one.
const MAX_LISTED: usize = 65_536;

/// Runs the command.
pub fn run(command: &LogsCommand) -> anyhow::Result<()> {
    let LogsCommand::Templates(arguments) = command;
    templates(arguments)
}

fn templates(arguments: &TemplatesArgs) -> anyhow::Result<()> {
    let input: Box<dyn BufRead> = if arguments.file == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        let file = File::open(&arguments.file)
            .with_context(|| format!("failed to open {}", arguments.file.display()))?;
        Box::new(BufReader::with_capacity(256 * 1024, file))
    };
    let written = if arguments.csv { csv(input, output::bulk()) } else { table(input, output::bulk()) };
    match written {
        // Whoever reads has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.with_context(|| format!("failed to read {}", arguments.file.display())),
    }
}

fn csv(input: impl BufRead, mut out: impl Write) -> io::Result<()> {
    writeln!(out, "line,template_id,template")?;
    let mut line = 0_u64;
    let mut written = Ok(());
    each_line(input, |pattern, template| {
        line += 1;
        if written.is_ok() {
            written = row(&mut out, line, pattern, template);
        }
        written.is_ok()
    })?;
    written?;
    out.flush()
}

fn row(out: &mut impl Write, line: u64, pattern: PatternId, template: &str) -> io::Result<()> {
    write!(out, "{line},{pattern},")?;
    if template.contains(['"', ',', '\r', '\n']) {
        writeln!(out, "\"{}\"", template.replace('"', "\"\""))
    } else {
        writeln!(out, "{template}")
    }
}

/// A pattern, and how often it was seen.
struct Listed {
    template: String,
    lines: u64,
    first_line: u64,
}

fn table(input: impl BufRead, mut out: impl Write) -> io::Result<()> {
    let mut listed: HashMap<PatternId, Listed> = HashMap::new();
    let (mut lines, mut others) = (0_u64, 0_u64);
    each_line(input, |pattern, template| {
        lines += 1;
        if let Some(known) = listed.get_mut(&pattern) {
            known.lines += 1;
        } else if listed.len() < MAX_LISTED {
            listed.insert(pattern, Listed { template: template.to_owned(), lines: 1, first_line: lines });
        } else {
            others += 1;
        }
        true
    })?;
    let mut rows: Vec<(PatternId, Listed)> = listed.into_iter().collect();
    rows.sort_by_key(|(_, pattern)| (std::cmp::Reverse(pattern.lines), pattern.first_line));
    writeln!(out, "{:>9}  {:>9}  {:<16}  template", "lines", "first", "id")?;
    for (id, Listed { template, lines, first_line }) in &rows {
        writeln!(out, "{lines:>9}  {first_line:>9}  {id}  {template}")?;
    }
    if others > 0 {
        writeln!(out, "{others:>9}  of further patterns")?;
    }
    writeln!(out, "{lines} lines, {} patterns", rows.len())?;
    out.flush()
}

/// Hands out the pattern of every line, in order, until `take` has enough. Bytes that are not UTF-8 are replaced.
fn each_line(mut input: impl BufRead, mut take: impl FnMut(PatternId, &str) -> bool) -> io::Result<()> {
    let mut lines = Lines::default();
    let mut line = Vec::new();
    let mut go_on = true;
    while go_on && read_line(&mut input, &mut line)? {
        let text = String::from_utf8_lossy(&line);
        lines.push(&text, |pattern, template| go_on = go_on && take(pattern, template));
    }
    lines.finish(|pattern, template| go_on = go_on && take(pattern, template));
    Ok(())
}

/// Reads a line without its end, as far as it is looked at. `false` at the end of the input.
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    let mut any = false;
    loop {
        let buffer = match input.fill_buf() {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            buffer => buffer?,
        };
        if buffer.is_empty() {
            return Ok(any);
        }
        any = true;
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let part = &buffer[..end.unwrap_or(buffer.len())];
        line.extend_from_slice(&part[..part.len().min(MAX_LINE_BYTES - line.len())]);
        let taken = part.len() + usize::from(end.is_some());
        input.consume(taken);
        if end.is_some() {
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            return Ok(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str =
        "user 5 left, \"later\"\nuser bob left, \"later\"\r\n\nfailed\n\tat a.b(C.java:1)\nfailed";

    #[test]
    fn csv_has_a_row_for_every_line() {
        let mut out = Vec::new();
        csv(LOG.as_bytes(), &mut out).unwrap();
        insta::assert_snapshot!(String::from_utf8(out).unwrap());
    }

    #[test]
    fn the_table_begins_with_the_most_frequent() {
        let mut out = Vec::new();
        table(LOG.as_bytes(), &mut out).unwrap();
        insta::assert_snapshot!(String::from_utf8(out).unwrap());
    }

    #[test]
    fn lines_are_read_as_far_as_they_are_looked_at() {
        let text = format!("{}\n\u{e9}\n\n", "a".repeat(MAX_LINE_BYTES + 5)).replace('\u{e9}', "\u{e9}x");
        let mut input = BufReader::with_capacity(7, text.as_bytes());
        let mut line = Vec::new();
        let mut lengths = Vec::new();
        while read_line(&mut input, &mut line).unwrap() {
            lengths.push(line.len());
        }
        assert_eq!(lengths, [MAX_LINE_BYTES, 3, 0]);
    }
}
