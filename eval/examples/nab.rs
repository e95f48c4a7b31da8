//! `cargo run --release -p eval --example nab -- ../shared/data/nab`: the detector of anomalies on the Numenta benchmark.
#![allow(clippy::print_stdout, reason = "a command of its own")]

use std::path::PathBuf;

use anyhow::Context as _;
use eval::nab::{corpus, detect, judge, score, table};

fn main() -> anyhow::Result<()> {
    let folder = std::env::args().nth(1).map(PathBuf::from).context("the benchmark's folder is needed")?;
    let series = corpus::read(&folder)?;
    anyhow::ensure!(!series.is_empty(), "no labelled series in {}", folder.display());
    let scores = detect(&series);
    let [standard, ..] = score::PROFILES;
    println!("{}", table(&series, &judge(&series, &scores, standard)));
    for profile in score::PROFILES {
        let outcome = judge(&series, &scores, profile);
        println!("{}: {:.1} at threshold {:.3}", profile.name, outcome.score, outcome.threshold);
    }
    let fixed: Vec<Vec<f64>> = scores
        .iter()
        .map(|scores| {
            scores.iter().map(|score| f64::from(u8::from(*score >= detectors::anomaly::ANOMALY))).collect()
        })
        .collect();
    println!("standard, at our own fixed threshold of 0.5: {:.1}", judge(&series, &fixed, standard).score);
    Ok(())
}
