//! `cargo run --release -p eval --example nab_forecasters -- ../shared/data/nab`: what `augurs`' forecasters would score on
//! the Numenta benchmark in the place of our detector.
//!
//! They are fitted, not updated: a model is refitted once a day on the week before and forecasts the day ahead. Deviations
//! from the forecast are ranked as ours are, and values within an anomaly are silenced by the same rule, so that what is
//! compared is the forecast.
#![allow(clippy::print_stdout, reason = "a command of its own")]

use std::path::PathBuf;

use anyhow::Context as _;
use augurs_core::prelude::*;
use augurs_ets::AutoETS;
use augurs_mstl::MSTLModel;
use detectors::anomaly::rarity::Rarity;
use eval::nab::{corpus, judge, score};

/// Values of a day that a forecast reaches ahead, and days that it is fitted on.
const DAYS: usize = 7;
/// As long as our detector silences what continues.
const LASTS: usize = 200;

type Forecast = fn(&[f64], usize) -> Option<Vec<f64>>;

fn mstl(history: &[f64], day: usize) -> Option<Vec<f64>> {
    let fitted = MSTLModel::naive(vec![day]).fit(history).ok()?;
    Some(fitted.predict(day, None).ok()?.point)
}

fn ets(history: &[f64], day: usize) -> Option<Vec<f64>> {
    // The last day decides a model without seasons; more takes minutes.
    let recent = &history[history.len().saturating_sub(day)..];
    let fitted = AutoETS::non_seasonal().fit(recent).ok()?;
    Some(fitted.predict(day, None).ok()?.point)
}

fn last_day(history: &[f64], day: usize) -> Option<Vec<f64>> {
    Some(history[history.len() - day..].to_vec())
}

fn scores(series: &corpus::Series, forecast: Forecast) -> Vec<f64> {
    let values: Vec<f64> = series.points.iter().map(|(_, value)| *value).collect();
    let step = series.points[1].0.seconds_since(series.points[0].0).max(1.0);
    let day = ((86_400.0 / step) as usize).clamp(2, values.len());
    let (mut rarity, mut surprises) = (Rarity::default(), Vec::with_capacity(values.len()));
    for (number, chunk) in values.chunks(day).enumerate() {
        let seen = number * day;
        let history = &values[seen.saturating_sub(DAYS * day)..seen];
        let ahead = (history.len() >= 2 * day).then(|| forecast(history, day)).flatten();
        for (place, value) in chunk.iter().enumerate() {
            let deviation =
                ahead.as_ref().and_then(|ahead| ahead.get(place)).map(|ahead| (value - ahead).abs());
            let deviation = deviation.filter(|deviation| deviation.is_finite());
            surprises.push(deviation.map_or(0.0, |deviation| rarity.surprise(deviation)));
            deviation.into_iter().for_each(|deviation| rarity.learn(deviation));
        }
    }
    let fresh = |place: usize| {
        let before = &surprises[place.saturating_sub(LASTS)..place];
        before.iter().all(|before| *before < surprises[place])
    };
    (0..surprises.len())
        .map(|place| if fresh(place) { 1.0 - (-surprises[place] / 6.0).exp2() } else { 0.0 })
        .collect()
}

fn main() -> anyhow::Result<()> {
    let folder = std::env::args().nth(1).map(PathBuf::from).context("the benchmark's folder is needed")?;
    let series = corpus::read(&folder)?;
    let standard = score::PROFILES[0];
    let all: [(&str, Forecast); 3] = [
        ("the day before", last_day),
        ("augurs MSTL, daily season, naive trend", mstl),
        ("augurs ETS, automatic", ets),
    ];
    for (name, forecast) in all {
        let scores: Vec<Vec<f64>> = series.iter().map(|series| scores(series, forecast)).collect();
        println!("{name}: {:.1}", judge(&series, &scores, standard).score);
    }
    let ours = eval::nab::detect(&series);
    println!("ours: {:.1}", judge(&series, &ours, standard).score);
    Ok(())
}
