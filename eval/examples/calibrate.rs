//! `cargo run --release -p eval --example calibrate -- DIR...`: fits the confidence on recorded incidents and on their
//! fault-free windows, and tells how well it carries over to a system that it was not fitted on.
#![allow(
    clippy::print_stdout,
    clippy::needless_range_loop,
    reason = "a command of its own: it prints; matrices read best by index"
)]

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use domain::Verdict;
use eval::Label;
use investigator::Observations;
use investigator::reason::analysis::Analysis;
use investigator::reason::{collect, conclude, hypotheses};

/// Pull toward zero: few cases must not make large coefficients.
const RIDGE: f64 = 1.0;
const STEPS: usize = 100;
const SIGNS: usize = 5;

struct Example {
    system: String,
    signs: [f64; SIGNS],
    right: f64,
    is_quiet: bool,
    verdict: Verdict,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut examples = Vec::new();
    for root in std::env::args().skip(1).map(PathBuf::from) {
        for dir in eval::cases_below(&root)? {
            let seen = eval::case::investigate(&dir, || Duration::ZERO).await?;
            if let Some(label) = Label::read(&dir)? {
                examples.push(example(&seen.system, &seen.observations, Some(&label)));
            }
            let (system, quiet) = eval::quiet::observed(&dir).await?;
            examples.extend(quiet.iter().map(|seen| example(&system, seen, None)));
        }
    }
    let systems: BTreeSet<String> = examples.iter().map(|example| example.system.clone()).collect();
    for system in &systems {
        let weights = fit(examples.iter().filter(|example| example.system != *system));
        let told: Vec<(f64, f64)> = examples
            .iter()
            .filter(|example| example.system == *system && !example.is_quiet)
            .map(|example| (predict(&weights, &example.signs), example.right))
            .collect();
        println!(
            "{system}: left out, calibration error {:.3} on {} incidents",
            calibration_error(&told),
            told.len()
        );
    }
    let weights = fit(examples.iter());
    let told: Vec<(f64, f64)> = examples
        .iter()
        .filter(|example| !example.is_quiet)
        .map(|example| (predict(&weights, &example.signs), example.right))
        .collect();
    println!("all: calibration error {:.3} on {} incidents", calibration_error(&told), told.len());
    let quiet: Vec<&Example> = examples.iter().filter(|example| example.is_quiet).collect();
    let calm = |level: f64| quiet.iter().filter(|example| predict(&weights, &example.signs) < level).count();
    println!(
        "fault-free windows: {} of {} said to be inconclusive; below 0.3 after this fit {}, below 0.5 {}",
        quiet.iter().filter(|example| example.verdict == Verdict::Inconclusive).count(),
        quiet.len(),
        calm(0.3),
        calm(0.5)
    );
    let names = ["intercept", "score", "margin", "support", "strongest"];
    for (name, weight) in names.iter().zip(weights) {
        println!("{name} = {weight:.2}");
    }
    Ok(())
}

fn example(system: &str, seen: &Observations, label: Option<&Label>) -> Example {
    let analysis = Analysis::new(seen);
    let gathered = collect::collect(&analysis);
    let hypotheses = hypotheses::hypotheses(&analysis, &gathered);
    let signs = conclude::signs(&analysis, &hypotheses, &gathered);
    let gaps = conclude::gaps(&analysis);
    let (verdict, _) = conclude::conclude(&analysis, &hypotheses, &gathered, &gaps);
    let first = hypotheses.first().filter(|first| first.score > 0.0);
    let right = first.zip(label).is_some_and(|(first, label)| label.accepts(&first.service));
    let [score, margin, support, strongest] = signs.values();
    Example {
        system: system.to_owned(),
        signs: [1.0, score, margin, support, strongest],
        right: f64::from(u8::from(right)),
        is_quiet: label.is_none(),
        verdict,
    }
}

fn predict(weights: &[f64; SIGNS], signs: &[f64; SIGNS]) -> f64 {
    let sum: f64 = weights.iter().zip(signs).map(|(weight, sign)| weight * sign).sum();
    1.0 / (1.0 + (-sum).exp())
}

/// Logistic regression by Newton's method with a ridge; a step is cut short where it would run away.
fn fit<'a>(examples: impl Iterator<Item = &'a Example> + Clone) -> [f64; SIGNS] {
    let mut weights = [0.0; SIGNS];
    for _ in 0..STEPS {
        let mut gradient = [0.0; SIGNS];
        let mut curvature = [[0.0; SIGNS]; SIGNS];
        for place in 0..SIGNS {
            let ridge = if place == 0 { RIDGE / 20.0 } else { RIDGE };
            gradient[place] -= ridge * weights[place];
            curvature[place][place] += ridge;
        }
        for example in examples.clone() {
            let chance = predict(&weights, &example.signs);
            for row in 0..SIGNS {
                gradient[row] += (example.right - chance) * example.signs[row];
                for column in 0..SIGNS {
                    curvature[row][column] +=
                        chance * (1.0 - chance) * example.signs[row] * example.signs[column];
                }
            }
        }
        let step = solve(curvature, gradient);
        let length = step.iter().map(|part| part * part).sum::<f64>().sqrt();
        for place in 0..SIGNS {
            weights[place] += step[place] / length.max(1.0);
        }
    }
    weights
}

/// Gaussian elimination with pivoting.
fn solve(mut matrix: [[f64; SIGNS]; SIGNS], mut vector: [f64; SIGNS]) -> [f64; SIGNS] {
    for place in 0..SIGNS {
        let pivot = (place..SIGNS)
            .max_by(|left, right| matrix[*left][place].abs().total_cmp(&matrix[*right][place].abs()))
            .unwrap_or(place);
        matrix.swap(place, pivot);
        vector.swap(place, pivot);
        let upper = matrix[place];
        for row in place + 1..SIGNS {
            let factor = matrix[row][place] / upper[place].max(1e-9);
            for column in place..SIGNS {
                matrix[row][column] -= factor * upper[column];
            }
            vector[row] -= factor * vector[place];
        }
    }
    let mut solution = [0.0; SIGNS];
    for place in (0..SIGNS).rev() {
        let known: f64 = (place + 1..SIGNS).map(|column| matrix[place][column] * solution[column]).sum();
        solution[place] = (vector[place] - known) / matrix[place][place].max(1e-9);
    }
    solution
}

fn calibration_error(told: &[(f64, f64)]) -> f64 {
    let mut bins = [(0.0, 0.0, 0.0); 10];
    for (chance, right) in told {
        let bin = &mut bins[((chance * 10.0) as usize).min(9)];
        bin.0 += 1.0;
        bin.1 += chance;
        bin.2 += right;
    }
    bins.iter().map(|(_, chance, right)| (chance - right).abs()).sum::<f64>() / told.len().max(1) as f64
}
