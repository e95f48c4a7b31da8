//! One incident per cause: which open incident a finding belongs to. Pure.
//!
//! First version: a finding joins the incident of its own service, or one whose latest report blames its service, or one
//! whose service it can reach, or be reached from, along calls. Two causes at once on one call path are taken for one.

use std::collections::{BTreeMap, BTreeSet};

use domain::{Finding, Incident, IncidentId};

/// Who calls whom.
#[derive(Debug, Default)]
pub struct CallGraph {
    callees: BTreeMap<String, BTreeSet<String>>,
}

impl CallGraph {
    /// A graph from pairs of caller and callee.
    pub fn new(edges: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut callees: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (caller, callee) in edges {
            callees.entry(caller).or_default().insert(callee);
        }
        Self { callees }
    }

    /// Whether calls lead from one service to the other. A service reaches itself.
    pub fn reaches(&self, from: &str, to: &str) -> bool {
        let mut seen = BTreeSet::from([from]);
        let mut pending = vec![from];
        while let Some(service) = pending.pop() {
            if service == to {
                return true;
            }
            let next = self.callees.get(service).into_iter().flatten().map(String::as_str);
            pending.extend(next.filter(|callee| seen.insert(callee)));
        }
        false
    }

    /// Whether one of the two calls the other, directly or not.
    fn share_a_path(&self, left: &str, right: &str) -> bool {
        self.reaches(left, right) || self.reaches(right, left)
    }
}

/// The open incident that the finding belongs to, the oldest where there are several; `None` opens a new one.
pub fn place(finding: &Finding, open: &[&Incident], calls: &CallGraph) -> Option<IncidentId> {
    let service = finding.service.as_str();
    let named = |incident: &Incident| incident.findings.iter().any(|known| known.service == service);
    let blamed = |incident: &Incident| incident.root_service == service;
    let on_path = |incident: &Incident| calls.share_a_path(service, &incident.service);
    let tests: [&dyn Fn(&Incident) -> bool; 3] = [&named, &blamed, &on_path];
    tests.iter().find_map(|test| open.iter().find(|incident| test(incident))).map(|incident| incident.id)
}

/// Orders findings of one round so that the service nearest to the users opens the incident and the others join it.
pub fn nearest_to_users_first(findings: &mut [Finding], calls: &CallGraph) {
    let services: BTreeSet<String> = findings.iter().map(|finding| finding.service.clone()).collect();
    let callers = |service: &str| {
        let reaches = |other: &&String| other.as_str() != service && calls.reaches(other, service);
        services.iter().filter(reaches).count()
    };
    let ranks: BTreeMap<String, usize> =
        services.iter().map(|service| (service.clone(), callers(service))).collect();
    findings.sort_by(|left, right| {
        let rank = |finding: &Finding| (ranks[&finding.service], std::cmp::Reverse(finding.severity));
        rank(left)
            .cmp(&rank(right))
            .then(right.burn_short.total_cmp(&left.burn_short))
            .then_with(|| left.service.cmp(&right.service))
    });
}

#[cfg(test)]
pub(crate) mod tests {
    use domain::{ConfidenceLevel, IncidentEvent, Severity, Sli, UnixNanos, Window};

    use super::*;

    pub(crate) fn finding(service: &str) -> Finding {
        let at = UnixNanos::from_seconds;
        Finding {
            service: service.into(),
            sli: Sli::Availability,
            objective: 0.99,
            threshold_ms: None,
            severity: Severity::Critical,
            burn_long: 20.0,
            burn_short: 20.0,
            burn_limit: 14.4,
            good_ratio: 0.8,
            requests: 100,
            started: at(600),
            window: Window::new(at(0), at(660)),
        }
    }

    fn shop() -> CallGraph {
        let edges = [
            ("gateway", "checkout"),
            ("gateway", "catalog"),
            ("checkout", "payment"),
            ("payment", "gateway2"),
        ];
        CallGraph::new(edges.map(|(caller, callee)| (caller.to_owned(), callee.to_owned())))
    }

    fn incident(id: u32, service: &str, root_service: &str) -> Incident {
        let investigated = IncidentEvent::Investigated {
            run: 1,
            summary: String::new(),
            confidence: ConfidenceLevel::High,
            root_service: root_service.into(),
            elapsed_ms: 1,
        };
        let events = [IncidentEvent::Opened { finding: finding(service) }, investigated];
        Incident::fold(IncidentId(id), &events.map(|event| (UnixNanos::from_seconds(1), event))).unwrap()
    }

    fn check(service: &str, open: &[(u32, &str, &str)], expected: Option<u32>) {
        let open: Vec<Incident> =
            open.iter().map(|(id, service, root)| incident(*id, service, root)).collect();
        let place = place(&finding(service), &open.iter().collect::<Vec<_>>(), &shop());
        assert_eq!(place.map(|id| id.0), expected, "{service} in {open:?}");
    }

    #[test]
    fn a_finding_joins_what_has_its_cause() {
        check("checkout", &[], None);
        check("checkout", &[(1, "checkout", "")], Some(1));
        check("payment", &[(1, "gateway", "")], Some(1));
        check("gateway", &[(1, "payment", "")], Some(1));
        check("search", &[(1, "gateway", "")], None);
        check("search", &[(1, "gateway", "search")], Some(1));
        check("catalog", &[(1, "checkout", "payment")], None);
        check("payment", &[(1, "gateway", ""), (2, "payment", "")], Some(2));
    }

    #[test]
    fn cycles_end() {
        let graph =
            CallGraph::new([("a", "b"), ("b", "a")].map(|(from, to)| (from.to_owned(), to.to_owned())));
        assert!(graph.reaches("b", "a") && !graph.reaches("a", "c"));
    }

    #[test]
    fn users_come_first() {
        let mut findings = ["payment", "checkout", "catalog", "gateway"].map(finding);
        nearest_to_users_first(&mut findings, &shop());
        assert_eq!(findings.map(|finding| finding.service), ["gateway", "catalog", "checkout", "payment"]);
    }
}
