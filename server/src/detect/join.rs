//! Notices join the incident that their service is part of: what was observed beside the harm belongs to its story. Pure.

use std::time::Duration;

use domain::{Finding, Incident, IncidentId};

/// What began longer before the harm has nothing to do with it.
const BEFORE: Duration = Duration::from_secs(900);
/// Notices that one incident takes.
const MOST: usize = 20;

/// The notices that open incidents do not know yet, each with the oldest one that it belongs to.
pub fn notices<'a>(findings: &'a [Finding], open: &[Incident]) -> Vec<(IncidentId, &'a Finding)> {
    let mut joined = Vec::new();
    for incident in open {
        let known =
            |finding: &&Finding| incident.findings.iter().any(|known| known.is_about_the_same(finding));
        let taken = incident.findings.iter().filter(|known| !known.opens_incident()).count();
        let new = findings
            .iter()
            .filter(|finding| !finding.opens_incident() && finding.started.plus(BEFORE) >= incident.started)
            .filter(|finding| concerns(incident, finding) && !known(finding))
            .filter(|finding| !open.iter().any(|other| other.id < incident.id && concerns(other, finding)))
            .take(MOST.saturating_sub(taken));
        joined.extend(new.map(|finding| (incident.id, finding)));
    }
    joined
}

fn concerns(incident: &Incident, finding: &Finding) -> bool {
    finding.service == incident.root_service
        || incident.findings.iter().any(|known| known.service == finding.service)
}

#[cfg(test)]
mod tests {
    use domain::{Detail, IncidentEvent, Observation, SeenIn, Severity};

    use super::*;
    use crate::incidents::grouping::tests::finding;

    fn notice(service: &str, subject: &str) -> Finding {
        let observation = Observation {
            detector: "change".into(),
            sentence: String::new(),
            numbers: Vec::new(),
            seen_in: SeenIn::Nothing,
            hosts: Vec::new(),
        };
        Finding {
            subject: subject.into(),
            severity: Severity::Notice,
            detail: Detail::Observation(observation),
            ..finding(service)
        }
    }

    fn incident(id: u32, findings: Vec<Finding>) -> Incident {
        let at = findings[0].started;
        let mut events = findings.into_iter().map(|finding| (at, IncidentEvent::Updated { finding }));
        let Some((at, IncidentEvent::Updated { finding })) = events.next() else { unreachable!() };
        let events: Vec<_> = std::iter::once((at, IncidentEvent::Opened { finding })).chain(events).collect();
        Incident::fold(IncidentId(id), &events).unwrap()
    }

    #[track_caller]
    fn check(findings: &[Finding], open: &[Incident], expected: &[(u32, &str)]) {
        let joined: Vec<(u32, &str)> =
            notices(findings, open).iter().map(|(id, finding)| (id.0, finding.subject.as_str())).collect();
        assert_eq!(joined, expected);
    }

    #[test]
    fn a_notice_joins_the_incident_of_its_service_once() {
        let cpu = notice("checkout", "cpu");
        let open = [incident(1, vec![finding("checkout")]), incident(2, vec![finding("checkout")])];
        check(&[cpu.clone(), notice("ads", "cpu")], &open, &[(1, "cpu")]);
        check(std::slice::from_ref(&cpu), &[incident(1, vec![finding("checkout"), cpu.clone()])], &[]);
        check(&[finding("checkout")], &open, &[]);
        let old = Finding { started: cpu.started.minus(Duration::from_secs(7200)), ..cpu };
        check(&[old], &open, &[]);
    }

    #[test]
    fn a_flood_is_cut() {
        let many: Vec<Finding> = (0..50).map(|number| notice("checkout", &number.to_string())).collect();
        assert_eq!(notices(&many, &[incident(1, vec![finding("checkout")])]).len(), MOST);
    }
}
