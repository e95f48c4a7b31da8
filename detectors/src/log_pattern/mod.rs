//! Log patterns of a service that are new, spike or stopped.
//!
//! Time is cut into windows of [`WINDOW`] that end at `now`; window 0 is the latest. Counts are compared with *like*
//! windows: with three days of history those within half an hour of the same time of day, else all of the last day.
//!
//! - **New**: first seen within window 0, while the service's logs have been known for [`MIN_KNOWN`] or longer. A pattern
//!   that a deploy merely reworded is matched to the one it replaces, and is none; nor has the old one stopped. Only what
//!   first came soon after the deploy can be a rewording, and only of what was still written shortly before it
//!   ([`REWORDED_WITHIN`]).
//! - **Spike**: the count is so high that the bound of [`tail_bound`] on its chance is below [`MAX_CHANCE`], and three times
//!   what is usual.
//! - **Stopped**: silent for so many windows, [`MIN_SILENT`] to [`MAX_SILENT`], that it would be chance below [`MAX_CHANCE`], judged by the share of like
//!   windows in which it wrote (lower Wilson bound), while the service writes on.

mod chance;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use domain::UnixNanos;

pub use chance::tail_bound;

use crate::log_template::{PatternId, TemplateWords};
use crate::statistics::wilson;

/// What counts are taken over.
pub const WINDOW: Duration = Duration::from_secs(300);
/// Windows of a day.
pub const DAY: u32 = 288;
/// Windows before and after the same time of another day that are like it.
pub const NEIGHBOURS: u32 = 6;
/// A spike has at least so many messages.
pub const MIN_SPIKE: u64 = 10;
/// A spike has at least so many times the usual count.
pub const MIN_SPIKE_RATIO: f64 = 3.0;
/// Silence of fewer windows proves nothing, even of a pattern that was always there.
pub const MIN_SILENT: u32 = 6;
/// Silence of more windows is no news.
pub const MAX_SILENT: u32 = 24;
/// Share of the windows of use in which a pattern must have been written to be missed.
pub const MIN_PRESENCE: f64 = 0.5;
/// How long a service must have been heard before a pattern can be called new to it.
pub const MIN_KNOWN: Duration = Duration::from_secs(3_600);

/// Chance of a finding where there is nothing to find. Every pattern is looked at every minute: 500 services of 50
/// patterns make 36 million looks a day.
const MAX_CHANCE: f64 = 1e-9;
/// Days of history from which on the time of day counts.
const SEASONAL_DAYS: u32 = 3;
/// Days of history looked at.
const DAYS: u32 = 7;
/// Windows like the latest on those days.
pub const LIKE_OF_DAYS: f64 = (DAYS * (2 * NEIGHBOURS + 1)) as f64;
/// Like windows without which no pattern is said to have stopped or to spike.
const MIN_LIKE_WINDOWS: usize = 12;
/// Standard deviations of the bound on how often a pattern writes.
const PRESENCE_Z: f64 = 3.0;
/// Share of the service's usual messages without which the service, and not the pattern, has fallen silent.
const MIN_SERVICE_SHARE: f64 = 0.3;
/// How long after a deploy a reworded message first comes at the latest, and how long before it the old one was last
/// written: what was silent for longer is no news anyway ([`MAX_SILENT`]) and did not end with the deploy, and what runs
/// every hour runs on either side. A message that comes later is one that the service had no occasion to write before.
const REWORDED_WITHIN: Duration = WINDOW.saturating_mul(MAX_SILENT);
/// Patterns of one service, new and gone, that are compared around a deploy, the most frequent of each: a hundred times a
/// hundred comparisons of at most 64 words take some milliseconds, and a deploy that rewords more is another program.
const MAX_REWORDED: usize = 100;
/// Share of words in common from which one pattern is the rewording of another.
const MIN_SIMILARITY: f64 = 0.6;
/// New patterns of one service that are told one by one; the rest is one finding.
const MAX_NEW: usize = 5;

/// What is known of the logs of a service.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServiceLogs {
    /// The service.
    pub service: String,
    /// Its first message that is known of.
    pub since: UnixNanos,
    /// When a version of it first appeared, the latest; `None` when versions are not told.
    pub deployed: Option<UnixNanos>,
    /// Its patterns, in any order.
    pub patterns: Vec<PatternHistory>,
    /// Messages of all patterns by window, of the last `2 x` [`MAX_SILENT`] windows.
    pub windows: BTreeMap<u32, u64>,
}

