//! `cargo run -p eval --example recalibrate -- RESULTS.json`: scales the confidence to what came true (Platt 1999).
//!
//! Fits `logit(right) = offset + scale · logit(claimed)` on the cases of an `inquest eval run --json` file, and tells the
//! calibration error on each system with that system left out of the fit. The coefficients of
//! `knowledge/confidence.toml` are multiplied by the scale; the offset is added to the intercept.
#![allow(clippy::print_stdout, reason = "a command of its own: it prints")]

use std::collections::BTreeSet;

use anyhow::Context;
use eval::score::CaseResult;

const STEPS: usize = 200;
/// Pull toward no offset and a scale of 1.
const RIDGE: (f64, f64) = (0.05, 0.5);
const BINS: usize = 10;

#[derive(serde::Deserialize)]
struct Results {
    cases: Vec<CaseResult>,
}

fn main() -> anyhow::Result<()> {
    let path = std::env::args().nth(1).context("name the JSON file of a run")?;
    let results: Results = serde_json::from_str(&std::fs::read_to_string(path)?)?;
    let systems: BTreeSet<&str> = results.cases.iter().map(|case| case.system.as_str()).collect();
    let mut held_out = Vec::new();
    for system in systems {
        let scaling = fit(results.cases.iter().filter(|case| case.system != system));
        let told: Vec<(f64, f64)> = results
            .cases
            .iter()
            .filter(|case| case.system == system)
            .map(|case| told(case, scaling))
            .collect();
        println!("{system}: left out, {} cases, calibration error {:.3}", told.len(), error(&told));
        held_out.extend(told);
    }
    println!("all, each system left out in turn: {:.3}", error(&held_out));
    let scaling = fit(results.cases.iter());
    let all: Vec<(f64, f64)> = results.cases.iter().map(|case| told(case, scaling)).collect();
    println!("offset {:.3}, scale {:.3}, fitted on all: {:.3}", scaling.0, scaling.1, error(&all));
    Ok(())
}

fn logit(chance: f64) -> f64 {
    let chance = chance.clamp(1e-3, 1.0 - 1e-3);
    (chance / (1.0 - chance)).ln()
}

fn right(case: &CaseResult) -> f64 {
    f64::from(u8::from(case.correct_service_rank == Some(1)))
}

/// What is claimed of a case after scaling, and what came true.
fn told(case: &CaseResult, (offset, scale): (f64, f64)) -> (f64, f64) {
    (1.0 / (1.0 + (-(offset + scale * logit(case.confidence))).exp()), right(case))
}

/// Newton's method; a step is cut short where it would run away.
fn fit<'a>(cases: impl Iterator<Item = &'a CaseResult> + Clone) -> (f64, f64) {
    let (mut offset, mut scale) = (0.0, 1.0);
    for _ in 0..STEPS {
        let (mut down, mut across) = (-RIDGE.0 * offset, -RIDGE.1 * (scale - 1.0));
        let (mut first, mut mixed, mut second) = (RIDGE.0, 0.0, RIDGE.1);
        for case in cases.clone() {
            let claimed = logit(case.confidence);
            let (chance, right) = told(case, (offset, scale));
            let weight = chance * (1.0 - chance);
            down += right - chance;
            across += (right - chance) * claimed;
            first += weight;
            mixed += weight * claimed;
            second += weight * claimed * claimed;
        }
        let determinant = first * second - mixed * mixed;
        let step =
            ((down * second - across * mixed) / determinant, (first * across - mixed * down) / determinant);
        let length = step.0.hypot(step.1).max(1.0);
        offset += step.0 / length;
        scale += step.1 / length;
    }
    (offset, scale)
}

/// Expected calibration error over tenths of confidence.
fn error(told: &[(f64, f64)]) -> f64 {
    let mut bins = [0.0; BINS];
    for (chance, right) in told {
        bins[((chance * BINS as f64) as usize).min(BINS - 1)] += chance - right;
    }
    bins.iter().map(|distance: &f64| distance.abs()).sum::<f64>() / told.len().max(1) as f64
}
