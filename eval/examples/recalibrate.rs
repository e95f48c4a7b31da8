//! `cargo run --release -p eval --example recalibrate -- KEPT...`: fits the chance of `knowledge/confidence.toml` to what came true.
//!
//! Logistic regression of "the first service is right" on the signs of `reason::confidence`, over recordings that `replay
//! observe` kept: those at hand, and copies that lack what other systems lack (`degrade`). Systems have the same weight,
//! whatever their number of recordings. Tells the calibration error, and how well the right answers are ranked before the wrong
//! ones, on each system with that system left out of the fit: copies of a recording never stand on both sides.
#![allow(clippy::print_stdout, reason = "a command of its own: it prints")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use eval::summary::{calibration_error, reliability};
use eval::{Kept, Label, score};
use investigator::reason;

const STEPS: usize = 50;
/// Pull of the coefficients, but for the intercept, toward none.
const RIDGE: f64 = 1.0;
const NAMES: [&str; WIDTH] = ["intercept", "score", "margin", "support", "strongest"];
const WIDTH: usize = 5;

/// One answer: a one and the signs, and whether it is right.
struct Case {
    system: String,
    signs: [f64; WIDTH],
    claimed: f64,
    is_right: bool,
}

fn main() -> anyhow::Result<()> {
    let mut cases = Vec::new();
    for folder in std::env::args().skip(1) {
        for kept in Kept::all(Path::new(&folder))? {
            let label = Label::read(&kept.dir)?;
            let diagnosis = reason::reason(&kept.incident);
            let (result, _) = score::score(&kept.id, &kept.system, &diagnosis, label.as_ref(), 0);
            // Where nothing is suspected there is nothing to be sure of.
            if result.ranked.is_empty() {
                continue;
            }
            let [score, margin, support, strongest] = reason::signs(&kept.incident).values();
            let (claimed, is_right) = result.claim();
            cases.push(Case {
                system: kept.system,
                signs: [1.0, score, margin, support, strongest],
                claimed,
                is_right,
            });
        }
    }
    let systems: BTreeSet<&str> = cases.iter().map(|case| case.system.as_str()).collect();
    let mut held_out = Vec::new();
    for system in systems {
        let weights = fit(cases.iter().filter(|case| case.system != system));
        let left_out = cases.iter().filter(|case| case.system == system);
        let told: Vec<(f64, bool)> = left_out.map(|case| (chance(&weights, case), case.is_right)).collect();
        println!("{system}: left out, {} cases, {}", told.len(), quality(&told));
        held_out.extend(told);
    }
    println!("all, each system left out in turn: {}", quality(&held_out));
    let claimed: Vec<(f64, bool)> = cases.iter().map(|case| (case.claimed, case.is_right)).collect();
    println!("as it is: {}", quality(&claimed));
    let weights = fit(cases.iter());
    let told: Vec<(f64, bool)> = cases.iter().map(|case| (chance(&weights, case), case.is_right)).collect();
    println!("fitted on all {} cases: {}", cases.len(), quality(&told));
    for (name, weight) in NAMES.iter().zip(weights) {
        println!("{name} = {weight:.3}");
    }
    Ok(())
}

fn chance(weights: &[f64; WIDTH], case: &Case) -> f64 {
    let sum: f64 = weights.iter().zip(case.signs).map(|(weight, sign)| weight * sign).sum();
    1.0 / (1.0 + (-sum).exp())
}

/// Newton's method on the penalised likelihood, which is concave.
fn fit<'a>(cases: impl Iterator<Item = &'a Case> + Clone) -> [f64; WIDTH] {
    let mut of_system: BTreeMap<&str, f64> = BTreeMap::new();
    for case in cases.clone() {
        *of_system.entry(&case.system).or_default() += 1.0;
    }
    let share = of_system.values().sum::<f64>() / of_system.len().max(1) as f64;
    let mut weights = [0.0; WIDTH];
    for _ in 0..STEPS {
        let mut slope = [0.0; WIDTH];
        let mut curve = [[0.0; WIDTH]; WIDTH];
        for place in 0..WIDTH {
            let ridge = if place == 0 { 1e-6 } else { RIDGE };
            slope[place] = -ridge * weights[place];
            curve[place][place] = ridge;
        }
        for case in cases.clone() {
            let (told, counts) = (chance(&weights, case), share / of_system[case.system.as_str()]);
            let (missed, sure) = (f64::from(u8::from(case.is_right)) - told, told * (1.0 - told));
            for ((down, bends), sign) in slope.iter_mut().zip(&mut curve).zip(case.signs) {
                *down += counts * missed * sign;
                bends
                    .iter_mut()
                    .zip(case.signs)
                    .for_each(|(bend, other)| *bend += counts * sure * sign * other);
            }
        }
        let step = solve(curve, slope);
        let length = step.iter().map(|part| part * part).sum::<f64>().sqrt().max(1.0);
        weights.iter_mut().zip(step).for_each(|(weight, part)| *weight += part / length);
    }
    weights
}

/// Gaussian elimination. The matrix is positive definite.
fn solve(mut matrix: [[f64; WIDTH]; WIDTH], mut right: [f64; WIDTH]) -> [f64; WIDTH] {
    for pivot in 0..WIDTH {
        for row in pivot + 1..WIDTH {
            let factor = matrix[row][pivot] / matrix[pivot][pivot];
            let above = matrix[pivot];
            matrix[row].iter_mut().zip(above).for_each(|(entry, upper)| *entry -= factor * upper);
            right[row] -= factor * right[pivot];
        }
    }
    for row in (0..WIDTH).rev() {
        let known: f64 = (row + 1..WIDTH).map(|column| matrix[row][column] * right[column]).sum();
        right[row] = (right[row] - known) / matrix[row][row];
    }
    right
}

/// Calibration error over tenths, and the chance that a right answer is claimed with more confidence than a wrong one.
fn quality(told: &[(f64, bool)]) -> String {
    let error = calibration_error(&reliability(told.iter().copied()));
    let side = |right: bool| told.iter().filter(move |one| one.1 == right).map(|one| one.0);
    let won: f64 = side(true)
        .flat_map(|above| {
            side(false).map(move |below| {
                f64::midpoint(f64::from(u8::from(above > below)), f64::from(u8::from(above >= below)))
            })
        })
        .sum();
    let pairs = (side(true).count() * side(false).count()).max(1);
    format!("calibration error {error:.3}, ranked rightly {:.3}", won / pairs as f64)
}
