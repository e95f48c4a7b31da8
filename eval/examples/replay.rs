//! Recorded incidents observed once and reasoned about many times: what shows at once what a change of the reasoning does.
//!
//! `cargo run --release -p eval --example replay -- observe KEPT DIR...` asks the store about every recording below the
//! folders and about its fault-free windows, and keeps the answers in the folder KEPT.
//! `... replay -- score KEPT` reasons about what is kept: scores by set, what failed, what is said where nothing is wrong,
//! and what share of that would be called inconclusive with the threshold chosen on the other systems. JSON gets the
//! results as `inquest eval run --json` writes them, without times: `recalibrate` reads them.
//! `... replay table KEPT...` scores several such folders, one table of all: what [degraded](../degrade) recordings cost.
#![allow(clippy::print_stdout, reason = "a command of its own: it prints")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use domain::Verdict;
use eval::summary::{calibration_error, reliability};
use eval::{CaseResult, Kept, Label, Outcome, Run, Summary, floors, score, table};
use investigator::narrate;
use investigator::reason::{self, confidence::presence};

/// Share of fault-free windows that must be called inconclusive.
const CALM: f64 = 0.95;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [command, kept, roots @ ..] if command == "observe" => observe(Path::new(kept), roots).await,
        [command, kept, json @ ..] if command == "score" => show(Path::new(kept), json.first()),
        [command, kept @ ..] if command == "table" && !kept.is_empty() => compare(kept),
        _ => anyhow::bail!(
            "usage: replay observe KEPT DIR... | replay score KEPT [JSON] | replay table KEPT..."
        ),
    }
}

async fn observe(kept: &Path, roots: &[String]) -> anyhow::Result<()> {
    std::fs::create_dir_all(kept)?;
    let stores = eval::case::Stores::default();
    let mut asked_already = BTreeSet::new();
    for root in roots {
        for dir in eval::cases_below(Path::new(root))? {
            let id = dir.file_name().context("a folder has a name")?.to_string_lossy().into_owned();
            let seen = eval::case::investigate_in(&stores, &dir, || Duration::ZERO).await?;
            // Recordings of one system share their baselines: each window is asked about once.
            let quiet = eval::quiet::observed(&dir, |recording, asked| {
                let window = (asked.window.start, asked.window.end);
                asked_already.insert((recording.meta.system.clone(), asked.service.clone(), window))
            })
            .await?;
            let system = seen.system;
            Kept { id, dir, system, incident: seen.observations, quiet }.write(kept)?;
        }
    }
    stores.close().await
}

fn show(kept: &Path, json: Option<&String>) -> anyhow::Result<()> {
    let (mut outcomes, mut quiet) = (Vec::new(), Vec::new());
    let mut asked_already = BTreeSet::new();
    let mut incidents = Vec::new();
    for case in Kept::all(kept)? {
        let label = Label::read(&case.dir)?;
        let report = narrate::narrate(reason::reason(&case.incident))?;
        let (result, marks) = score::score(&case.id, &case.system, &report.diagnosis, label.as_ref(), 0);
        if let Some(label) = label.as_ref().filter(|_| {
            result.correct_service_rank != Some(1)
                || result.culprit_correct == Some(false)
                || marks.covered == Some(false)
        }) {
            let first = result.ranked.first();
            println!(
                "{}: {:?} rank {:?} {:?}; blamed {} {}, right {} {}{}",
                case.id,
                result.verdict,
                result.correct_service_rank,
                result.culprit_correct,
                first.map_or("-", |first| &first.service),
                first.and_then(|first| first.change.as_deref()).unwrap_or("-"),
                label.root_service.as_deref().unwrap_or("-"),
                label.culprit_change.as_deref().unwrap_or("-"),
                if marks.covered == Some(false) { "; evidence not shown" } else { "" },
            );
        }
        for (place, seen) in case.quiet.iter().enumerate() {
            // Recordings of one system share their baselines: each window counts once.
            let asked = seen.asked();
            if !asked_already.insert((
                case.system.clone(),
                asked.service,
                asked.window.start,
                asked.window.end,
            )) {
                continue;
            }
            let diagnosis = reason::reason(seen);
            quiet.push((
                case.system.clone(),
                format!("{} {place}", case.id),
                diagnosis.verdict,
                presence(&reason::signs(seen)),
            ));
        }
        incidents.push((case.system.clone(), presence(&reason::signs(&case.incident))));
        let floors = label.as_ref().map(|label| floors::floors(&case.incident, label)).unwrap_or_default();
        outcomes.push(Outcome { result, marks, floors, report, label, load_ms: 0, reason_ms: 0 });
    }
    let run = Run { outcomes, failures: Vec::new() };
    if let Some(json) = json {
        std::fs::write(json, run.json()?)?;
    }
    print!("{}", table::summary(&Summary::new(&run.outcomes)));
    calm(&quiet, &incidents);
    Ok(())
}

