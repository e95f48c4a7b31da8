//! A cause in one sentence.

use domain::text::{number, seconds};
use domain::{Change, Mechanism};

use super::analysis::Analysis;
use super::collect::changes::title;
use super::collect::short;
use super::comparison::{Comparison, Step};
use super::locks::{Lock, lock};
use super::mechanism::{self, Harm};
use super::metrics::{MetricMove, Topic};
use super::neighbour::{Neighbour, neighbour};
use super::outside::outside_address;
use super::record::stuck_record;
use super::resource::{exhausted, movement};
use super::suspects::Suspect;
use super::why;

/// The cause in one sentence.
pub fn statement(
    analysis: &Analysis<'_>,
    suspect: &Suspect,
    harm: &Harm,
    culprit: Option<&Change>,
) -> String {
    let who = match culprit {
        Some(change) => format!("{} ({})", short(&suspect.place), brought_by(change, &suspect.place)),
        None => short(&suspect.place),
    };
    let comparison = &analysis.comparison;
    let step = harm.step.map(|place| &comparison.steps[place]);
    let operation = step.map_or_else(|| "its work".to_owned(), |step| short(&step.operation.name));
    let per_call = step.map(|step| PerCall::of(comparison, step));
    let times = match per_call {
        Some(PerCall { before: Some(before), now, .. }) => {
            format!(", {} instead of {}", seconds(now), seconds(before))
        }
        _ => String::new(),
    };
    // What did not run did not become slow.
    let new = per_call.filter(|per_call| per_call.is_new);
    match harm.mechanism {
        Mechanism::RepeatedCalls => {
            let repeated = comparison
                .scoped()
                .filter(|(_, step)| step.operation.service == suspect.place)
                .filter_map(|(_, step)| mechanism::repeated(comparison, step).map(|counts| (step, counts)))
                // The statement, not what waits for a connection to run it.
                .max_by(|left, right| {
                    let calls_out = |step: &Step| {
                        !step.operation.database.is_empty() || step.leaves_service(&comparison.steps)
                    };
                    calls_out(left.0).cmp(&calls_out(right.0)).then(left.1.1.total_cmp(&right.1.1))
                });
            match repeated {
                Some((step, (before, now))) => format!(
                    "{who} runs {} {} times where it ran it {}: one call per item.",
                    short(&step.operation.name),
                    number(now.round()),
                    times_word(before)
                ),
                None => format!("{who} repeats {operation} for every item."),
            }
        }
        Mechanism::LockContention => {
            let in_database = step.is_some_and(|step| !step.operation.database.is_empty());
            let place = match lock(analysis, &suspect.place, in_database) {
                Some(Lock::Process) => "a lock",
                _ => "a lock in its database",
            };
            format!("{who} waits for {place}: {operation} takes{}.", longer(per_call))
        }
        Mechanism::SlowQuery => match new {
            Some(new) => format!(
                "{who} runs the statement {operation}, which it did not run before: {} each.",
                seconds(new.now)
            ),
            None => format!("{who}: the statement {operation} became slow{times}."),
        },
        Mechanism::SlowDependency => format!(
            "{who} answers slowly{}: {operation} takes{}.",
            called_by(analysis, &suspect.place),
            longer(per_call)
        ),
        Mechanism::FailingDependency => match outside_address(analysis, &suspect.place) {
            Some(host) => format!(
                "{who} fails because {}, which is outside the system, does not serve it. No change of ours is to blame.",
                short(host)
            ),
            None => {
                format!(
                    "{who} fails{}: calls to it come back as errors.",
                    called_by(analysis, &suspect.place)
                )
            }
        },
        Mechanism::NewErrors => {
            let cause = analysis.seen.errors_now.groups.iter().find(|group| group.service == suspect.place);
            let what = cause.map(|group| {
                if group.message.is_empty() { group.exception.clone() } else { group.message.clone() }
            });
            let logged = || {
                analysis
                    .patterns
                    .iter()
                    .find(|pattern| pattern.service == suspect.place && pattern.severity >= 17)
                    .map(|pattern| pattern.template.clone())
            };
            match what.filter(|text| !text.is_empty()).or_else(logged) {
                Some(text) => format!("{who} fails where it did not: “{}”.", short(&text)),
                None => match (step, worst(analysis, &suspect.place, &[Topic::Errors, Topic::Success])) {
                    (None, Some(metric)) => format!("{who} fails where it did not: {}.", movement(metric)),
                    _ => format!("{who} fails in {operation} where it did not."),
                },
            }
        }
        Mechanism::SlowCode => match (new, step, worst(analysis, &suspect.place, &[Topic::Latency])) {
            (Some(new), ..) => {
                format!("{who} runs {operation}, which it did not run before: {} per call.", seconds(new.now))
            }
            (None, None, Some(metric)) => format!("{who} became slow by itself: {}.", movement(metric)),
            _ => format!("{who} became slow by itself in {operation}{times}."),
        },
        Mechanism::ChangedBehaviour => match harm.step.map(|place| &comparison.steps[place]) {
            Some(step) => {
                let (before, now) = comparison.calls_per_parent(step);
                format!(
                    "{who} behaves differently: it makes {} calls to {} where it made {}.",
                    number(now),
                    short(&step.operation.name),
                    number(before)
                )
            }
            None => format!("{who} behaves differently from before."),
        },
        Mechanism::TrafficSurge => {
            let traffic = analysis.traffic(&suspect.place).or_else(|| analysis.traffic(&analysis.impacted));
            let rates = traffic.map_or_else(String::new, |(before, now)| {
                format!(", {} to {} requests per second,", number(before), number(now))
            });
            let place = short(&suspect.place);
            format!("A surge of traffic{rates} is more than {place} can serve. No change is to blame.")
        }
        Mechanism::Saturation => match exhausted(analysis, &suspect.place) {
            Some(metric) => format!("{who} runs out of a resource: {}.", movement(metric)),
            None => format!("{who} runs out of a resource."),
        },
        Mechanism::NoisyNeighbour => match neighbour(analysis, &suspect.place) {
            Some(Neighbour { name, host: Some(host) }) if name == host => format!(
                "{who} is starved of its machine: {} has no more to give. No change of ours is to blame.",
                short(host)
            ),
            Some(Neighbour { name, host: Some(host) }) => format!(
                "{who} is starved of its machine: {} on {} takes it. No change of ours is to blame.",
                short(name),
                short(host)
            ),
            Some(Neighbour { name, host: None }) => format!(
                "{who} is throttled from when {} began to take more. Nothing says which machines they are on; if it is one, \
                 no change of ours is to blame.",
                short(name)
            ),
            None => format!("{who} is starved of its machine by something else on it."),
        },
        Mechanism::BadInput => {
            let record = stuck_record(analysis, &suspect.place);
            let text = record.map(|pattern| pattern.sample.clone()).unwrap_or_default();
            format!(
                "{who} fails on one and the same record again and again: “{}”. No change is to blame.",
                short(&text)
            )
        }
        Mechanism::Network => {
            format!("The network to or from {who} is slow: time passes between the two ends of its calls.")
        }
        Mechanism::Down => format!("{who} stopped answering."),
        Mechanism::Unknown => match why::signs(analysis, &suspect.place) {
            Some(signs) => format!("{who} deviates in a way that fits no known mechanism: {signs}."),
            None if suspect.changed > 0.0 => {
                format!("{who} changed shortly before the harm; it shows nothing itself.")
            }
            None => format!("{who} is what was asked about; it shows nothing itself."),
        },
    }
}

