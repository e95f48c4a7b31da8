//! How much the results owe to the constants of the reasoning, and what constants chosen without a system give on it.
//!
//! `cargo run --release -p eval --example cross -- KEPT` takes what `replay -- observe KEPT DIR...` kept. In a copy of the
//! sources every constant of `investigator/src/reason` that is a number becomes one that the environment may move; that copy
//! is built once, and then scores the recordings with
//! - each constant moved alone, by half and by twice: what depends on it;
//! - all constants moved at once, each by a factor drawn between half and twice: how wide the plateau is;
//! - the middle of those draws that are best on all other systems, judged on the system left out: a choice that never saw it.
//!
//! A constant between 0 and 1 is moved in its odds, so that it stays between them. Confidence and its thresholds are left as
//! they are: `recalibrate` tests those.
#![allow(clippy::print_stdout, reason = "a command of its own: it prints")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use regex::Regex;

/// Draws of all constants at once.
const DRAWS: usize = 1000;
/// Of these, those whose middle is chosen.
const CHOSEN: usize = 50;
/// Not to be moved: calibration, and a number of mathematics.
const FIXED: &[&str] = &["QUIET", "LIKELY", "MEDIUM", "HIGH", "MAD_TO_SIGMA"];
const REASONING: &str = "investigator/src/reason";

fn main() -> anyhow::Result<()> {
    let kept = std::env::args().nth(1).context("usage: cross KEPT")?;
    let kept = std::fs::canonicalize(kept)?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the workspace")?;
    let copy = root.join("target/cross");
    let constants = copied(root, &copy)?;
    println!("{} constants", constants.len());
    let status = Command::new("cargo")
        .args(["build", "--release", "--quiet", "-p", "eval", "--example", "replay"])
        .env("CARGO_TARGET_DIR", root.join("target"))
        .current_dir(&copy)
        .status()?;
    anyhow::ensure!(status.success(), "the copy in {} does not build", copy.display());
    // Builds of the project itself leave their program at the same place.
    let program = copy.join("replay");
    std::fs::copy(root.join("target/release/examples/replay"), &program)?;
    let bench = Bench { program, kept, json: copy.join("scores.json") };

    let usual = bench.score(&[])?;
    println!("as they are: {usual}");
    alone(&bench, &constants, &usual)?;
    together(&bench, &constants)
}

/// A constant: where it is, what it is called, its value.
struct Constant {
    place: String,
    name: String,
    value: f64,
}

impl Constant {
    /// Moved by a factor; in its odds when it is a share.
    fn moved(&self, factor: f64) -> f64 {
        if self.value > 0.0 && self.value < 1.0 {
            let odds = self.value / (1.0 - self.value) * factor;
            odds / (1.0 + odds)
        } else {
            self.value * factor
        }
    }
}

/// Right answers by set, of how many: the service first, or where a change is to be judged, that judgement.
#[derive(Clone, PartialEq)]
struct Scores(BTreeMap<String, (usize, usize)>);

impl Scores {
    fn share(&self, set: &str) -> f64 {
        self.0.get(set).map_or(0.0, |(right, all)| *right as f64 / *all as f64)
    }
}

impl std::fmt::Display for Scores {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let said: Vec<String> =
            self.0.iter().map(|(set, (right, all))| format!("{set} {right}/{all}")).collect();
        to.write_str(&said.join(", "))
    }
}

struct Bench {
    program: PathBuf,
    kept: PathBuf,
    json: PathBuf,
}

impl Bench {
    /// The scores with these constants moved to these values.
    fn score(&self, moved: &[(&Constant, f64)]) -> anyhow::Result<Scores> {
        let environment = moved
            .iter()
            .map(|(constant, value)| (variable(&constant.place, &constant.name), value.to_string()));
        let output = Command::new(&self.program)
            .arg("score")
            .args([&self.kept, &self.json])
            .envs(environment)
            .output()?;
        anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let run: serde_json::Value = serde_json::from_slice(&std::fs::read(&self.json)?)?;
        let mut scores = BTreeMap::<String, (usize, usize)>::new();
        for case in run["cases"].as_array().context("cases")? {
            let (right, all) =
                scores.entry(case["system"].as_str().unwrap_or_default().to_owned()).or_default();
            *all += 1;
            let judged = case["culprit_correct"].as_bool();
            *right += usize::from(judged.unwrap_or_else(|| case["correct_service_rank"] == 1));
        }
        Ok(Scores(scores))
    }
}

/// Each constant by itself.
fn alone(bench: &Bench, constants: &[Constant], usual: &Scores) -> anyhow::Result<()> {
    let mut still = 0;
    for constant in constants {
        for factor in [0.5, 2.0] {
            let value = constant.moved(factor);
            let scores = bench.score(&[(constant, value)])?;
            if scores == *usual {
                still += 1;
            } else {
                println!("{}::{} {} -> {value:.3}: {scores}", constant.place, constant.name, constant.value);
            }
        }
    }
    println!("moved alone: {still} of {} moves change nothing", 2 * constants.len());
    Ok(())
}

