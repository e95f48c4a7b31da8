//! Impact, what changed, the causal chain and the timeline.

use std::collections::BTreeMap;
use std::time::Duration;

use detectors::SliPoint;
use detectors::burn_rate::{burn, within_reach};
use domain::text::{duration, percent, seconds};
use domain::{
    ChainLink, ConsideredChange, EvidenceKind, Hypothesis, Impact, ImpactedEndpoint, ObjectiveStatus,
    Sentence, Sli, Strength, TimelineEntry, TimelineKind, Verdict,
};
use storage::questions::sli::{Latency, SliMinute};

use super::analysis::Analysis;
use super::collect::changes::title as change_title;
use super::collect::{Gathered, short};
use super::why::reason_for;

/// Endpoints shown.
const MAX_ENDPOINTS: usize = 8;
/// Cards of the chain; the rest of a long path is folded.
const MAX_LINKS: usize = 5;
/// Entries of the timeline.
const MAX_ENTRIES: usize = 20;
/// The burn rate that pages, for display.
const PAGES_ABOVE: f64 = 14.4;

/// What users felt.
pub fn impact(analysis: &Analysis<'_>) -> Impact {
    let window = analysis.question.window;
    let objectives = analysis.question.objectives;
    let service = &analysis.impacted;
    let minutes = &analysis.seen.endpoints;
    let now: Vec<&SliMinute> = minutes
        .iter()
        .filter(|minute| {
            minute.minute.plus(Duration::from_secs(59)) >= window.start && minute.minute < window.end
        })
        .collect();
    let timed: u64 = now.iter().map(|minute| minute.requests).sum();
    let failed: u64 = now.iter().map(|minute| minute.errors).sum();
    let slow: f64 = now.iter().map(|minute| minute.latency.slower_than(objectives.latency_ms)).sum();
    // Whole minutes reach beyond the window; the slices that the evidence of service levels counts do not. One count for both.
    let sliced = analysis.requests_in_window(service);
    let (requests, failed) = if sliced.0 > 0 { sliced } else { (timed, failed) };
    let slow = slow * requests as f64 / (timed as f64).max(1.0);
    let points: Vec<SliPoint> = minutes
        .iter()
        .map(|minute| SliPoint {
            minute: minute.minute,
            requests: minute.requests as f64,
            errors: minute.errors as f64,
            timed: minute.requests as f64,
            slow: minute.latency.slower_than(objectives.latency_ms),
        })
        .collect();
    let status = |sli: Sli, name: String, objective: f64, bad: f64| {
        let rate =
            |minutes: u64| burn(&points, sli, objective, window.end, Duration::from_secs(60 * minutes)).rate;
        let good_ratio = 1.0 - bad / (requests as f64).max(1.0);
        ObjectiveStatus {
            name,
            sli,
            objective,
            good_ratio,
            burn_5m: rate(5),
            burn_1h: rate(60),
            burn_limit: within_reach(PAGES_ABOVE, objective),
            missed: good_ratio < objective,
        }
    };
    let name = short(service);
    let statuses = vec![
        status(
            Sli::Availability,
            format!("{} of {name} requests succeed", percent(objectives.availability)),
            objectives.availability,
            failed as f64,
        ),
        status(
            Sli::Latency,
            format!(
                "{} of {name} requests under {}",
                percent(objectives.latency_ratio),
                seconds(objectives.latency_ms / 1000.0)
            ),
            objectives.latency_ratio,
            slow,
        ),
    ];
    Impact {
        requests,
        failed,
        slow: slow.round() as u64,
        objectives: if requests > 0 { statuses } else { Vec::new() },
        endpoints: endpoints(analysis, &now),
    }
}

