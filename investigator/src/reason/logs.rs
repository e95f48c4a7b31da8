//! Log groups to patterns, and patterns that appeared, multiplied or vanished.

use std::collections::BTreeMap;

use detectors::log_template::{PatternId, Templater};
use domain::evidence::PatternMove;
use storage::questions::log_groups::LogGroups;

/// Standard errors a count must be away from what the baseline predicts.
const SPIKE_Z: f64 = 4.0;
/// And how many times as often.
const SPIKE_RATIO: f64 = 3.0;
/// Messages a vanished pattern must have been expected to write.
const GONE_EXPECTED: f64 = 10.0;

/// A pattern that moved.
#[derive(Clone, Debug)]
pub struct PatternShift {
    /// Service.
    pub service: String,
    /// Template.
    pub template: String,
    /// Logger.
    pub logger: String,
    /// Highest severity number.
    pub severity: u8,
    /// How it moved.
    pub movement: PatternMove,
    /// What the baseline predicts for the window.
    pub expected: f64,
    /// Messages in the window.
    pub now: f64,
    /// Standard errors between the two.
    pub z: f64,
    /// What it counts as a signal: by severity, saturating in the number of messages.
    pub weight: f64,
    /// First one in the window, Unix nanoseconds.
    pub first_seen: i64,
    /// One message.
    pub sample: String,
    /// Distinct messages, counted before masking.
    pub variants: u64,
    /// Messages by slice.
    pub slices: BTreeMap<i64, u64>,
}

#[derive(Default)]
struct Pattern {
    template: String,
    severity: u8,
    logger: String,
    before: f64,
    now: f64,
    first_seen: i64,
    sample: String,
    variants: u64,
    slices: BTreeMap<i64, u64>,
}

/// Patterns that moved, most telling first. `scale` tells how much work a service did in the window for each unit of
/// work in the baseline.
pub fn shifts(logs: &LogGroups, scale: impl Fn(&str) -> f64) -> Vec<PatternShift> {
    // Messages that were stored with a pattern keep it; those of other programs are given theirs here.
    let mut templater = Templater::new(logs.groups.len() * 2 + 64);
    let own: Vec<PatternId> = logs
        .groups
        .iter()
        .map(|group| match group.pattern {
            0 => templater.add(group.severity, &group.sample).own,
            stored => PatternId(stored),
        })
        .collect();
    let mut patterns: BTreeMap<(&str, PatternId), Pattern> = BTreeMap::new();
    for (group, own) in logs.groups.iter().zip(own) {
        let id = if group.pattern == 0 { templater.settled(own) } else { own };
        let pattern = patterns.entry((&group.service, id)).or_default();
        if pattern.template.is_empty() {
            let template = Some(&*group.template).filter(|template| !template.is_empty());
            let template = template.or_else(|| templater.template(id)).unwrap_or(&group.sample);
            template.clone_into(&mut pattern.template);
        }
        pattern.severity = pattern.severity.max(group.severity);
        pattern.before += group.before as f64;
        pattern.now += group.now as f64;
        pattern.variants += group.variants;
        if group.now > 0 && (pattern.first_seen == 0 || group.first_seen < pattern.first_seen) {
            pattern.first_seen = group.first_seen;
            pattern.sample.clone_from(&group.sample);
        }
        if pattern.sample.is_empty() {
            pattern.sample.clone_from(&group.sample);
        }
        if pattern.logger.is_empty() {
            pattern.logger.clone_from(&group.logger);
        }
        for (slice, count) in group.slices.iter().zip(&group.counts) {
            *pattern.slices.entry(*slice).or_default() += count;
        }
    }
    let mut moved: Vec<PatternShift> = patterns
        .into_iter()
        .filter_map(|((service, _), pattern)| shift(service, pattern, scale(service)))
        .collect();
    moved.sort_by(|left, right| {
        (right.weight * right.z.min(20.0))
            .total_cmp(&(left.weight * left.z.min(20.0)))
            .then_with(|| (&left.service, &left.template).cmp(&(&right.service, &right.template)))
    });
    moved
}

fn shift(service: &str, pattern: Pattern, scale: f64) -> Option<PatternShift> {
    let expected = pattern.before * scale;
    let spread = ((expected + 0.5) * (1.0 + scale)).sqrt();
    let z = (pattern.now - expected).abs() / spread;
    let movement = if pattern.before == 0.0 && pattern.now > 0.0 {
        PatternMove::New
    } else if pattern.now > SPIKE_RATIO * expected && z >= SPIKE_Z {
        PatternMove::Spiking
    } else if expected >= GONE_EXPECTED && pattern.now * SPIKE_RATIO < expected && z >= SPIKE_Z {
        PatternMove::Gone
    } else {
        return None;
    };
    let by_severity = match pattern.severity {
        17.. => 1.0,
        13..=16 => 0.4,
        _ => 0.05,
    };
    // One error never seen before is news; one more line of chatter is not.
    let z = if movement == PatternMove::New && pattern.severity >= 17 { z.max(SPIKE_Z) } else { z };
    Some(PatternShift {
        service: service.to_owned(),
        template: pattern.template,
        logger: pattern.logger,
        severity: pattern.severity,
        movement,
        expected,
        now: pattern.now,
        z,
        weight: by_severity * (1.0 - (-pattern.now.max(expected) / 10.0).exp()),
        first_seen: pattern.first_seen,
        sample: pattern.sample,
        variants: pattern.variants,
        slices: pattern.slices,
    })
}
