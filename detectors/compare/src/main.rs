//! Change points by `augurs` beside ours, on the same series: an hour at 15 s whose level moves at a known place, or not.
//!
//! Values are standardised by their median and MAD before `augurs` sees them, which its default priors ask for; a change is
//! told when the run length falls back in the last ten minutes. Ours is `discoveries::standing` with a chance of 1% at most.

use std::time::{Duration, Instant};

use augurs_changepoint::{DefaultArgpcpDetector, Detector as _, NormalGammaDetector};
use detectors::anomaly::discoveries::{NEWS, standing};
use detectors::statistics::median;
use domain::UnixNanos;
use fastrand::Rng;

const VALUES: usize = 240;
const BEAT: Duration = Duration::from_secs(15);
const END: UnixNanos = UnixNanos::from_seconds(1_795_000_000);
/// The level moves so many values before the end.
const AGO: usize = 24;
const ROUNDS: usize = 200;

type Noise = fn(&mut Rng, usize) -> f64;
/// Where a change is, as a place in the series, if it is told.
type Method = fn(&[f64]) -> Option<usize>;

fn normal(random: &mut Rng, _: usize) -> f64 {
    (0..12).map(|_| random.f64()).sum::<f64>() - 6.0
}

fn heavy(random: &mut Rng, place: usize) -> f64 {
    (1.5 * normal(random, place)).exp()
}

fn wave(random: &mut Rng, place: usize) -> f64 {
    5.0 * (place as f64 / 9.0).sin() + normal(random, place)
}

fn spiky(random: &mut Rng, place: usize) -> f64 {
    normal(random, place) + if random.f64() < 0.03 { 15.0 } else { 0.0 }
}

fn ours(values: &[f64]) -> Option<usize> {
    let at = |place: usize| END.minus(BEAT * (VALUES - 1 - place) as u32);
    let points: Vec<(UnixNanos, f64)> = values.iter().enumerate().map(|(place, value)| (at(place), *value)).collect();
    let standing = standing(&points, END).filter(|standing| standing.chance <= 0.01)?;
    points.iter().position(|(at, _)| *at >= standing.episode.since)
}

fn standardised(values: &[f64]) -> Vec<f64> {
    let middle = median(&mut values.to_vec()).unwrap_or_default();
    let spread = median(&mut values.iter().map(|value| (value - middle).abs()).collect::<Vec<_>>()).unwrap_or(1.0);
    values.iter().map(|value| (value - middle) / (1.4826 * spread).max(1e-9)).collect()
}

fn newest(changes: &[usize]) -> Option<usize> {
    let news = VALUES - (NEWS.as_secs() / BEAT.as_secs()) as usize;
    changes.iter().copied().filter(|place| *place >= news).min()
}

fn bayes(values: &[f64]) -> Option<usize> {
    newest(&NormalGammaDetector::default().detect_changepoints(&standardised(values)))
}

fn gaussian_process(values: &[f64]) -> Option<usize> {
    newest(&DefaultArgpcpDetector::default().detect_changepoints(&standardised(values)))
}

fn main() {
    let noises: [(&str, Noise); 4] = [("normal", normal), ("heavy", heavy), ("wave", wave), ("spiky", spiky)];
    let methods: [(&str, Method, usize); 3] =
        [("ours", ours, ROUNDS), ("augurs BOCPD", bayes, ROUNDS), ("augurs ARGPCP", gaussian_process, ROUNDS / 10)];
    println!("| noise | method | false alarms | found, 5 sigma | found, 20 sigma | late, median values | ms a series |");
    println!("|---|---|---|---|---|---|---|");
    for (noise_name, noise) in noises {
        for (name, method, rounds) in methods {
            let mut random = Rng::with_seed(7);
            let mut lates = Vec::new();
            let began = Instant::now();
            let mut told = [0.0_f64; 3];
            for (place, size) in [0.0, 5.0, 20.0].into_iter().enumerate() {
                for _ in 0..rounds {
                    let step = |at: usize| if at >= VALUES - AGO { size } else { 0.0 };
                    let values: Vec<f64> = (0..VALUES).map(|at| 50.0 + noise(&mut random, at) + step(at)).collect();
                    let Some(found) = method(&values) else { continue };
                    told[place] += 1.0 / rounds as f64;
                    if place > 0 {
                        lates.push((found as f64 - (VALUES - AGO) as f64).abs());
                    }
                }
            }
            let each = began.elapsed().as_secs_f64() * 1e3 / (3 * rounds) as f64;
            let late = median(&mut lates).map_or("–".into(), |late| late.to_string());
            let [none, small, large] = told.map(|share| format!("{:.0}%", share * 100.0));
            println!("| {noise_name} | {name} | {none} | {small} | {large} | {late} | {each:.2} |");
        }
    }
}
