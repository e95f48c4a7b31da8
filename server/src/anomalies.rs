//! `inquest detect anomalies`: a series from a CSV file, scored value by value as it is read.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write};
use std::path::Path;

use anyhow::Context as _;
use detectors::anomaly::episode::{Episode, Episodes};
use detectors::anomaly::{Detector, Verdict};
use detectors::rate::Rate;
use detectors::table::{Columns, LONGEST_LINE, Row};

use crate::cli::AnomaliesArgs;

/// Runs the command.
pub fn run(arguments: &AnomaliesArgs) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let written = match arguments.csv {
        true => scores(&arguments.file, arguments.counter, &mut out),
        false => summary(&arguments.file, arguments.counter).map(|text| drop(out.write_all(text.as_bytes()))),
    };
    match written {
        // A closed pipe (`| head`) is not an error.
        Err(error) if error.downcast_ref::<std::io::Error>().is_some_and(is_closed_pipe) => Ok(()),
        other => other.with_context(|| format!("cannot use {}", arguments.file.display())),
    }
}

fn is_closed_pipe(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::BrokenPipe
}

/// Every row with its score.
fn scores(file: &Path, counter: bool, out: &mut impl Write) -> anyhow::Result<()> {
    let mut out = std::io::BufWriter::new(out);
    writeln!(out, "timestamp,value,score,anomaly")?;
    each(file, counter, |row, verdict| {
        let anomaly = u8::from(verdict.is_anomaly());
        Ok(writeln!(out, "{},{},{:.6},{anomaly}", row.timestamp, row.text, verdict.score)?)
    })?;
    Ok(out.flush()?)
}

/// What was found, in sentences.
fn summary(file: &Path, counter: bool) -> anyhow::Result<String> {
    let mut episodes = Episodes::default();
    let (mut values, mut gaps) = (0_i64, 0_i64);
    let (mut first, mut last) = (None, None);
    each(file, counter, |row, verdict| {
        let count = if row.value.is_finite() { &mut values } else { &mut gaps };
        *count += 1;
        first = first.or(Some(row.at));
        last = Some(row.at);
        episodes.push(row.at, verdict);
        Ok(())
    })?;
    let episodes = episodes.finish();
    let count = domain::text::count;
    let mut text = format!("{} values", count(values));
    if let (Some(first), Some(last)) = (first, last) {
        text += &format!(" from {first} to {last}");
    }
    if gaps > 0 {
        text += &format!(", {} missing", count(gaps));
    }
    text += &match episodes.len() {
        0 => ": no anomaly\n".into(),
        1 => ": 1 anomaly\n".into(),
        many => format!(": {} anomalies\n", count(many as i64)),
    };
    for episode in &episodes {
        text += &line(episode);
    }
    Ok(text)
}

fn line(episode: &Episode) -> String {
    format!("  {:.2}  {}\n", episode.score, episode.sentence())
}

/// Hands over each row with the verdict on it, one line in memory at a time.
fn each(
    file: &Path,
    counter: bool,
    mut take: impl FnMut(&Row, &Verdict) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut lines = BufReader::new(File::open(file)?);
    let mut line = String::new();
    let mut next = |line: &mut String| {
        line.clear();
        // One byte more than a line may have, so that a longer one is noticed and not read to its end.
        lines.by_ref().take(LONGEST_LINE as u64 + 2).read_line(line)
    };
    next(&mut line).context("line 1")?;
    let columns = Columns::of(line.trim_end())?;
    let (mut detector, mut rate) = (Detector::default(), Rate::default());
    for number in 2.. {
        if next(&mut line).with_context(|| format!("line {number}"))? == 0 {
            break;
        }
        let Some(row) = columns.row(number, line.trim_end_matches(['\r', '\n']))? else { continue };
        let value = if counter { rate.push(row.at, row.value).unwrap_or(f64::NAN) } else { row.value };
        take(&row, &detector.push(row.at, value))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    /// Two days of a load that wavers, then one that has tripled.
    fn series() -> String {
        let mut text = "timestamp,value\n".to_owned();
        for place in 0..700_i64 {
            let waver = (place * 7919 % 100) as f64 / 100.0;
            let level = if place < 600 { 20.0 } else { 60.0 };
            text += &format!("{},{}\n", 1_795_000_000 + place * 300, level + waver);
        }
        text
    }

    fn csv(text: &str) -> String {
        let mut out = Vec::new();
        scores(file(text).path(), false, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn check_problem(text: &str, expected: &str) {
        let error = summary(file(text).path(), false).unwrap_err();
        assert_eq!(format!("{error:#}"), expected);
    }

    #[test]
    fn every_row_comes_back_with_its_score() {
        let text = csv(&series());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 701);
        assert_eq!(lines[0], "timestamp,value,score,anomaly");
        assert_eq!(lines[1], "1795000000,20,0.000000,0");
        assert!(lines[601].starts_with("1795180000,60,0.9") && lines[601].ends_with(",1"), "{}", lines[601]);
        let first = lines.iter().position(|line| line.ends_with(",1"));
        assert_eq!(first, Some(601));
        insta::assert_snapshot!(summary(file(&series()).path(), false).unwrap());
    }

    #[test]
    fn cutting_the_file_short_changes_no_earlier_score() {
        let text = series();
        let whole = csv(&text);
        for lines in [2, 50, 333, 601, 602, 650] {
            let cut: String = text.split_inclusive('\n').take(lines).collect();
            assert!(whole.starts_with(&csv(&cut)), "{lines}");
        }
    }

    #[test]
    fn counters_are_read_as_rates() {
        let mut text = "timestamp,value\n".to_owned();
        let mut total = 0;
        for place in 0..300 {
            // A restart; 11 more have been counted since.
            total = if place == 200 { 11 } else { total + 10 + place % 3 };
            text += &format!("{},{total}\n", 1_795_000_000 + place * 15);
        }
        let found = |counter| summary(file(&text).path(), counter).unwrap();
        assert!(found(true).ends_with(": no anomaly\n"), "{}", found(true));
        assert!(!found(false).ends_with(": no anomaly\n"), "{}", found(false));
    }

    #[test]
    fn damaged_files_are_refused_with_the_line() {
        check_problem(
            "",
            "line 1: the header has no column \"timestamp\"; the columns `timestamp` and `value` are needed",
        );
        check_problem("timestamp,value\n1,2\n2,x\n", "line 3: \"x\" is not a number");
        check_problem(
            &format!("timestamp,value\n1,2\n{}\n", "9".repeat(100_000)),
            "line 3: longer than 4096 bytes",
        );
        assert_eq!(summary(file("timestamp,value\n").path(), false).unwrap(), "0 values: no anomaly\n");
    }
}