/// `1.4.1 deployed, 14:02:10`; whose it is, where it is of another.
fn brought_by(change: &Change, place: &str) -> String {
    let title = title(change);
    let own = !place.is_empty() && change.service == place;
    let without = if own { title.replacen(&format!("{} ", short(place)), "", 1) } else { title };
    format!("{without}, {}", change.at.clock_time())
}

/// The metric of these topics that moved most at a place, for the worse.
fn worst<'a>(analysis: &'a Analysis<'_>, place: &str, topics: &[Topic]) -> Option<&'a MetricMove> {
    let worse = |metric: &&MetricMove| {
        metric.service == place && metric.worse_by > 0.0 && topics.contains(&metric.topic)
    };
    analysis.metrics.iter().find(worse)
}

fn times_word(count: f64) -> String {
    match count {
        count if count < 0.5 => "not at all".to_owned(),
        count if count < 1.5 => "once".to_owned(),
        count => format!("{} times", number(count.round())),
    }
}

/// Seconds per call of a step.
#[derive(Clone, Copy)]
struct PerCall {
    /// The same operation's on other paths, where this path to it is new.
    before: Option<f64>,
    now: f64,
    /// Whether it did not run in the baseline, of which there are traces.
    is_new: bool,
}

impl PerCall {
    fn of(comparison: &Comparison, step: &Step) -> Self {
        let same = |other: &&Step| {
            (&other.operation.service, &other.operation.name)
                == (&step.operation.service, &step.operation.name)
        };
        let elsewhere = comparison.steps.iter().filter(same).map(|other| other.before.own);
        let (count, sum) = match step.before.own {
            own if own.count > 0.0 => (own.count, own.sum),
            _ => elsewhere.fold((0.0, 0.0), |(count, sum), own| (count + own.count, sum + own.sum)),
        };
        Self {
            before: (count > 0.0).then(|| sum / count / 1000.0),
            now: step.now.own.mean() / 1000.0,
            is_new: count == 0.0 && comparison.traces.0 > 0.0,
        }
    }
}

