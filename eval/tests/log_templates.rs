//! The bars of log templating, on logs whose true templates are known.

use std::path::{Path, PathBuf};

use eval::log_templates::{Score, group, read, score, table};

/// Where the public data sets lie.
fn data(folder: &str) -> Option<PathBuf> {
    let root = std::env::var_os("INQUEST_SHARED_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"), PathBuf::from);
    let path = root.join(folder);
    if path.is_dir() {
        return Some(path);
    }
    eprintln!("skipped: the public data set {folder} is not at {}", path.display());
    None
}

#[test]
fn public_logs_are_grouped_rightly() {
    let Some(root) = data("logs") else { return };
    let scores: Vec<(String, Score)> = read(&root)
        .unwrap()
        .into_iter()
        .map(|log| {
            let (patterns, new) = group(&log.messages);
            (log.system, score(&patterns, &new, &log.groups))
        })
        .collect();
    let table = table(&scores);
    assert!(!scores.is_empty(), "no system in {}", root.display());
    let count = scores.len() as f64;
    let mean = scores.iter().map(|(_, score)| score.grouping_accuracy).sum::<f64>() / count;
    assert!(mean >= 0.95, "{table}");
    assert!(scores.iter().all(|(_, score)| score.grouping_accuracy >= 0.8), "{table}");
    let sum = |part: fn(&Score) -> usize| scores.iter().map(|(_, score)| part(score)).sum::<usize>() as f64;
    let right = sum(|score| score.rightly_new);
    assert!(right / sum(|score| score.called_new) >= 0.9, "{table}");
    assert!(right / sum(|score| score.true_groups) >= 0.9, "{table}");
}

/// The same messages in another order have the same ids.
#[test]
fn order_does_not_change_ids() {
    let Some(root) = data("logs") else { return };
    for log in read(&root).unwrap() {
        let (forwards, _) = group(&log.messages);
        let reversed: Vec<String> = log.messages.iter().rev().cloned().collect();
        let (mut backwards, _) = group(&reversed);
        backwards.reverse();
        let same = forwards.iter().zip(&backwards).filter(|(left, right)| left == right).count();
        let share = same as f64 / forwards.len().max(1) as f64;
        assert!(share >= 0.99, "{}: {share}", log.system);
    }
}