fn endpoints(analysis: &Analysis<'_>, now: &[&SliMinute]) -> Vec<ImpactedEndpoint> {
    let baseline = analysis.baseline;
    let mut before: BTreeMap<&str, Latency> = BTreeMap::new();
    for minute in analysis.seen.endpoints.iter().filter(|minute| baseline.contains(minute.minute)) {
        before.entry(&minute.endpoint).or_default().merge(&minute.latency);
    }
    let mut present: BTreeMap<&str, (u64, u64, Latency)> = BTreeMap::new();
    for minute in now {
        let (requests, failed, latency) = present.entry(&minute.endpoint).or_default();
        *requests += minute.requests;
        *failed += minute.errors;
        latency.merge(&minute.latency);
    }
    let mut endpoints: Vec<ImpactedEndpoint> = present
        .into_iter()
        .map(|(name, (requests, failed, latency))| ImpactedEndpoint {
            name: domain::text::plain(name, 200),
            requests,
            failed,
            p95_before: before.get(name).and_then(|latency| latency.quantile(0.95)),
            p95_now: latency.quantile(0.95),
        })
        .collect();
    endpoints.sort_by(|left, right| {
        right
            .failed
            .cmp(&left.failed)
            .then(right.requests.cmp(&left.requests))
            .then_with(|| left.name.cmp(&right.name))
    });
    endpoints.truncate(MAX_ENDPOINTS);
    endpoints
}

/// `checkout availability 92.1%, objective 99%`.
pub fn title(analysis: &Analysis<'_>, gathered: &Gathered, impact: &Impact) -> String {
    let service = short(&analysis.impacted);
    let worst = impact
        .objectives
        .iter()
        .filter(|status| status.missed)
        .max_by(|left, right| left.burn_5m.total_cmp(&right.burn_5m));
    match worst {
        Some(status) if status.sli == Sli::Latency => format!(
            "{service} {} of requests under {}, objective {}",
            percent(status.good_ratio),
            seconds(analysis.question.objectives.latency_ms / 1000.0),
            percent(status.objective)
        ),
        Some(status) => format!(
            "{service} availability {}, objective {}",
            percent(status.good_ratio),
            percent(status.objective)
        ),
        None if service.is_empty() => "No service stands out".to_owned(),
        None if is_not_seen_to_deviate(gathered) => format!("Something around {service} deviates"),
        None => format!("{service} deviates from its baseline"),
    }
}

/// Whether the requests of the impacted service were counted and are as they were, or have no baseline to leave.
fn is_not_seen_to_deviate(gathered: &Gathered) -> bool {
    let level = gathered.evidence.iter().find(|evidence| evidence.kind == EvidenceKind::ServiceLevel);
    level.is_some_and(|level| level.strength < Strength::Strong)
}

/// Changes, best explanation first, each with why.
pub fn considered(
    analysis: &Analysis<'_>,
    hypotheses: &[Hypothesis],
    verdict: Verdict,
) -> Vec<ConsideredChange> {
    let first = hypotheses.first();
    let blamed = first.and_then(|first| analysis.changes.named(&first.service, first.change.as_deref()?));
    let aboard = blamed.filter(|blamed| !analysis.changes.all.contains(blamed));
    let mut considered: Vec<ConsideredChange> = analysis
        .changes
        .all
        .iter()
        .chain(aboard)
        .cloned()
        .map(|change| {
            let (score, reason) = reason_for(analysis, &change, first, verdict);
            let named = first.is_some_and(|first| first.change.as_deref() == Some(change.reference.as_str()));
            let cites = first
                .map(|first| first.supports.iter().take(2).copied().collect::<Vec<_>>())
                .unwrap_or_default();
            ConsideredChange {
                blamed: named && verdict == Verdict::Cause,
                change,
                score,
                reason: Sentence::new(reason, cites),
            }
        })
        .collect();
    considered
        .sort_by(|left, right| right.score.total_cmp(&left.score).then(right.change.at.cmp(&left.change.at)));
    considered
}

