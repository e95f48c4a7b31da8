//! Whether an incident is over, and why. Pure.

use std::time::Duration;

use detectors::recovery::Standing;
use detectors::silence;
use domain::{Detail, Finding, Incident, IncidentEvent, UnixNanos};

use super::levels::Levels;
use super::objectives::{Terms, stands};

/// Silence has to last this many times longer than health.
const SILENCE_FACTOR: u64 = 6;

/// Why the incident is over, if it is: nothing that it is about goes on. `present` is what is found now.
pub fn over(
    incident: &Incident,
    present: &[Finding],
    levels: &Levels,
    terms: Terms<'_>,
    now: UnixNanos,
) -> Option<String> {
    if incident.detected.plus(terms.recent) > now {
        return None;
    }
    let standings: Vec<Standing> = incident
        .findings
        .iter()
        // Notices came along: they neither opened it nor keep it open.
        .filter(|finding| finding.opens_incident())
        .map(|finding| {
            let found = present.iter().any(|present| present.is_about_the_same(finding));
            if found { Standing::Burning } else { of(incident, finding, levels, terms, now) }
        })
        .collect();
    if standings.contains(&Standing::Burning) {
        return None;
    }
    let minutes = terms.recent.as_secs().div_ceil(60);
    Some(if standings.iter().all(|standing| *standing == Standing::Silent) {
        format!("no requests for {} minutes, so nobody can tell", minutes * SILENCE_FACTOR)
    } else {
        format!("objectives met for {minutes} minutes")
    })
}

fn of(incident: &Incident, finding: &Finding, levels: &Levels, terms: Terms<'_>, now: UnixNanos) -> Standing {
    match &finding.detail {
        Detail::Objective(_) => stands(levels, finding, terms, now),
        // Not found any more: requests came back, or nobody calls any longer.
        Detail::Silence(_) => {
            let back = silence::is_over(&levels.service(&finding.service), finding.started, now);
            if back { Standing::Met } else { Standing::Silent }
        }
        Detail::Observation(_) => {
            let settled = noted(incident, finding).is_none_or(|at| at.plus(terms.recent) <= now);
            if settled { Standing::Met } else { Standing::Burning }
        }
    }
}

/// When the incident was last told of such a finding.
pub fn noted(incident: &Incident, finding: &Finding) -> Option<UnixNanos> {
    incident.events.iter().rev().find_map(|(at, event)| match event {
        IncidentEvent::Opened { finding: known } | IncidentEvent::Updated { finding: known } => {
            known.is_about_the_same(finding).then_some(*at)
        }
        _ => None,
    })
}

/// A finding that says nothing new is noted again after this long, so that the page is not older than that.
const RENOTE_AFTER: Duration = Duration::from_secs(120);

/// Whether a finding tells what the incident does not know: another thing, a worse severity, or where things stand after a
/// while.
pub fn says_something_new(incident: &Incident, finding: &Finding, now: UnixNanos) -> bool {
    let known = incident.findings.iter().find(|known| known.is_about_the_same(finding));
    let Some(known) = known else { return true };
    let moved = (bad(known) - bad(finding)).abs() > 0.1 * bad(known);
    finding.severity > known.severity
        || (moved && noted(incident, finding).is_none_or(|at| at.plus(RENOTE_AFTER) <= now))
}

