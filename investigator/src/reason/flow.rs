//! Where the code took another path: after which log statement another one follows than usual.
//!
//! A step from statement `a` to `b` has the probability `p = n(a, b) / n(a)`. It diverges when the two windows' `p` lie
//! significantly apart (two-proportion test). Nezha (Yu et al., FSE 2023) ranks event patterns by the same contrast; here
//! blame for it settles on the deepest service that diverges. The window is looked at from a minute before harm was noticed,
//! where that is known: paths taken before would water down a share.

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
    /// The statement before.
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
    let mut found: Vec<Divergence> = flow
        .steps
        .iter()
        .filter_map(|step| {
            let (all_before, all_now) = (step.all_before as f64, step.all_now as f64);
            if all_before < ENOUGH || all_now < ENOUGH {
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

    fn step(to: &str, before: u64, now: u64) -> LogStep {
        LogStep {
            service: "s".into(),
            from: "A:1".into(),
            to: to.into(),
            severity: 9,
            before,
            now,
            all_before: 50,
            all_now: 80,
        }
    }

    #[test]
    fn an_early_return_diverges_where_it_happens() {
        let steps = vec![step("A:2", 50, 2), step("", 0, 78)];
        let found = divergences(&LogFlow { steps, ..LogFlow::default() });
        let places: Vec<(&str, &str)> =
            found.iter().map(|one| (one.from.as_str(), one.to.as_str())).collect();
        assert_eq!(places, [("A:1", ""), ("A:1", "A:2")]);
    }
}
