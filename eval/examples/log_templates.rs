//! `cargo run --release -p eval --example log_templates -- DIR [--wrong SYSTEM]`: scores the grouping of log messages.
//!
//! `--wrong` shows the groups of a system that are not exactly right.
#![allow(clippy::print_stdout, reason = "a command of its own: it prints")]

use std::collections::BTreeMap;
use std::path::Path;

use detectors::log_template::mask;
use eval::log_templates::{LabelledLog, group, read, score, table};

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(root) = arguments.first() else { anyhow::bail!("usage: log_templates DIR [--wrong SYSTEM]") };
    let logs = read(Path::new(root))?;
    if let [_, flag, system] = arguments.as_slice()
        && flag == "--wrong"
    {
        logs.iter().filter(|log| &log.system == system).for_each(wrong);
        return Ok(());
    }
    let scores: Vec<_> = logs
        .iter()
        .map(|log| {
            let (patterns, new) = group(&log.messages);
            (log.system.clone(), score(&patterns, &new, &log.groups))
        })
        .collect();
    println!("{}", table(&scores));
    Ok(())
}

/// Every true group that is cut or joined, with the groups given to its lines.
fn wrong(log: &LabelledLog) {
    let (patterns, _) = group(&log.messages);
    let mut sizes = BTreeMap::new();
    patterns.iter().for_each(|pattern| *sizes.entry(pattern).or_insert(0) += 1);
    let mut truth: BTreeMap<&str, BTreeMap<_, (usize, &str)>> = BTreeMap::new();
    for ((group, pattern), message) in log.groups.iter().zip(&patterns).zip(&log.messages) {
        truth.entry(group).or_default().entry(pattern).or_insert((0, message)).0 += 1;
    }
    for (group, parts) in truth {
        if parts.len() == 1 && parts.iter().all(|(pattern, (count, _))| sizes[pattern] == *count) {
            continue;
        }
        println!("{group}");
        for (pattern, (count, message)) in parts {
            println!("  {count:>5} of {:>5}  {}", sizes[pattern], mask(message));
        }
    }
}
