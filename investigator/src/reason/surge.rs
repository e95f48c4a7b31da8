//! Whether more requests than a place can serve are what harms it.
//!
//! That traffic grew proves nothing: campaigns and releases share their hour, and callers that retry make traffic *of*
//! harm. A surge predicts more: the traffic grows before the harm, something there fills up or slows with it, what fails
//! says that time, room or a peer was wanting, no work is repeated per request, and no change right before explains it.

use domain::{Change, UnixNanos};

use super::analysis::Analysis;
use super::blame::Standing;
use super::failures::{new_failures, tokens};
use super::mechanism::repeated;
use super::metrics::Topic;
use super::resource::fills;
use super::suspects::Suspect;

/// Requests must multiply by this to count as a surge.
const SURGE: f64 = 1.6;
/// Share of what newly fails from which it is about something else than load.
const FOREIGN: f64 = 0.4;
/// A change that explains the harm at least this well is heard before the traffic is: a release of the place itself within
/// a quarter of an hour before.
const CLOSE: f64 = 0.5;
/// Words of what fails for want of time or room.
const PRESSURE: [&str; 48] = [
    "429",
    "503",
    "504",
    "aborted",
    "acquire",
    "backlog",
    "backpressure",
    "busy",
    "canceled",
    "cancelled",
    "capacity",
    "circuit",
    "congestion",
    "deadline",
    "exceeded",
    "exhausted",
    "full",
    "hangup",
    "limit",
    "limited",
    "limiter",
    "load",
    "max",
    "maximum",
    "memory",
    "oom",
    "outofmemory",
    "overflow",
    "overload",
    "overloaded",
    "pending",
    "pool",
    "queue",
    "quota",
    "refused",
    "rejected",
    "reset",
    "saturated",
    "shed",
    "shedding",
    "slow",
    "starved",
    "throttled",
    "throttling",
    "timed",
    "timeout",
    "timeouts",
    "unavailable",
];
/// Words that tell no kind of failure from another.
const GENERIC: [&str; 20] = [
    "500",
    "502",
    "5xx",
    "and",
    "bad",
    "code",
    "error",
    "errors",
    "exception",
    "failed",
    "failure",
    "gateway",
    "http",
    "internal",
    "of",
    "request",
    "response",
    "server",
    "status",
    "unknown",
];

/// What a surge predicts, and whether it was seen.
#[derive(Debug)]
pub struct Surge<'a> {
    /// Requests per second before and now.
    pub rate: (f64, f64),
    /// Whether they multiplied, at the place and where requests enter.
    pub rose: bool,
    /// Whether harm began before they did.
    pub came_after: bool,
    /// Whether anything there fills up, slows down, or fails for want of time or room.
    pub strains: bool,
    /// What most of the new failures say, where that is not about load.
    pub foreign: Option<String>,
    /// Whether requests now do a piece of work many times.
    pub repeats: bool,
    /// A change right before the harm that explains it.
    pub change: Option<&'a Change>,
}

impl<'a> Surge<'a> {
    /// Tests a suspect. `None` where requests cannot be counted on both sides.
    pub fn of(analysis: &'a Analysis<'_>, suspect: &Suspect) -> Option<Self> {
        let place = suspect.place.as_str();
        let counted = if analysis.traffic(place).is_some() { place } else { &analysis.impacted };
        let rate = analysis.traffic(counted)?;
        let entry = analysis.traffic(&analysis.impacted);
        let repeats = analysis.comparison.scoped().any(|(_, step)| {
            step.operation.service == place && repeated(&analysis.comparison, step).is_some()
        });
        Some(Self {
            rate,
            rose: multiplied(rate) && entry.is_none_or(multiplied),
            came_after: came_after(analysis, counted, place, rate.0),
            strains: strains(analysis, suspect),
            foreign: foreign(analysis, place),
            repeats,
            change: close_change(analysis, place),
        })
    }

    /// Whether everything that a surge predicts was seen.
    pub fn holds(&self) -> bool {
        self.rose
            && !self.came_after
            && self.strains
            && self.foreign.is_none()
            && !self.repeats
            && self.change.is_none()
    }
}

fn multiplied((before, now): (f64, f64)) -> bool {
    before > 0.0 && now / before >= SURGE
}

/// Whether the place was harmed before the requests multiplied: then they are its callers' retries, if anything.
fn came_after(analysis: &Analysis<'_>, counted: &str, place: &str, usual: f64) -> bool {
    let (Some(onset), Some(width)) = (analysis.onset_of(place), analysis.slice_seconds()) else {
        return false;
    };
    let [_, inside] = analysis.slices(counted);
    let rise = inside.iter().find(|slice| slice.calls as f64 / width >= SURGE * usual);
    let rise = rise.map(|slice| UnixNanos(slice.at));
    rise.is_some_and(|rise| rise.seconds_since(onset) > 2.0 * width)
}