/// Whether a pattern may spike or have stopped, by its messages in the latest window, in those like it on other days and of
/// the last day, the windows since its last message, and the share of windows of use in which it was written: what need not
/// be looked at closer. Sums may lack what is not known.
pub fn may_have_moved(latest: u64, like_of_days: u64, like_of_day: u64, silent: u32, presence: f64) -> bool {
    let usual = (like_of_days as f64 / LIKE_OF_DAYS).min(like_of_day as f64 / f64::from(DAY));
    let spikes = latest >= MIN_SPIKE && latest as f64 >= MIN_SPIKE_RATIO * usual;
    spikes || ((MIN_SILENT..=MAX_SILENT).contains(&silent) && presence >= MIN_PRESENCE)
}

/// The windows of history that are of use, the latest first: those like the latest, and like those of a silence.
pub fn windows_of_use() -> impl Iterator<Item = RangeInclusive<u32>> {
    let days = (2..=DAYS).map(|day| day * DAY - NEIGHBOURS..=day * DAY + MAX_SILENT + NEIGHBOURS);
    std::iter::once(0..=DAY + MAX_SILENT + NEIGHBOURS).chain(days)
}

/// How often a pattern was written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PatternHistory {
    /// The pattern.
    pub pattern: PatternId,
    /// Its template.
    pub template: String,
    /// Highest severity number, 0 when not said.
    pub severity: u8,
    /// First message that is known of.
    pub first_seen: UnixNanos,
    /// Last message that is known of.
    pub last_seen: UnixNanos,
    /// Messages in the latest window.
    pub latest: u64,
    /// Messages by window, counted back from now, for all of [`windows_of_use`] that have any. May be left empty unless the
    /// pattern [`may_have_moved`].
    pub windows: BTreeMap<u32, u64>,
}

/// A pattern that moved.
#[derive(Clone, Debug, PartialEq)]
pub struct PatternFinding {
    /// The service.
    pub service: String,
    /// The pattern.
    pub pattern: PatternId,
    /// Its template.
    pub template: String,
    /// Highest severity number, 0 when not said.
    pub severity: u8,
    /// How it moved.
    pub change: PatternChange,
    /// When the change began.
    pub at: UnixNanos,
    /// Messages in the latest window.
    pub messages: u64,
}

/// How a pattern moved.
#[derive(Clone, Debug, PartialEq)]
pub enum PatternChange {
    /// Never seen before in this service.
    New {
        /// Since when it is known that it was not there.
        absent_since: UnixNanos,
        /// Further new patterns that this one stands for.
        more: usize,
    },
    /// Written far more often than usual.
    Spike {
        /// Messages that a window usually has.
        usual: f64,
        /// Bound on the chance of as many.
        chance: f64,
    },
    /// Written no more.
    Stopped {
        /// Share of like windows in which it was written, 0 to 1.
        presence: f64,
        /// Bound on the chance of so long a silence.
        chance: f64,
    },
}

/// What became of the patterns of a service.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PatternChanges {
    /// What moved, most severe first.
    pub findings: Vec<PatternFinding>,
    /// Patterns that a deploy reworded: the new one and the one that it replaces.
    pub reworded: Vec<(PatternId, PatternId)>,
}

/// Looks for patterns of one service that moved.
pub fn evaluate(logs: &ServiceLogs, now: UnixNanos) -> PatternChanges {
    let reworded = reworded(logs);
    let replaced = |pattern: PatternId| reworded.iter().any(|(_, old)| *old == pattern);
    let mut findings = new(logs, &reworded, now);
    for pattern in logs.patterns.iter().filter(|pattern| !is_new(pattern, now)) {
        findings.extend(spike(logs, pattern, now));
        if !replaced(pattern.pattern) {
            findings.extend(stopped(logs, pattern, now));
        }
    }
    findings.sort_by(|left, right| {
        (right.severity, right.messages, left.pattern).cmp(&(left.severity, left.messages, right.pattern))
    });
    PatternChanges { findings, reworded }
}

impl PatternFinding {
    /// What makes two findings the same one, looked at again: the pattern, and the way it moved.
    pub fn fingerprint(&self) -> (&str, PatternId, u8) {
        let way = match self.change {
            PatternChange::New { .. } => 0,
            PatternChange::Spike { .. } => 1,
            PatternChange::Stopped { .. } => 2,
        };
        (&self.service, self.pattern, way)
    }