/// The share that is bad.
fn bad(finding: &Finding) -> f64 {
    match &finding.detail {
        Detail::Objective(missed) => 1.0 - missed.good_ratio,
        Detail::Silence(silence) => silence.failed as f64 / silence.calls.max(1) as f64,
        Detail::Observation(_) => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use detectors::SliPoint;
    use detectors::burn_rate::RULES;
    use detectors::objective::ObjectiveTable;
    use domain::{IncidentId, Severity, Silence, Sli};

    use super::*;
    use crate::incidents::grouping::tests::{finding, missed};

    const NOW: UnixNanos = UnixNanos::from_seconds(1_800_000_000);

    fn incident(finding: Finding) -> Incident {
        let opened = IncidentEvent::Opened { finding };
        Incident::fold(IncidentId(1), &[(NOW.minus(Duration::from_secs(3600)), opened)]).unwrap()
    }

    /// `checkout` with requests and errors per minute by how many minutes ago.
    fn levels(minute: impl Fn(u32) -> (f64, f64)) -> Levels {
        let points = (0..120).map(|ago| {
            let (requests, errors) = minute(ago);
            let minute = NOW.minus(Duration::from_secs(60) * ago).floor(Duration::from_secs(60));
            ("checkout", "", SliPoint { minute, requests, errors, timed: requests, slow: 0.0 })
        });
        Levels::of(points)
    }

    #[track_caller]
    fn check(incident: &Incident, present: &[Finding], levels: &Levels, expected: Option<&str>) {
        let table = ObjectiveTable::default();
        let terms = Terms { table: &table, custom: &[], rules: &RULES, recent: Duration::from_secs(300) };
        assert_eq!(over(incident, present, levels, terms, NOW).as_deref(), expected);
    }

    #[test]
    fn an_incident_is_over_when_objectives_are_met_again() {
        let incident = incident(finding("checkout"));
        check(&incident, &[], &levels(|_| (600.0, 300.0)), None);
        let met = levels(|ago| (600.0, if ago > 8 { 300.0 } else { 0.0 }));
        check(&incident, &[], &met, Some("objectives met for 5 minutes"));
        check(&incident, &[finding("checkout")], &met, None);
    }

    #[test]
    fn silence_ends_an_incident_with_a_reason_of_its_own() {
        let reason = Some("no requests for 30 minutes, so nobody can tell");
        let silent = levels(|ago| if ago < 40 { (0.0, 0.0) } else { (600.0, 300.0) });
        check(&incident(finding("checkout")), &[], &silent, reason);
        check(
            &incident(finding("checkout")),
            &[],
            &levels(|ago| if ago < 9 { (0.0, 0.0) } else { (600.0, 300.0) }),
            None,
        );
        check(&incident(finding("checkout")), &[], &Levels::default(), reason);
    }

    #[test]
    fn a_silent_service_is_over_when_it_is_asked_again() {
        let silence = Finding {
            detail: Detail::Silence(Silence {
                expected: 50.0,
                callers: vec!["web".into()],
                calls: 9,
                failed: 9,
            }),
            started: NOW.minus(Duration::from_secs(3600)),
            ..finding("checkout")
        };
        let incident = incident(silence.clone());
        let silent = levels(|ago| if ago < 70 { (0.0, 0.0) } else { (600.0, 0.0) });
        check(&incident, &[silence], &silent, None);
        check(&incident, &[], &silent, Some("no requests for 30 minutes, so nobody can tell"));
        check(&incident, &[], &levels(|_| (600.0, 0.0)), Some("objectives met for 5 minutes"));
    }

    #[test]
    fn the_journal_is_not_flooded() {
        let incident = incident(finding("checkout"));
        let known = finding("checkout");
        let worse = |sli| Finding { detail: Detail::Objective(missed(sli, 0.3)), ..finding("checkout") };
        let soon = incident.detected.plus(Duration::from_secs(10));
        assert!(!says_something_new(&incident, &known, NOW));
        assert!(says_something_new(&incident, &worse(Sli::Availability), NOW));
        assert!(!says_something_new(&incident, &worse(Sli::Availability), soon));
        assert!(says_something_new(&incident, &finding("payment"), soon));
        assert!(says_something_new(&incident, &worse(Sli::Latency), soon));
        assert!(says_something_new(&incident, &Finding { subject: "GET /".into(), ..known.clone() }, soon));
        assert!(!says_something_new(&incident, &Finding { severity: Severity::Warning, ..known }, soon));
    }
}