/// All of them at once, and the middle of the draws that the other systems would choose.
fn together(bench: &Bench, constants: &[Constant]) -> anyhow::Result<()> {
    let moved = |exponents: &[f64]| -> anyhow::Result<Scores> {
        let values =
            constants.iter().zip(exponents).map(|(constant, by)| (constant, constant.moved(by.exp2())));
        bench.score(&values.collect::<Vec<_>>())
    };
    let mut state = 1;
    let mut draws = Vec::with_capacity(DRAWS);
    for _ in 0..DRAWS {
        let exponents: Vec<f64> = constants.iter().map(|_| 2.0 * uniform(&mut state) - 1.0).collect();
        let scores = moved(&exponents)?;
        draws.push((exponents, scores));
    }
    let sets: BTreeSet<String> = draws.iter().flat_map(|(_, scores)| scores.0.keys().cloned()).collect();
    for set in &sets {
        let mut shares: Vec<f64> = draws.iter().map(|(_, scores)| scores.share(set)).collect();
        shares.sort_by(f64::total_cmp);
        let at = |share: f64| shares[((DRAWS - 1) as f64 * share).round() as usize];
        let others = |scores: &Scores| -> f64 {
            sets.iter().filter(|other| *other != set).map(|other| scores.share(other)).sum()
        };
        draws.sort_by(|(_, a), (_, b)| others(b).total_cmp(&others(a)));
        let middle: Vec<f64> = (0..constants.len())
            .map(|place| {
                draws[..CHOSEN].iter().map(|(exponents, _)| exponents[place]).sum::<f64>() / CHOSEN as f64
            })
            .collect();
        println!(
            "{set}: of {DRAWS} draws worst {:.3}, a tenth below {:.3}, median {:.3}, best {:.3}; chosen on the other systems {:.3}",
            at(0.0),
            at(0.1),
            at(0.5),
            at(1.0),
            moved(&middle)?.share(set),
        );
    }
    Ok(())
}

/// Uniform in [0, 1): `SplitMix64`, Steele, Lea and Flood 2014.
fn uniform(state: &mut u64) -> f64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)) as f64 / u64::MAX as f64
}

fn variable(place: &str, name: &str) -> String {
    format!("MOVED_{}_{name}", place.replace('/', "_"))
}

/// Copies the tracked sources, with movable constants.
fn copied(root: &Path, copy: &Path) -> anyhow::Result<Vec<Constant>> {
    if copy.exists() {
        std::fs::remove_dir_all(copy)?;
    }
    std::fs::create_dir_all(copy)?;
    let files = Command::new("git").args(["ls-files", "-z"]).current_dir(root).output()?;
    for file in String::from_utf8(files.stdout)?.split_terminator('\0') {
        let to = copy.join(file);
        std::fs::create_dir_all(to.parent().context("a folder")?)?;
        std::fs::copy(root.join(file), to).with_context(|| format!("copy {file}"))?;
    }
    let mut constants = Vec::new();
    let mut names = BTreeSet::new();
    let mut files = Vec::new();
    below(&copy.join(REASONING), &mut files)?;
    let definition = Regex::new(r"^((?:pub(?:\([a-z]+\))? )?)const ([A-Z_]+): f64 = ([0-9.e-]+);$")?;
    for file in &files {
        let place = file.strip_prefix(copy.join(REASONING))?.with_extension("").display().to_string();
        let text = std::fs::read_to_string(file)?;
        for line in text.lines() {
            let Some(found) = definition.captures(line).filter(|found| !FIXED.contains(&&found[2])) else {
                continue;
            };
            names.insert(found[2].to_owned());
            constants.push(Constant {
                place: place.clone(),
                name: found[2].to_owned(),
                value: found[3].parse()?,
            });
        }
    }
    for file in &files {
        let place = file.strip_prefix(copy.join(REASONING))?.with_extension("").display().to_string();
        std::fs::write(file, movable(&std::fs::read_to_string(file)?, &place, &names, &definition)?)?;
    }
    let lib = copy.join("investigator/src/lib.rs");
    let text = std::fs::read_to_string(&lib)?;
    std::fs::write(
        lib,
        format!(
            "{text}\npub(crate) fn moved(variable: &str, usual: f64) -> f64 {{\n    \
             std::env::var(variable).ok().and_then(|value| value.parse().ok()).unwrap_or(usual)\n}}\n"
        ),
    )?;
    Ok(constants)
}

/// A source file in which these constants are functions.
fn movable(text: &str, place: &str, names: &BTreeSet<String>, definition: &Regex) -> anyhow::Result<String> {
    // A name may stand for a constant of another kind in this file.
    let other = Regex::new(r"(?m)^(?:pub(?:\([a-z]+\))? )?const ([A-Z_]+): (?:[^f]|f[^6])")?;
    let others: BTreeSet<&str> =
        other.captures_iter(text).filter_map(|found| found.get(1)).map(|it| it.as_str()).collect();
    let uses: Vec<(Regex, String)> = names
        .iter()
        .filter(|name| !others.contains(name.as_str()))
        .map(|name| Ok((Regex::new(&format!(r"\b{name}\b"))?, format!("{name}()"))))
        .collect::<anyhow::Result<_>>()?;
    let import = Regex::new(r"^\s*(?:pub(?:\([a-z]+\))? )?use ")?;
    let mut lines = Vec::new();
    let mut importing = false;
    for line in text.lines() {
        importing |= import.is_match(line);
        let comment = line.trim_start().starts_with("//");
        if let Some(found) = definition.captures(line).filter(|found| names.contains(&found[2])) {
            let (scope, name, value) = (&found[1], &found[2], &found[3]);
            lines.push(format!(
                "#[allow(non_snake_case)] {scope}fn {name}() -> f64 {{ static IT: std::sync::OnceLock<f64> = \
                 std::sync::OnceLock::new(); *IT.get_or_init(|| crate::moved({:?}, {value}_f64)) }}",
                variable(place, name)
            ));
        } else if comment || importing {
            lines.push(line.to_owned());
        } else {
            let moved = uses
                .iter()
                .fold(line.to_owned(), |line, (find, put)| find.replace_all(&line, put).into_owned());
            lines.push(moved);
        }
        importing &= !line.contains(';');
    }
    lines.push(String::new());
    Ok(lines.join("\n"))
}

fn below(folder: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            below(&path, files)?;
        } else if path.extension().is_some_and(|it| it == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(())
}