    /// The finding as a sentence. The template is text from outside: escape it where it is shown.
    pub fn sentence(&self) -> String {
        let Self { service, template, messages, at, .. } = self;
        match &self.change {
            PatternChange::New { absent_since, more } => {
                let others = if *more > 0 { format!(", as are {more} more") } else { String::new() };
                format!(
                    "{service} writes \"{template}\" for the first time, {messages} times since {}: it was not there since \
                     {}{others}",
                    at.clock_time(),
                    absent_since.date(),
                )
            }
            PatternChange::Spike { usual, .. } => {
                format!(
                    "{service} wrote \"{template}\" {messages} times in 5 minutes, usually {usual:.1} times"
                )
            }
            PatternChange::Stopped { presence, .. } => format!(
                "{service} no longer writes \"{template}\", last at {}; it used to in {:.0}% of 5-minute windows",
                at.clock_time(),
                presence * 100.0,
            ),
        }
    }
}

fn is_new(pattern: &PatternHistory, now: UnixNanos) -> bool {
    pattern.first_seen > now.minus(WINDOW)
}

/// Patterns that came with the deploy, and the pattern that each replaces, the most alike first and each once. Only a deploy
/// rewords, and what it replaced is written no more.
fn reworded(logs: &ServiceLogs) -> Vec<(PatternId, PatternId)> {
    let Some(deployed) = logs.deployed else { return Vec::new() };
    // In a rolling deploy both versions write for a while.
    let (before, after) = (deployed.minus(WINDOW), deployed.plus(WINDOW));
    let came = before..=deployed.plus(REWORDED_WITHIN);
    let went = deployed.minus(REWORDED_WITHIN)..=after;
    let class = |pattern: &PatternHistory| pattern.severity.div_ceil(4);
    let new = most_frequent(logs, |pattern| came.contains(&pattern.first_seen));
    let old = most_frequent(logs, |pattern| pattern.first_seen < before && went.contains(&pattern.last_seen));
    let mut pairs: Vec<(f64, PatternId, PatternId)> = new
        .iter()
        .flat_map(|new| old.iter().filter(|old| class(old.0) == class(new.0)).map(move |old| (new, old)))
        .map(|(new, old)| (new.1.similarity(&old.1), new.0.pattern, old.0.pattern))
        .filter(|(share, _, _)| *share >= MIN_SIMILARITY)
        .collect();
    pairs.sort_by(|left, right| right.0.total_cmp(&left.0).then((left.1, left.2).cmp(&(right.1, right.2))));
    let mut matched: Vec<(PatternId, PatternId)> = Vec::new();
    for (_, new, old) in pairs {
        if !matched.iter().any(|(taken_new, taken_old)| *taken_new == new || *taken_old == old) {
            matched.push((new, old));
        }
    }
    matched
}

/// The [`MAX_REWORDED`] most frequent patterns of those chosen, each with its words.
fn most_frequent(
    logs: &ServiceLogs,
    chosen: impl Fn(&PatternHistory) -> bool,
) -> Vec<(&PatternHistory, TemplateWords)> {
    let mut patterns: Vec<&PatternHistory> = logs.patterns.iter().filter(|pattern| chosen(pattern)).collect();
    // The windows of what cannot have moved may be empty: it comes last.
    let messages = |pattern: &PatternHistory| pattern.windows.values().sum::<u64>().max(pattern.latest);
    patterns.sort_by_cached_key(|pattern| (std::cmp::Reverse(messages(pattern)), pattern.pattern));
    patterns.truncate(MAX_REWORDED);
    patterns.into_iter().map(|pattern| (pattern, TemplateWords::of(&pattern.template))).collect()
}

fn new(logs: &ServiceLogs, reworded: &[(PatternId, PatternId)], now: UnixNanos) -> Vec<PatternFinding> {
    if logs.since > now.minus(MIN_KNOWN) {
        return Vec::new();
    }
    let mut new: Vec<&PatternHistory> = logs
        .patterns
        .iter()
        .filter(|pattern| is_new(pattern, now))
        .filter(|pattern| !reworded.iter().any(|(new, _)| *new == pattern.pattern))
        .collect();
    new.sort_by_key(|pattern| (std::cmp::Reverse(pattern.severity), pattern.first_seen, pattern.pattern));
    let more = new.len().saturating_sub(MAX_NEW);
    new.iter()
        .take(MAX_NEW)
        .enumerate()
        .map(|(place, pattern)| {
            let more = if place + 1 == MAX_NEW { more } else { 0 };
            let change = PatternChange::New { absent_since: logs.since, more };
            finding(logs, pattern, change, pattern.first_seen)
        })
        .collect()
}