/// From the cause to the impact.
pub fn chain(
    analysis: &Analysis<'_>,
    gathered: &Gathered,
    hypotheses: &[Hypothesis],
    verdict: Verdict,
) -> Vec<ChainLink> {
    let Some(first) = hypotheses.first().filter(|_| verdict != Verdict::Inconclusive) else {
        return Vec::new();
    };
    let mut links: Vec<ChainLink> = Vec::new();
    let culprit =
        first.change.as_ref().and_then(|reference| analysis.changes.named(&first.service, reference));
    if let Some(change) = culprit {
        let cites: Vec<_> = gathered.of_change(change).into_iter().collect();
        links.push(ChainLink {
            role: "Root cause".to_owned(),
            component: short(&format!("{} {}", change.service, change.version)),
            text: Sentence::new(change_title(change), cites),
            began: Some(change.at),
            edge: String::new(),
        });
    }
    let mut path = analysis.path(&analysis.impacted, &first.service);
    path.reverse();
    if path.is_empty() {
        path = vec![first.service.clone()];
        if first.service != analysis.impacted {
            path.push(analysis.impacted.clone());
        }
    }
    let last = path.len() - 1;
    let shown =
        path.iter().enumerate().filter(|(place, _)| *place == 0 || *place == last || *place < MAX_LINKS - 1);
    for (place, service) in shown {
        let own = place == 0;
        let role = match (own, culprit.is_some(), place == last) {
            (true, true, _) => "Mechanism",
            (true, false, _) => "Root cause",
            (false, _, true) => "Impact",
            (false, _, false) => "Spread",
        };
        let text = if own { first.statement.text.clone() } else { felt(analysis, service) };
        let mut cites = gathered.about(service);
        cites.truncate(2);
        links.push(ChainLink {
            role: role.to_owned(),
            component: short(service),
            text: Sentence::new(text, cites),
            began: analysis.onset(service).or(if own { first.began } else { None }),
            edge: String::new(),
        });
    }
    // What lies within a slice is dated alike.
    let slice = analysis.slice_seconds().unwrap_or(60.0);
    for place in 0..links.len().saturating_sub(1) {
        if let (Some(from), Some(to)) = (links[place].began, links[place + 1].began) {
            let lag = to.seconds_since(from);
            links[place].edge = match lag {
                lag if lag >= 0.0 => format!("+{}", duration(lag)),
                lag if -lag <= slice => "same time".to_owned(),
                lag => format!("{} earlier", duration(lag)),
            };
        }
    }
    links
}

/// What a service on the way felt.
fn felt(analysis: &Analysis<'_>, service: &str) -> String {
    let slices = || analysis.seen.requests.iter().filter(|slice| slice.service == service);
    let side = |inside: bool| {
        let mine =
            slices().filter(|slice| analysis.question.window.contains(domain::UnixNanos(slice.at)) == inside);
        mine.fold((0.0, 0.0, 0.0), |(calls, errors, p95), slice| {
            let weight = slice.calls as f64;
            (calls + weight, errors + slice.errors as f64, p95 + slice.p95_ms * weight)
        })
    };
    let ((calls_before, _, p95_before), (calls, errors, p95)) = (side(false), side(true));
    if calls == 0.0 {
        return format!("{} is affected.", short(service));
    }
    let failing = errors / calls;
    let now = seconds(p95 / calls / 1000.0);
    let latency = match calls_before {
        0.0 => format!("p95 {now}"),
        _ => format!("p95 {} to {now}", seconds(p95_before / calls_before / 1000.0)),
    };
    if failing > 0.01 {
        format!("{} of requests fail, {latency}.", percent(failing))
    } else {
        format!("{latency}.")
    }
}

