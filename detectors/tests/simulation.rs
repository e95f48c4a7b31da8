//! How soon the burn-rate rules see an outage, and how often they see one where there is none: simulated, seeded, with
//! the results as a snapshot. README quotes the table.
//!
//! Requests of a 10-second slice are Poisson, failures are binomial, and the rules look every 10 seconds, as the server
//! does. Each outage begins after three clean days. Latency objectives use the same rules on other counts.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::fmt::Write as _;
use std::time::Duration;

use detectors::burn_rate::{RULES, fires};
use detectors::{Goal, SliPoint, SliSeries};
use domain::{Sli, UnixNanos};

const SLICE: i64 = 10;
const DAY: i64 = 86_400;
const CLEAN_DAYS: i64 = 3;
const OUTAGES: u64 = 20;
const MONTH_DAYS: i64 = 30;

/// A small generator whose stream is fixed for ever: SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        ((mixed >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    /// Exact by gaps while the mean is small; beyond, the normal approximation, whose error is far below the noise.
    fn poisson(&mut self, mean: f64) -> f64 {
        if mean > 1000.0 {
            return (mean + mean.sqrt() * self.normal()).round().max(0.0);
        }
        let (mut passed, mut count) = (-self.next().ln(), 0.0);
        while passed < mean {
            passed -= self.next().ln();
            count += 1.0;
        }
        count
    }

    /// Binomial by geometric gaps between hits; the normal approximation where both hits and misses are many.
    fn binomial(&mut self, trials: f64, share: f64) -> f64 {
        if share <= 0.0 || trials <= 0.0 {
            return 0.0;
        }
        if share >= 1.0 {
            return trials;
        }
        let mean = trials * share;
        if mean > 1000.0 && trials - mean > 1000.0 {
            return (mean + (mean * (1.0 - share)).sqrt() * self.normal()).round().clamp(0.0, trials);
        }
        let (mut place, mut hits) = (0.0, 0.0);
        loop {
            place += (self.next().ln() / (-share).ln_1p()).floor() + 1.0;
            if place > trials {
                return hits;
            }
            hits += 1.0;
        }
    }

    /// Box and Muller 1958.
    fn normal(&mut self) -> f64 {
        (-2.0 * self.next().ln()).sqrt() * (std::f64::consts::TAU * self.next()).cos()
    }

    fn slices(&mut self, from: i64, to: i64, rate: f64, share: f64) -> Vec<SliPoint> {
        (from..to)
            .step_by(SLICE as usize)
            .filter_map(|at| {
                let requests = self.poisson(rate * SLICE as f64);
                let errors = self.binomial(requests, share);
                let minute = UnixNanos::from_seconds(at);
                (requests > 0.0).then_some(SliPoint { minute, requests, errors, timed: 0.0, slow: 0.0 })
            })
            .collect()
    }
}

fn goal(objective: f64) -> Goal {
    Goal { sli: Sli::Availability, objective, threshold_ms: None }
}

fn fires_at(series: &SliSeries, objective: f64, at: i64) -> bool {
    fires(series, &goal(objective), &RULES, UnixNanos::from_seconds(at))
}

/// Seconds from the start of the outage to the first look that fires, for each of some seeds, in order; none within
/// three days is `i64::MAX`.
fn delays(rate: f64, share: f64, objective: f64) -> Vec<i64> {
    let one = |seed: u64| {
        let mut random = Random(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ rate.to_bits() ^ share.to_bits());
        let start = CLEAN_DAYS * DAY + (seed as i64 * 7) % 60;
        let clean = random.slices(start % SLICE, start, rate, (1.0 - objective) / 10.0);
        let mut horizon = 2 * 3600;
        loop {
            let mut points = clean.clone();
            points.extend(Random(seed ^ rate.to_bits()).slices(start, start + horizon, rate, share));
            let series = SliSeries::new(points);
            let looks = (0..horizon / SLICE).map(|look| look * SLICE + SLICE - 1);
            if let Some(after) = looks.into_iter().find(|after| fires_at(&series, objective, start + after)) {
                return after + 1;
            }
            if horizon >= 3 * DAY {
                return i64::MAX;
            }
            horizon = (horizon * 6).min(3 * DAY);
        }
    };
    let mut delays: Vec<i64> = (0..OUTAGES).map(one).collect();
    delays.sort_unstable();
    delays
}

/// Times within a month of clean traffic that the rules begin to fire.
fn false_alerts(rate: f64, share: f64, objective: f64, seed: u64) -> u32 {
    let mut random = Random(seed ^ rate.to_bits() ^ share.to_bits());
    let series = SliSeries::new(random.slices(0, MONTH_DAYS * DAY, rate, share));
    let mut firing = false;
    let mut alerts = 0;
    for look in 1..MONTH_DAYS * DAY / SLICE {
        let fires = fires_at(&series, objective, look * SLICE - 1);
        alerts += u32::from(fires && !firing);
        firing = fires;
    }
    alerts
}

fn length(seconds: i64) -> String {
    match seconds {
        i64::MAX => "not in 72 h".into(),
        seconds if seconds < 120 => format!("{seconds} s"),
        seconds if seconds < 7200 => format!("{} min", (seconds + 30) / 60),
        seconds => format!("{:.1} h", Duration::from_secs(seconds as u64).as_secs_f64() / 3600.0),
    }
}

const RATES: [f64; 3] = [0.01, 1.0, 1000.0];

/// The table of README: median delay, and the longest of 20.
#[test]
fn detection_delay() {
    let mut table = String::from(
        "| objective | bad share | 0.01 req/s | 1 req/s | 1000 req/s |\n|---|---|---|---|---|\n",
    );
    for objective in [0.99, 0.999] {
        for share in [1.0, 0.1, 0.02] {
            let cells = RATES.map(|rate| {
                let delays = delays(rate, share, objective);
                format!("{} (≤ {})", length(delays[delays.len() / 2]), length(*delays.last().unwrap()))
            });
            writeln!(table, "| {}% | {}% | {} |", objective * 100.0, share * 100.0, cells.join(" | "))
                .unwrap();
        }
    }
    insta::assert_snapshot!("detection-delay", table);
}

/// None in a month, at any volume, neither with a tenth of the budget spent nor with all of it.
#[test]
fn no_false_alert_in_a_month_of_clean_traffic() {
    assert_eq!((alerts_of_all(0.1, 7), alerts_of_all(1.0, 7)), (0, 0));
}

/// In a year none with a tenth of the budget spent; one, at 0.01 req/s, where all of it is. Slow without optimisation.
#[test]
#[ignore = "long"]
fn false_alerts_in_a_year_of_clean_traffic() {
    let of_year = |spent: f64| (100..112).map(|seed| alerts_of_all(spent, seed)).sum::<u32>();
    assert_eq!((of_year(0.1), of_year(1.0)), (0, 1));
}

fn alerts_of_all(spent: f64, seed: u64) -> u32 {
    let of =
        |objective: f64| RATES.map(|rate| false_alerts(rate, (1.0 - objective) * spent, objective, seed));
    [0.99, 0.999].into_iter().flat_map(of).sum()
}
