//! Time that passes between the two ends of calls: the network, or a queue at one of them.
//!
//! What a calling span takes beyond the span it calls is a *gap*. Gaps that grew on a call edge could be the doing of
//! either end; the end whose edges grew all alike is to blame. An edge's added gap is divided between caller and callee
//! as the shares of their calls, of that direction, whose gaps grew.

use std::collections::BTreeMap;

/// The added gap of one call edge.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Gap {
    /// Calls in the window.
    pub calls: f64,
    /// Added milliseconds per request of the scope.
    pub added: f64,
    /// Standard errors; 0 where it did not grow.
    pub z: f64,
}

/// What each edge's gap puts on its ends: `(caller's part, callee's part)`, adding up to 1.
pub fn blamed<'a>(
    gaps: &BTreeMap<(&'a str, &'a str), Gap>,
    significant: f64,
) -> BTreeMap<(&'a str, &'a str), (f64, f64)> {
    let mut calls_out: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
    let mut calls_in: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
    let mut edges_in: BTreeMap<&str, usize> = BTreeMap::new();
    for ((caller, callee), gap) in gaps {
        let grew = if gap.z >= significant && gap.added > 0.0 { 1.0 } else { 0.0 };
        // Every edge counts, however few its calls: one that is spared says as much as one that is hurt.
        let weight = gap.calls.max(1.0).sqrt();
        for (place, sums) in [(*caller, &mut calls_out), (*callee, &mut calls_in)] {
            let sums = sums.entry(place).or_default();
            sums.0 += weight;
            sums.1 += grew * weight;
        }
        *edges_in.entry(callee).or_default() += 1;
    }
    gaps.keys()
        .map(|(caller, callee)| {
            let share = |(all, grew): (f64, f64)| grew / all.max(f64::MIN_POSITIVE);
            let (out, into) = (share(calls_out[caller]), share(calls_in[callee]));
            // Twice as many edges that agree are twice the evidence.
            let into = into * edges_in[callee] as f64;
            let all = out + into;
            ((*caller, *callee), if all > 0.0 { (out / all, into / all) } else { (0.5, 0.5) })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_whose_edges_all_grew_is_blamed() {
        let gap = |z: f64| Gap { calls: 20.0, added: z, z };
        let gaps = BTreeMap::from([
            (("gate", "food"), gap(9.0)),
            (("order", "food"), gap(9.0)),
            (("gate", "cart"), gap(0.0)),
            (("gate", "order"), gap(0.0)),
        ]);
        let (caller, callee) = blamed(&gaps, 3.0)[&("gate", "food")];
        assert!(callee > 0.8 && caller < 0.2, "{caller} {callee}");
        let (caller, callee) = blamed(&BTreeMap::from([(("a", "b"), gap(9.0))]), 3.0)[&("a", "b")];
        assert_eq!((caller, callee), (0.5, 0.5), "one edge alone does not tell");
    }
}
