//! Where the code took another path: after which log statement another one follows than usual.
//!
//! A step from statement `a` to `b` has the probability `p = n(a, b) / n(a)`. It diverges when the two windows' `p` lie
//! significantly apart (two-proportion test). Nezha (Yu et al., FSE 2023) ranks event patterns by the same contrast; here
//! blame for it settles on the deepest service that diverges.

use std::collections::BTreeMap;

use detectors::statistics::proportion_z;
use storage::questions::log_flow::LogFlow;

/// Standard errors from which a step diverges.
const SIGNIFICANT: f64 = 3.0;
/// Executions of the first statement needed on each side.
const ENOUGH: f64 = 4.0;
/// A step whose probability changes by less than this is a matter of the mix of requests.
const TELLING: f64 = 0.1;

/// A step that is taken more or less often than before.
#[derive(Clone, Debug, PartialEq)]
pub struct Divergence {
    /// Service.
    pub service: String,
    /// The statement before; empty for the start of a span.
    pub from: String,
    /// The statement after; empty for the end of a span.
    pub to: String,
    /// How often `to` followed, 0 to 1.
    pub before: f64,
    /// How often it follows now.
    pub now: f64,
    /// Standard errors between the two.
    pub z: f64,
    /// What it counts as a signal, 0 to 1: the change of probability, most where one side never took the step.
    pub weight: f64,
}

/// Steps that diverge, most telling first.
pub fn divergences(flow: &LogFlow) -> Vec<Divergence> {
    let mut totals: BTreeMap<(&str, &str), (f64, f64)> = BTreeMap::new();
    for step in &flow.steps {
        let total = totals.entry((&step.service, &step.from)).or_default();
        total.0 += step.before as f64;
        total.1 += step.now as f64;
    }
    let mut found: Vec<Divergence> = flow
        .steps
        .iter()
        .filter_map(|step| {
            // How spans begin is a matter of what is asked, not of the code.
            let (all_before, all_now) = totals[&(step.service.as_str(), step.from.as_str())];
            if step.from.is_empty() || all_before < ENOUGH || all_now < ENOUGH {
                return None;
            }
            let (before, now) = (step.before as f64, step.now as f64);
            let z = proportion_z(before, all_before, now, all_now).abs();
            let (before, now) = (before / all_before, now / all_now);
            let change = (now - before).abs();
            // A branch that one side never took is another path; a shift between known branches may be another mix.
            let novelty = if step.before == 0 || step.now == 0 { 1.0 } else { change };
            (z >= SIGNIFICANT && change >= TELLING).then(|| Divergence {
                service: step.service.clone(),
                from: step.from.clone(),
                to: step.to.clone(),
                before,
                now,
                z,
                weight: change * novelty,
            })
        })
        .collect();
    found.sort_by(|left, right| {
        (right.weight * right.z.min(20.0)).total_cmp(&(left.weight * left.z.min(20.0))).then_with(|| {
            (&left.service, &left.from, &left.to).cmp(&(&right.service, &right.from, &right.to))
        })
    });
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use storage::questions::log_flow::LogStep;

    fn step(from: &str, to: &str, before: u64, now: u64) -> LogStep {
        LogStep { service: "s".into(), from: from.into(), to: to.into(), severity: 9, before, now }
    }

    #[test]
    fn an_early_return_diverges_where_it_happens() {
        let steps = vec![
            step("", "A:1", 50, 80),
            step("A:1", "A:2", 50, 2),
            step("A:1", "", 0, 78),
            step("A:2", "", 50, 2),
        ];
        let found = divergences(&LogFlow { steps, ..LogFlow::default() });
        let places: Vec<(&str, &str)> =
            found.iter().map(|one| (one.from.as_str(), one.to.as_str())).collect();
        assert_eq!(places, [("A:1", ""), ("A:1", "A:2")]);
    }
}