fn longer(per_call: Option<PerCall>) -> String {
    match per_call {
        None => " longer".to_owned(),
        Some(PerCall { before: Some(before), now, .. }) => {
            format!(" {} instead of {}", seconds(now), seconds(before))
        }
        Some(PerCall { is_new: true, now, .. }) => format!(" {} and did not run before", seconds(now)),
        Some(PerCall { now, .. }) => format!(" {}", seconds(now)),
    }
}

fn called_by(analysis: &Analysis<'_>, place: &str) -> String {
    let caller = analysis.edges.iter().find(|(_, callee)| callee == place).map(|(caller, _)| caller);
    caller.map_or_else(String::new, |caller| format!(" to {}", short(caller)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::fixture::{Calls, World, deploy, load};
    use crate::reason::reason;

    #[track_caller]
    fn check_new(database: &str, before: Calls, now: Calls, expected: &str) {
        let world = World::new()
            .requests("shop", load(100, 0, 60.0), load(100, 0, 400.0))
            .calls(["shop", "GET /", ""], "", (6000, 10.0), (3000, 10.0), 0)
            .calls(["shop", "prices", "GET /"], database, before, now, 0);
        assert_eq!(reason(&world.0).hypotheses[0].statement.text, expected);
    }

    #[test]
    fn what_did_not_run_before_did_not_become_slow() {
        let (none, slow) = ((0, 0.0), (3000, 50.0));
        check_new(
            "mysql",
            (6000, 5.0),
            slow,
            "shop: the statement prices became slow, 50 ms instead of 5.0 ms.",
        );
        check_new(
            "mysql",
            none,
            slow,
            "shop runs the statement prices, which it did not run before: 50 ms each.",
        );
        check_new("", none, slow, "shop runs prices, which it did not run before: 50 ms per call.");
        check_new("", (6000, 5.0), slow, "shop became slow by itself in prices, 50 ms instead of 5.0 ms.");
    }

    #[test]
    fn a_wait_is_compared_only_with_calls_that_there_were() {
        let check = |before: Option<f64>, is_new: bool, expected: &str| {
            assert_eq!(longer(Some(PerCall { before, now: 0.05, is_new })), expected);
        };
        check(Some(0.005), false, " 50 ms instead of 5.0 ms");
        check(None, true, " 50 ms and did not run before");
        check(None, false, " 50 ms");
    }

    #[test]
    fn a_change_of_another_is_named_with_its_service() {
        let change = deploy("cart", 60);
        assert!(brought_by(&change, "cart").starts_with("2.0 deployed, "));
        assert!(brought_by(&change, "database").starts_with("cart 2.0 deployed, "));
        let global = Change {
            service: String::new(),
            kind: domain::ChangeKind::Flag,
            reference: "tax".into(),
            ..change
        };
        assert!(brought_by(&global, "cart").starts_with("flag tax set to 2.0, "));
    }
}