/// Scores of several folders in one table: a line for each and each system.
fn compare(kept: &[String]) -> anyhow::Result<()> {
    println!(
        "| recordings | set | cases | AC@1 | AC@3 | named | wrongly | innocent change blamed | confidence | ECE | calm |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    for folder in kept {
        let name = Path::new(folder).file_name().unwrap_or_default().to_string_lossy();
        let mut lines: BTreeMap<String, Line> = BTreeMap::new();
        let mut asked_already = BTreeSet::new();
        for case in Kept::all(Path::new(folder))? {
            let label = Label::read(&case.dir)?;
            let diagnosis = reason::reason(&case.incident);
            let (result, marks) = score::score(&case.id, &case.system, &diagnosis, label.as_ref(), 0);
            let mut calm = Vec::new();
            for seen in &case.quiet {
                let asked = seen.asked();
                let once = (case.system.clone(), asked.service, asked.window.start, asked.window.end);
                if asked_already.insert(once) {
                    calm.push(reason::reason(seen).verdict == Verdict::Inconclusive);
                }
            }
            for set in [case.system.as_str(), "all"] {
                lines.entry(set.to_owned()).or_default().add(&result, &marks, &calm);
            }
        }
        // The whole first.
        let whole = lines.remove("all").map(|line| ("all".to_owned(), line));
        for (set, line) in whole.into_iter().chain(lines) {
            println!("| {name} | {set} | {} |", line.cells().join(" | "));
        }
    }
    Ok(())
}

/// Counts of one set.
#[derive(Default)]
struct Line {
    results: Vec<eval::CaseResult>,
    named: usize,
    wrongly: usize,
    false_blame: (usize, usize),
    calm: (usize, usize),
}

impl Line {
    fn add(&mut self, result: &eval::CaseResult, marks: &eval::Marks, calm: &[bool]) {
        let names = result.verdict != Verdict::Inconclusive;
        self.named += usize::from(names);
        self.wrongly += usize::from(names && result.correct_service_rank != Some(1));
        self.false_blame.0 += usize::from(marks.false_blame == Some(true));
        self.false_blame.1 += usize::from(marks.false_blame.is_some());
        self.calm.0 += calm.iter().filter(|calm| **calm).count();
        self.calm.1 += calm.len();
        self.results.push(result.clone());
    }

    fn cells(&self) -> Vec<String> {
        let cases = self.results.len();
        let within = |rank: usize| {
            self.results.iter().filter(|one| one.correct_service_rank.is_some_and(|own| own <= rank)).count()
        };
        let confidence = self.results.iter().map(|one| one.confidence).sum::<f64>() / cases.max(1) as f64;
        let of = |(count, all): (usize, usize)| match all {
            0 => "–".to_owned(),
            _ => format!("{count}/{all}"),
        };
        vec![
            cases.to_string(),
            within(1).to_string(),
            within(3).to_string(),
            self.named.to_string(),
            self.wrongly.to_string(),
            of(self.false_blame),
            format!("{confidence:.2}"),
            format!("{:.3}", calibration_error(&reliability(self.results.iter().map(CaseResult::claim)))),
            of(self.calm),
        ]
    }
}

type Quiet = (String, String, Verdict, f64);

/// Fault-free windows by system: how many are called inconclusive, and with the threshold that the other systems suggest.
fn calm(quiet: &[Quiet], incidents: &[(String, f64)]) {
    let systems: BTreeSet<&str> = quiet.iter().map(|(system, ..)| system.as_str()).collect();
    let mut by_system: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for (system, id, verdict, presence) in quiet {
        let (calm, all) = by_system.entry(system).or_default();
        *all += 1;
        *calm += usize::from(*verdict == Verdict::Inconclusive);
        if *verdict != Verdict::Inconclusive {
            println!("a cause where nothing is wrong: {id} {presence:.3}");
        }
    }
    for (system, (calm, all)) in by_system {
        println!("fault-free, {system}: {calm} of {all}");
    }
    let (mut held_out, mut wrongly) = (0, 0);
    for left_out in systems {
        let others = quiet.iter().filter(|(system, ..)| system != left_out).map(|(.., presence)| *presence);
        let threshold = quantile(others.collect(), CALM);
        held_out += quiet
            .iter()
            .filter(|(system, .., presence)| system == left_out && *presence <= threshold)
            .count();
        wrongly += incidents
            .iter()
            .filter(|(system, presence)| system == left_out && *presence <= threshold)
            .count();
        println!("threshold without {left_out}: {threshold:.4}");
    }
    let all = quantile(quiet.iter().map(|(.., presence)| *presence).collect(), CALM);
    println!(
        "fault-free, each system judged by the others' threshold: {held_out} of {}; incidents lost to it {wrongly} of {}; of all {all:.4}",
        quiet.len(),
        incidents.len()
    );
}

fn quantile(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let place = (values.len() as f64 * share).ceil() as usize;
    values.get(place.saturating_sub(1)).copied().unwrap_or_default()
}
