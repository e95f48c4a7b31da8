//! Objectives that are being missed, of services, their endpoints and custom SLIs; and whether they are still. Pure.

use std::time::Duration;

use detectors::burn_rate::evaluate;
use detectors::objective::ObjectiveTable;
use detectors::recovery::{Standing, standing};
use detectors::{BurnRule, Goal, SliSeries};
use domain::{Finding, Sli, UnixNanos};

use super::levels::Levels;
use crate::config::SliRule;

/// What objectives are judged by.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// Objectives of services and endpoints.
    pub table: &'a ObjectiveTable,
    /// Indicators made of metrics.
    pub custom: &'a [SliRule],
    /// Burn rates that fire.
    pub rules: &'a [BurnRule],
    /// How long objectives must be met before that is believed.
    pub recent: Duration,
}

/// Objectives that are missed now. A long window still remembers harm that has ended: what has recovered is left out, or
/// an incident would be opened again as soon as it is over. An endpoint speaks up only where its service does not.
pub fn missed(levels: &Levels, terms: Terms<'_>, now: UnixNanos) -> Vec<Finding> {
    let mut findings = Vec::new();
    let look = |service: &str, subject: &str, series: &SliSeries, goals: &[Goal]| -> Vec<Finding> {
        let missed = evaluate(service, subject, series, goals, terms.rules, now);
        missed.into_iter().filter(|finding| still(series, finding, terms, now) == Standing::Burning).collect()
    };
    for (service, series) in levels.services() {
        let of_service = look(service, "", &series, &terms.table.of(service).goals());
        for (endpoint, series) in levels.endpoints(service) {
            let quiet = |goal: &Goal| !of_service.iter().any(|finding| finding.sli() == Some(goal.sli));
            let goals: Vec<Goal> =
                terms.table.of_endpoint(service, endpoint).goals().into_iter().filter(quiet).collect();
            findings.extend(look(service, endpoint, &series, &goals));
        }
        findings.extend(of_service);
    }
    for (place, rule) in terms.custom.iter().enumerate() {
        findings.extend(look(&rule.service, &rule.name, &levels.custom(place), &[rule.goal()]));
    }
    findings
}

/// How the objective of a finding stands now, by the settings of now.
pub fn stands(levels: &Levels, finding: &Finding, terms: Terms<'_>, now: UnixNanos) -> Standing {
    let series = match (finding.sli(), finding.subject.as_str()) {
        (Some(Sli::Custom), name) => terms
            .custom
            .iter()
            .position(|rule| rule.service == finding.service && rule.name == name)
            .map_or_else(SliSeries::default, |place| levels.custom(place)),
        (_, "") => levels.service(&finding.service),
        (_, endpoint) => levels.endpoint(&finding.service, endpoint),
    };
    still(&series, finding, terms, now)
}

fn still(series: &SliSeries, finding: &Finding, terms: Terms<'_>, now: UnixNanos) -> Standing {
    let Some(missed) = finding.objective() else { return Standing::Met };
    let goal = Goal { sli: missed.sli, objective: missed.objective, threshold_ms: missed.threshold_ms };
    standing(series, &goal, missed.burn_limit, terms.recent, now)
}

#[cfg(test)]
mod tests {
    use detectors::SliPoint;
    use detectors::burn_rate::RULES;

    use super::*;

    const NOW: UnixNanos = UnixNanos::from_seconds(1_800_000_000);

    fn points(
        service: &'static str,
        endpoint: &'static str,
        requests: f64,
        errors: impl Fn(u32) -> f64,
    ) -> impl Iterator<Item = (&'static str, &'static str, SliPoint)> {
        (0..60).map(move |ago| {
            let minute = NOW.minus(Duration::from_secs(60) * ago).floor(Duration::from_secs(60));
            (
                service,
                endpoint,
                SliPoint { minute, requests, errors: errors(ago), timed: requests, slow: 0.0 },
            )
        })
    }

    #[track_caller]
    fn check(levels: &Levels, expected: &[(&str, &str)]) {
        let table = ObjectiveTable::default();
        let terms = Terms { table: &table, custom: &[], rules: &RULES, recent: Duration::from_secs(300) };
        let missed = missed(levels, terms, NOW);
        let names: Vec<_> =
            missed.iter().map(|finding| (finding.service.as_str(), finding.subject.as_str())).collect();
        assert_eq!(names, expected);
        for finding in missed {
            assert_eq!(stands(levels, &finding, terms, NOW), Standing::Burning);
        }
    }

    #[test]
    fn harm_is_found_while_it_lasts() {
        check(&Levels::of(points("cart", "", 600.0, |_| 0.0)), &[]);
        check(
            &Levels::of(points("cart", "", 600.0, |ago| if ago < 3 { 300.0 } else { 0.0 })),
            &[("cart", "")],
        );
        check(&Levels::of(points("cart", "", 600.0, |ago| if ago > 8 { 300.0 } else { 0.0 })), &[]);
    }

    #[test]
    fn an_endpoint_speaks_up_where_its_service_does_not() {
        let bad = |ago| if ago < 5 { 20.0 } else { 0.0 };
        let rare = points("cart", "", 6000.0, bad).chain(points("cart", "POST /pay", 20.0, bad));
        check(&Levels::of(rare), &[("cart", "POST /pay")]);
        let all = points("cart", "", 30.0, bad).chain(points("cart", "POST /pay", 20.0, bad));
        check(&Levels::of(all), &[("cart", "")]);
    }
}
