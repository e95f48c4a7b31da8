//! Tidy rules, as tests: what a linter of one crate cannot see.

use std::fs;
use std::path::{Path, PathBuf};

/// Folders that hold nothing of ours.
const SKIPPED: [&str; 4] = ["target", "node_modules", ".git", "data"];
/// Suffixes of text files that are checked for what must not be in them.
const TEXT: [&str; 13] =
    ["rs", "toml", "md", "mjs", "js", "json", "html", "css", "j2", "txt", "yml", "yaml", "sql"];
const MAX_FILES: usize = 20_000;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace above this crate").to_owned()
}

/// Every file of the project whose name ends in one of `suffixes`, in order.
fn files(suffixes: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a readable folder") {
            let path = entry.expect("a readable entry").path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if path.is_dir() {
                if !SKIPPED.contains(&name) {
                    folders.push(path);
                }
            } else if path
                .extension()
                .and_then(|suffix| suffix.to_str())
                .is_some_and(|suffix| suffixes.contains(&suffix))
            {
                found.push(path);
            }
        }
        assert!(found.len() < MAX_FILES, "more files than a tidy run expects");
    }
    found.sort();
    found
}

/// Fails with the files for which `fault` says what is wrong.
fn check(suffixes: &[&str], fault: impl Fn(&str) -> Option<String>) {
    let mut faults = Vec::new();
    for path in files(suffixes) {
        // A text file that is not UTF-8 is a fixture of bad input.
        let Ok(text) = fs::read_to_string(&path) else { continue };
        if let Some(fault) = fault(&text) {
            faults.push(format!("{}: {fault}", path.strip_prefix(root()).unwrap_or(&path).display()));
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn every_module_begins_with_what_it_is_for() {
    check(&["rs"], |text| {
        let first = text.lines().find(|line| !line.trim().is_empty())?;
        let headed = first.starts_with("//!") || first.starts_with("#![doc = include_str!");
        (!headed).then(|| format!("begins with {first:?}, not with `//!`"))
    });
}

#[test]
fn no_debug_output_is_left() {
    // Spelled in two parts, so that this file passes.
    let debug = ["dbg", "!("].concat();
    let log = ["console", ".log("].concat();
    check(&["rs"], |text| text.contains(&debug).then(|| format!("has {debug}")));
    check(&["js"], |text| {
        // Libraries carried as they are keep what they print.
        (text.len() < 30_000 && text.contains(&log)).then(|| format!("has {log}"))
    });
}

#[test]
fn no_path_of_anyones_machine_is_written_down() {
    let homes =
        [["/ho", "me/"].concat(), ["/ro", "ot/"].concat(), ["/Us", "ers/"].concat(), ["/wo", "rk/"].concat()];
    check(&TEXT, |text| {
        homes.iter().find_map(|home| {
            // Within a URL or a longer path it is no machine path; at the start of a word it is.
            let found = text.match_indices(home.as_str()).find(|(at, _)| {
                !text[..*at]
                    .ends_with(|before: char| before.is_ascii_alphanumeric() || "/.-_$}".contains(before))
            })?;
            let line = text[..found.0].lines().count();
            Some(format!("line {line} has {home}"))
        })
    });
}

#[test]
fn links_between_documents_resolve() {
    let mut faults = Vec::new();
    for path in files(&["md"]) {
        let text = fs::read_to_string(&path).expect("documents are UTF-8");
        let folder = path.parent().expect("a folder");
        for target in links(&text) {
            let file = target.split(['#', '?']).next().unwrap_or_default();
            if file.is_empty() || file.contains("://") || file.starts_with("mailto:") {
                continue;
            }
            if !folder.join(file).exists() {
                faults.push(format!("{}: {target}", path.strip_prefix(root()).unwrap_or(&path).display()));
            }
        }
    }
    assert!(faults.is_empty(), "links that lead nowhere:\n{}", faults.join("\n"));
}

/// Targets of Markdown links, code blocks left out.
fn links(text: &str) -> Vec<&str> {
    let mut targets = Vec::new();
    let mut in_code = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        for (at, _) in line.match_indices("](") {
            if let Some(length) = line[at + 2..].find(')') {
                targets.push(&line[at + 2..at + 2 + length]);
            }
        }
    }
    targets
}

#[test]
fn dependencies_point_one_way() {
    // From the map in ARCHITECTURE.md: who may use whom.
    let allowed: [(&str, &[&str]); 5] = [
        ("domain", &[]),
        ("ingest", &["domain"]),
        // Logs are stored with their patterns, live and from recordings alike: the templater runs where rows are written.
        ("storage", &["domain", "detectors"]),
        ("detectors", &["domain"]),
        ("investigator", &["domain", "detectors", "storage"]),
    ];
    let ours = ["domain", "ingest", "storage", "detectors", "investigator", "server", "shop", "eval"];
    for (name, may_use) in allowed {
        let manifest = fs::read_to_string(root().join(name).join("Cargo.toml")).expect("a manifest");
        let dependencies = manifest.split("[dependencies]").nth(1).unwrap_or_default();
        let dependencies = dependencies.split("\n[").next().unwrap_or_default();
        for used in ours {
            let uses = dependencies
                .lines()
                .any(|line| line.split(['.', '=', ' ']).next().is_some_and(|word| word == used));
            assert!(!uses || may_use.contains(&used), "{name} must not use {used}");
        }
    }
}