fn strains(analysis: &Analysis<'_>, suspect: &Suspect) -> bool {
    let mine =
        || analysis.metrics.iter().filter(|metric| metric.service == suspect.place && metric.score > 0.0);
    let fills = mine().any(fills);
    let slows = suspect.latency > 0.0 || mine().any(|metric| metric.topic == Topic::Latency);
    fills || slows || new_failures(analysis, &suspect.place).iter().any(|failure| wants_room(&failure.text))
}

/// Whether a failure says that time or room was wanting.
fn wants_room(text: &str) -> bool {
    tokens(text).iter().any(|word| PRESSURE.contains(&word.as_str()))
}

/// The most frequent new failure that is not about load, where such are many.
fn foreign(analysis: &Analysis<'_>, place: &str) -> Option<String> {
    let failures = new_failures(analysis, place);
    let all: f64 = failures.iter().map(|failure| failure.count).sum();
    let other = || {
        failures.iter().filter(|failure| {
            !wants_room(&failure.text)
                && tokens(&failure.text).iter().any(|word| !GENERIC.contains(&word.as_str()))
        })
    };
    let share: f64 = other().map(|failure| failure.count).sum();
    (all > 0.0 && share >= FOREIGN * all)
        .then(|| other().next().map(|failure| failure.message.to_owned()))
        .flatten()
}

fn close_change<'a>(analysis: &'a Analysis<'_>, place: &str) -> Option<&'a Change> {
    let scene = analysis.scene(place, None);
    let (change, _) = analysis.changes.culprit(&scene)?;
    match analysis.changes.standing(change, &scene) {
        Standing::Explains(score) if score >= CLOSE => Some(change),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::fixture::{World, deploy, load};
    use crate::reason::mechanism::harm;
    use domain::{HypothesisStatus, Mechanism};

    /// The shop takes three times as many requests, and three times as long in its own work.
    fn busy(own_ms: f64) -> World {
        World::new().requests("shop", load(100, 0, 40.0), load(300, 20, 40.0 * own_ms / 10.0)).calls(
            ["shop", "GET /", ""],
            "",
            (6000, 10.0),
            (9000, own_ms),
            600,
        )
    }

    #[track_caller]
    fn check(world: World, expected: bool) {
        let analysis = Analysis::new(&world.0);
        let suspect = analysis.suspects.iter().find(|suspect| suspect.place == "shop").expect("it deviates");
        let mechanism = harm(&analysis, suspect).mechanism;
        assert_eq!(
            mechanism == Mechanism::TrafficSurge,
            expected,
            "{mechanism:?} {:?}",
            Surge::of(&analysis, suspect)
        );
    }

    #[test]
    fn a_surge_needs_what_a_surge_predicts() {
        check(busy(30.0).failed("shop", "PoolTimeout", "no connection within 2 s", 600), true);
        // Nothing is slower, and what fails is a null.
        check(busy(10.0).failed("shop", "NullPointerException", "price is null", 600), false);
        // It is slower, and what fails is a null.
        check(busy(30.0).failed("shop", "NullPointerException", "price is null", 600), false);
        // Nothing is slower, nothing fills up, and nobody says why it fails.
        check(busy(10.0), false);
        // A release right before explains it as well, one of long ago does not.
        check(busy(30.0).changed(deploy("shop", 60)), false);
        check(busy(30.0).changed(deploy("shop", 5000)), true);
    }

    #[test]
    fn work_repeated_for_every_item_is_no_surge() {
        let world =
            busy(30.0).calls(["shop", "SELECT", "GET /"], "postgresql", (6000, 1.0), (180_000, 1.0), 0);
        check(world, false);
    }

    #[test]
    fn retries_after_the_harm_are_no_surge() {
        let mut world = busy(30.0);
        for slice in &mut world.0.requests {
            if slice.at < (crate::reason::fixture::HARM + 120) * 1_000_000_000 && slice.calls == 300 {
                slice.calls = 100;
            }
        }
        check(world, false);
    }

    #[test]
    fn a_surge_that_was_there_is_not_said_to_be_missing() {
        let world = busy(10.0).failed("shop", "NullPointerException", "price is null", 600);
        let diagnosis = crate::reason::reason(&world.0);
        let surge = diagnosis.hypotheses.iter().find(|other| other.mechanism == Mechanism::TrafficSurge);
        let surge = surge.expect("it is ruled out in the open");
        assert_eq!(surge.status, HypothesisStatus::RuledOut);
        let held: Vec<_> = surge.predictions.iter().map(|one| (one.text.text.as_str(), one.held)).collect();
        assert_eq!(held[0], ("It predicts more requests: 10 per second before, 30 now.", Some(true)));
        assert!(held.iter().any(|(_, held)| *held == Some(false)), "{held:?}");
    }
}