fn spike(logs: &ServiceLogs, pattern: &PatternHistory, now: UnixNanos) -> Option<PatternFinding> {
    let messages = pattern.count(0);
    if messages < MIN_SPIKE {
        return None;
    }
    let like = like_windows(logs, now, 0);
    let counts: Vec<f64> = like.iter().map(|window| pattern.count(*window) as f64).collect();
    if counts.len() < MIN_LIKE_WINDOWS {
        return None;
    }
    let usual = chance::Usual::of(&counts);
    let chance = usual.chance_of(messages as f64);
    (messages as f64 >= MIN_SPIKE_RATIO * usual.mean && chance <= MAX_CHANCE).then(|| {
        let change = PatternChange::Spike { usual: usual.mean, chance };
        finding(logs, pattern, change, now.minus(WINDOW))
    })
}

/// How long a pattern has been silent, in whole windows; `None` when longer than is known.
fn silence(pattern: &PatternHistory) -> Option<u32> {
    pattern.windows.iter().find(|(_, count)| **count > 0).map(|(window, _)| *window)
}

fn stopped(logs: &ServiceLogs, pattern: &PatternHistory, now: UnixNanos) -> Option<PatternFinding> {
    let silent = silence(pattern).filter(|silent| (MIN_SILENT..=MAX_SILENT).contains(silent))?;
    if presence(logs, pattern, now) < MIN_PRESENCE {
        return None;
    }
    // Each silent window is judged by those like it; those before the silence tell how often the pattern writes.
    let mut chance = 1.0;
    let (mut wrote, mut looked) = (0, 0);
    for window in 0..silent {
        let like: Vec<u32> =
            like_windows(logs, now, window).into_iter().filter(|like| *like >= silent).collect();
        if like.len() < MIN_LIKE_WINDOWS {
            return None;
        }
        let present = like.iter().filter(|like| pattern.count(**like) > 0).count();
        chance *= 1.0 - wilson(present as f64, like.len() as f64, PRESENCE_Z).0;
        (wrote, looked) = (wrote + present, looked + like.len());
        if chance <= MAX_CHANCE {
            break;
        }
    }
    (chance <= MAX_CHANCE && service_writes_on(logs, silent)).then(|| {
        let change = PatternChange::Stopped { presence: wrote as f64 / looked.max(1) as f64, chance };
        finding(logs, pattern, change, pattern.last_seen)
    })
}

/// Share of the known windows of use in which a pattern was written.
fn presence(logs: &ServiceLogs, pattern: &PatternHistory, now: UnixNanos) -> f64 {
    let known = known_windows(logs, now);
    let of_use: Vec<u32> = windows_of_use().flatten().filter(|window| *window < known).collect();
    let written = of_use.iter().filter(|window| pattern.count(**window) > 0).count();
    written as f64 / of_use.len().max(1) as f64
}

/// Windows since the service's logs are known, as far as they are of use.
fn known_windows(logs: &ServiceLogs, now: UnixNanos) -> u32 {
    let most = f64::from(DAYS * DAY + MAX_SILENT + NEIGHBOURS);
    (now.seconds_since(logs.since) / WINDOW.as_secs_f64()).clamp(0.0, most) as u32
}

/// Whether the service as a whole wrote as usual while a pattern was silent.
fn service_writes_on(logs: &ServiceLogs, silent: u32) -> bool {
    let total = |from: u32, to: u32| -> u64 { logs.windows.range(from..to).map(|(_, count)| count).sum() };
    let (during, before) = (total(0, silent), total(silent, 2 * silent));
    during > 0 && during as f64 >= MIN_SERVICE_SHARE * before as f64
}

/// Windows that tell what is usual in `window`, as far as the service was known.
fn like_windows(logs: &ServiceLogs, now: UnixNanos, window: u32) -> Vec<u32> {
    let known = known_windows(logs, now);
    if known >= SEASONAL_DAYS * DAY + NEIGHBOURS + window {
        (1..=DAYS)
            .flat_map(|day| window + day * DAY - NEIGHBOURS..=window + day * DAY + NEIGHBOURS)
            .filter(|like| *like < known)
            .collect()
    } else {
        // The hour before does not count: what began slowly must not pass for usual.
        let from = window + if known > 4 * MIN_LIKE_WINDOWS as u32 { MIN_LIKE_WINDOWS as u32 } else { 1 };
        (from..known.min(window + DAY)).collect()
    }
}

fn finding(
    logs: &ServiceLogs,
    pattern: &PatternHistory,
    change: PatternChange,
    at: UnixNanos,
) -> PatternFinding {
    PatternFinding {
        service: logs.service.clone(),
        pattern: pattern.pattern,
        template: pattern.template.clone(),
        severity: pattern.severity,
        change,
        at,
        messages: pattern.latest,
    }
}

impl PatternHistory {
    fn count(&self, window: u32) -> u64 {
        self.windows.get(&window).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests;
