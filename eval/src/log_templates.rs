//! How well log messages are grouped, against logs whose true templates are known.
//!
//! A folder of systems, each a folder with `*_structured.csv` in the format of LogHub (columns `Content`, `EventId`).
//! Measures, from Zhu et al., "Tools and Benchmarks for Automated Log Parsing" (ICSE-SEIP 2019) and Jiang et al.,
//! "A Large-Scale Evaluation for Log Parsing Techniques" (ISSTA 2024):
//!
//! - grouping accuracy (GA): the share of lines whose group is exactly a true group;
//! - FGA: the harmonic mean of the shares of groups given, and of true groups, that are exactly right;
//! - first sight: a pattern called new counts as right when its line is the first of a true group.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use detectors::log_template::{Lines, Novelty, PatternId};

/// A log with its truth.
#[derive(Clone, Debug)]
pub struct LabelledLog {
    /// System that wrote it.
    pub system: String,
    /// Messages, in order.
    pub messages: Vec<String>,
    /// True group of each.
    pub groups: Vec<String>,
}

/// How a log was grouped.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Score {
    /// Share of lines in a right group, 0 to 1.
    pub grouping_accuracy: f64,
    /// F1 of groups, 0 to 1.
    pub group_f1: f64,
    /// Groups given.
    pub groups: usize,
    /// True groups.
    pub true_groups: usize,
    /// Lines called the first of a new pattern.
    pub called_new: usize,
    /// Of those, first lines of a true group.
    pub rightly_new: usize,
}

impl Score {
    /// Share of the lines called new that are.
    pub fn first_precision(&self) -> f64 {
        ratio(self.rightly_new, self.called_new)
    }

    /// Share of the true groups that were called new at their first line.
    pub fn first_recall(&self) -> f64 {
        ratio(self.rightly_new, self.true_groups)
    }
}

/// Reads all systems below a folder, by name.
pub fn read(root: &Path) -> anyhow::Result<Vec<LabelledLog>> {
    let mut logs = Vec::new();
    for folder in entries(root)? {
        if !folder.is_dir() {
            continue;
        }
        let structured =
            entries(&folder)?.into_iter().find(|path| path.to_string_lossy().ends_with("_structured.csv"));
        if let Some(path) = structured {
            logs.push(read_log(&folder, &path).with_context(|| format!("cannot read {}", path.display()))?);
        }
    }
    Ok(logs)
}

fn entries(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let read = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut paths = read.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

fn read_log(folder: &Path, path: &Path) -> anyhow::Result<LabelledLog> {
    let mut reader = csv::Reader::from_path(path)?;
    let headers = reader.headers()?.clone();
    let column = |name: &str| {
        headers.iter().position(|header| header == name).with_context(|| format!("no column {name}"))
    };
    let (content, event) = (column("Content")?, column("EventId")?);
    let system = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut log = LabelledLog { system, messages: Vec::new(), groups: Vec::new() };
    for record in reader.records() {
        let record = record?;
        log.messages.push(record.get(content).unwrap_or_default().to_owned());
        log.groups.push(record.get(event).unwrap_or_default().to_owned());
    }
    Ok(log)
}

/// Groups a log as `inquest logs templates` does: the pattern of each line, and whether the line was called new.
pub fn group(messages: &[String]) -> (Vec<PatternId>, Vec<bool>) {
    let mut lines = Lines::default();
    let mut patterns = Vec::with_capacity(messages.len());
    let mut new = Vec::with_capacity(messages.len());
    for message in messages {
        let ended = lines.push(message, |pattern, _| patterns.push(pattern));
        new.extend(ended.map(|novelty| novelty == Novelty::New));
    }
    new.extend(lines.finish(|pattern, _| patterns.push(pattern)).map(|novelty| novelty == Novelty::New));
    (patterns, new)
}

/// Scores groups against the true ones. `new` tells which lines were called the first of their pattern.
pub fn score<Group: Ord, Truth: Ord>(groups: &[Group], new: &[bool], truth: &[Truth]) -> Score {
    let (given, true_groups) = (members(groups), members(truth));
    let right: Vec<&Vec<usize>> = given
        .values()
        .filter(|lines| lines.first().is_some_and(|first| true_groups.get(&truth[*first]) == Some(lines)))
        .collect();
    let first: Vec<usize> = true_groups.values().filter_map(|lines| lines.first().copied()).collect();
    Score {
        grouping_accuracy: ratio(right.iter().map(|lines| lines.len()).sum(), truth.len()),
        group_f1: ratio(2 * right.len(), given.len() + true_groups.len()),
        groups: given.len(),
        true_groups: true_groups.len(),
        called_new: new.iter().filter(|new| **new).count(),
        rightly_new: first.iter().filter(|line| new.get(**line) == Some(&true)).count(),
    }
}

fn members<Group: Ord>(groups: &[Group]) -> BTreeMap<&Group, Vec<usize>> {
    let mut members: BTreeMap<&Group, Vec<usize>> = BTreeMap::new();
    for (line, group) in groups.iter().enumerate() {
        members.entry(group).or_default().push(line);
    }
    members
}

fn ratio(part: usize, whole: usize) -> f64 {
    if whole == 0 { 1.0 } else { part as f64 / whole as f64 }
}

/// The scores as a table, with their mean; first sights are counted over all systems.
pub fn table(scores: &[(String, Score)]) -> String {
    let mut table = format!(
        "{:<14} {:>6} {:>6} {:>9} {:>9} {:>9}\n",
        "system", "GA", "FGA", "groups", "new: P", "new: R"
    );
    let mut row = |name: &str, score: &Score| {
        let groups = format!("{}/{}", score.groups, score.true_groups);
        let _ = writeln!(
            table,
            "{name:<14} {:>6.3} {:>6.3} {groups:>9} {:>9.3} {:>9.3}",
            score.grouping_accuracy,
            score.group_f1,
            score.first_precision(),
            score.first_recall(),
        );
    };
    let count = scores.len().max(1) as f64;
    let mut all = Score::default();
    for (system, score) in scores {
        row(system, score);
        all.grouping_accuracy += score.grouping_accuracy / count;
        all.group_f1 += score.group_f1 / count;
        all.groups += score.groups;
        all.true_groups += score.true_groups;
        all.called_new += score.called_new;
        all.rightly_new += score.rightly_new;
    }
    row("all", &all);
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_counts_when_it_is_exactly_a_true_one() {
        let score = score(&[1, 1, 2, 2, 3], &[true, false, true, false, true], &["a", "a", "b", "c", "c"]);
        assert_eq!(score.grouping_accuracy, 0.4);
        assert_eq!(score.group_f1, 2.0 / 6.0);
        assert_eq!((score.called_new, score.rightly_new, score.true_groups), (3, 2, 3));
    }
}
