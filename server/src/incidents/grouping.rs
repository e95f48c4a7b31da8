//! One incident per cause: which open incident a finding belongs to. Pure.
//!
//! A finding joins the incident that is about its service, or blames it. Otherwise it joins one that can explain it:
//!
//! - where an investigation named a root, the one whose root lies on a call path with the finding's service: harm travels
//!   along calls, up to callers as failures and down to the called as load;
//! - before that, the one with a service on a call path whose own harm no other of its services explains: the deepest ones
//!   that are hurt.
//!
//! Two causes at once on one call path are taken for one until an investigation tells them apart; incidents that turn out
//! to have the same root are joined ([`same_cause`]).

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
    let explained = |incident: &Incident| match incident.root_service.as_str() {
        "" => deepest(incident, calls).into_iter().any(|hurt| calls.share_a_path(service, hurt)),
        root => calls.share_a_path(service, root),
    };
    let tests: [&dyn Fn(&Incident) -> bool; 3] = [&named, &blamed, &explained];
    tests.iter().find_map(|test| open.iter().find(|incident| test(incident))).map(|incident| incident.id)
}

/// Services that an incident is about and that depend on no other of them. In a cycle nobody is deepest: then all are.
fn deepest<'a>(incident: &'a Incident, calls: &CallGraph) -> Vec<&'a str> {
    let hurt: BTreeSet<&str> = incident.findings.iter().map(|finding| finding.service.as_str()).collect();
    let last = |service: &&str| !hurt.iter().any(|other| other != service && calls.reaches(service, other));
    let deepest: Vec<&str> = hurt.iter().copied().filter(last).collect();
    if deepest.is_empty() { hurt.into_iter().collect() } else { deepest }
}

/// Pairs of open incidents whose investigations blame the same service: the older, and the younger that joins it.
pub fn same_cause<'a>(open: &[&'a Incident]) -> Vec<(&'a Incident, &'a Incident)> {
    let mut oldest: BTreeMap<&str, &'a Incident> = BTreeMap::new();
    let mut pairs = Vec::new();
    for incident in open.iter().filter(|incident| !incident.root_service.is_empty()) {
        match oldest.get(incident.root_service.as_str()) {
            Some(older) => pairs.push((*older, *incident)),
            None => drop(oldest.insert(&incident.root_service, incident)),
        }
    }
    pairs
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
    let burn = |finding: &Finding| finding.objective().map_or(0.0, |missed| missed.burn_short);
    findings.sort_by(|left, right| {
        let rank = |finding: &Finding| (ranks[&finding.service], std::cmp::Reverse(finding.severity));
        rank(left)
            .cmp(&rank(right))
            .then(burn(right).total_cmp(&burn(left)))
            .then_with(|| (&left.service, &left.subject).cmp(&(&right.service, &right.subject)))
    });
}

#[cfg(test)]
pub(crate) mod tests {
    use domain::{ConfidenceLevel, Detail, IncidentEvent, ObjectiveMissed, Severity, Sli, UnixNanos, Window};

    use super::*;

    pub(crate) fn missed(sli: Sli, good_ratio: f64) -> ObjectiveMissed {
        ObjectiveMissed {
            sli,
            objective: 0.99,
            threshold_ms: (sli == Sli::Latency).then_some(500.0),
            burn_long: 20.0,
            burn_short: 20.0,
            burn_at_least: 15.0,
            burn_limit: 14.4,
            good_ratio,
            requests: 100,
            short_seconds: 300,
        }
    }

    pub(crate) fn finding(service: &str) -> Finding {
        let at = UnixNanos::from_seconds;
        Finding {
            service: service.into(),
            subject: String::new(),
            severity: Severity::Critical,
            started: at(600),
            window: Window::new(at(0), at(660)),
            detail: Detail::Objective(missed(Sli::Availability, 0.8)),
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
        // The root is known and explains nothing of what is beside it.
        check("payment", &[(1, "gateway", "catalog")], None);
        check("gateway", &[(1, "checkout", "payment")], Some(1));
    }

    #[test]
    fn callers_of_one_root_join_one_incident() {
        let [payment, gateway] = ["payment", "gateway"].map(finding);
        let opened = IncidentEvent::Opened { finding: finding("checkout") };
        let events = [opened, IncidentEvent::Updated { finding: payment }];
        let events = events.map(|event| (UnixNanos::from_seconds(1), event));
        let incident = Incident::fold(IncidentId(1), &events).unwrap();
        assert_eq!(deepest(&incident, &shop()), ["payment"]);
        // It does not reach checkout's caller by name, but what both depend on.
        assert_eq!(place(&gateway, &[&incident], &shop()), Some(IncidentId(1)));
        assert_eq!(place(&finding("catalog"), &[&incident], &shop()), None);
    }

    #[test]
    fn incidents_with_one_root_are_joined() {
        let open = [
            incident(1, "checkout", "payment"),
            incident(2, "catalog", ""),
            incident(3, "search", "payment"),
            incident(4, "mail", ""),
        ];
        let pairs = same_cause(&open.iter().collect::<Vec<_>>());
        assert_eq!(pairs.iter().map(|(a, b)| (a.id.0, b.id.0)).collect::<Vec<_>>(), [(1, 3)]);
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