/// What happened when.
pub fn timeline(
    analysis: &Analysis<'_>,
    gathered: &Gathered,
    changes: &[ConsideredChange],
) -> Vec<TimelineEntry> {
    let mut entries: Vec<TimelineEntry> = changes
        .iter()
        .map(|considered| {
            let cites: Vec<_> = gathered
                .evidence
                .iter()
                .filter(|evidence| matches!(&evidence.exhibit, domain::Exhibit::Change { change } if *change == considered.change))
                .map(|evidence| evidence.id)
                .collect();
            TimelineEntry { at: considered.change.at, kind: TimelineKind::Change, text: Sentence::new(change_title(&considered.change), cites) }
        })
        .collect();
    for evidence in &gathered.evidence {
        let quiet = matches!(
            evidence.kind,
            EvidenceKind::Change | EvidenceKind::ServiceLevel | EvidenceKind::Traffic
        );
        if let Some(at) = evidence.began.filter(|_| !quiet) {
            entries.push(TimelineEntry {
                at,
                kind: TimelineKind::Shift,
                text: Sentence::new(evidence.claim.clone(), vec![evidence.id]),
            });
        }
    }
    if let Some(at) = analysis.started() {
        let cites: Vec<_> = gathered.first(EvidenceKind::ServiceLevel).into_iter().collect();
        entries.push(TimelineEntry {
            at,
            kind: TimelineKind::Hurt,
            text: Sentence::new(format!("Users of {} begin to be hurt", short(&analysis.impacted)), cites),
        });
    }
    entries.sort_by(|left, right| left.at.cmp(&right.at).then_with(|| left.text.text.cmp(&right.text.text)));
    if entries.len() > MAX_ENTRIES {
        entries.drain(..entries.len() - MAX_ENTRIES);
    }
    entries
}

#[cfg(test)]
mod tests {
    use storage::questions::sli::SliMinute;

    use super::*;
    use crate::reason::fixture::{HARM, World, at, load};
    use crate::reason::reason;

    /// The shop fails because of its cart, whose requests show that so long after its own.
    fn chain_of(cart_after: i64) -> Vec<ChainLink> {
        let mut world = World::new()
            .requests("shop", load(100, 0, 40.0), load(100, 50, 40.0))
            .requests("cart", load(100, 0, 30.0), load(100, 50, 30.0))
            .calls(["shop", "GET /", ""], "", (6000, 10.0), (3000, 10.0), 0)
            .calls(["cart", "GET /cart", "GET /"], "", (6000, 10.0), (3000, 10.0), 1500)
            .failed("cart", "NullPointerException", "price is null", 1500);
        for slice in world.0.requests.iter_mut().filter(|slice| slice.service == "cart") {
            if slice.at < at(HARM + cart_after).0 {
                slice.errors = 0;
            }
        }
        reason(&world.0).chain
    }

    #[test]
    fn what_spread_before_it_began_is_not_told_as_the_same_time() {
        let check = |cart_after: i64, expected: &str| {
            let chain = chain_of(cart_after);
            assert_eq!((chain[0].component.as_str(), chain[0].edge.as_str()), ("cart", expected));
        };
        check(0, "+0 s");
        check(10, "same time");
        check(90, "1 m 30 s earlier");
    }

    #[test]
    fn a_service_without_requests_before_felt_no_latency_before() {
        let mut world = World::new().requests("shop", load(0, 0, 0.0), load(100, 50, 40.0));
        world.0.requests.retain(|slice| slice.calls > 0);
        assert_eq!(felt(&Analysis::new(&world.0), "shop"), "50% of requests fail, p95 40 ms.");
        let world = World::new().requests("shop", load(100, 0, 30.0), load(100, 50, 40.0));
        assert_eq!(felt(&Analysis::new(&world.0), "shop"), "50% of requests fail, p95 30 ms to 40 ms.");
    }

    #[test]
    fn the_answer_counts_what_its_evidence_counts() {
        let mut world = World::new().requests("shop", load(100, 0, 40.0), load(100, 50, 40.0));
        // A minute that lies mostly before the window.
        world.0.endpoints.push(SliMinute {
            service: "shop".into(),
            endpoint: "/".into(),
            minute: at(HARM - 50),
            requests: 60_000,
            errors: 0,
            latency: Latency::default(),
        });
        let diagnosis = reason(&world.0);
        assert_eq!((diagnosis.impact.requests, diagnosis.impact.failed), (3000, 1500));
        let figure = &diagnosis.evidence[0].figures[0];
        assert_eq!((figure.name.as_str(), figure.now.as_str()), ("Availability", "50%"));
        assert_eq!(diagnosis.title, "shop availability 50%, objective 99%");
    }
}
