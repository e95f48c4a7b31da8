//! What is remembered of alerts: their past, decisions on them, and the model that was learned from these.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use detectors::suppression::history::{History, MAX_HOURS, hour_of};
use detectors::suppression::measure::AUTO_NO_FALSE_IN;
use detectors::suppression::{
    Approval, Decided, Entry, Event, Measures, Mode, Model, Reopening, Source, Standing,
};
use domain::{Alert, AlertSource, UnixNanos};
use serde::{Deserialize, Serialize};
use storage::alerts::{AlertHour, FiringAlert, SeenAlert};

use super::Around;
use super::alertmanager::MAX_ALERTS;
use super::policies::{MAX_POLICIES, Policy};

/// Fingerprints remembered. Beyond, the one that is longest quiet and undecided is forgotten.
pub const MAX_GROUPS: usize = 10_000;
/// Decisions kept at hand.
const MAX_AUDIT: usize = 10_000;
/// Instances of one alert that are known to fire: as many as one webhook brings. Beyond, the one that was longest not said is
/// forgotten.
const MAX_FIRING: usize = MAX_ALERTS;
/// An instance that was not said for this long fires no more, though nobody told of its end: by default Alertmanager says what
/// fires every 4 hours.
const UNSAID: Duration = Duration::from_secs(86_400);

/// All alerts of one fingerprint.
#[derive(Clone, Debug)]
pub struct Group {
    /// The latest.
    pub alert: Alert,
    /// Their past.
    pub history: History,
    /// Those that were held back, by hour.
    pub suppressed: BTreeMap<i64, u32>,
    /// When it was last said, counted or not.
    pub last_said: UnixNanos,
    /// The instances of an alert of Alertmanager that fire: each begins and ends by itself.
    firing: BTreeMap<String, Firing>,
}

/// An instance of an alert that fires.
#[derive(Clone, Copy, Debug)]
struct Firing {
    /// When it began.
    start: UnixNanos,
    /// When it was last said.
    said: UnixNanos,
}

impl Group {
    fn new(alert: Alert) -> Self {
        Self {
            last_said: alert.at,
            alert,
            history: History::default(),
            suppressed: BTreeMap::new(),
            firing: BTreeMap::new(),
        }
    }

    fn begins(&mut self, instance: &str, firing: Firing) {
        if self.firing.len() >= MAX_FIRING && !self.firing.contains_key(instance) {
            let oldest = self.firing.iter().min_by_key(|(instance, firing)| (firing.said, *instance));
            if let Some(oldest) = oldest.map(|(instance, _)| instance.clone()) {
                self.firing.remove(&oldest);
            }
        }
        self.firing.insert(instance.to_owned(), firing);
    }

    /// Whether an instance says only again that it fires: the same start is the same alert, sent again.
    fn repeats(&mut self, alert: &Alert, now: UnixNanos) -> bool {
        let Some(firing) = self.firing.get_mut(instance(alert)) else { return false };
        firing.said = now;
        alert.at <= firing.start
    }

    /// Ends an instance; whether another one still fires.
    fn ends(&mut self, alert: &Alert, now: UnixNanos) -> bool {
        self.firing.remove(instance(alert));
        self.firing.values().any(|other| now < other.said.plus(UNSAID))
    }
}

/// What tells one instance of an alert from another: the sender's fingerprint, or the host when it gave none.
fn instance(alert: &Alert) -> &str {
    match alert.foreign_id.as_str() {
        "" => &alert.host,
        given => given,
    }
}

/// A silence at Alertmanager, as the journal has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silence {
    /// Its id; empty when it was ended.
    pub id: String,
    /// When it ends by itself; nothing where that was not noted.
    #[serde(default)]
    pub ends: Option<UnixNanos>,
}

/// What Alertmanager has to be told.
#[derive(Clone, Debug)]
pub enum SilenceChange {
    /// This alert is held back.
    Begin(Box<Alert>, Approval),
    /// The silence of this id is over.
    End(String),
}

/// A rule, and how it is held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleInForce {
    /// Its name.
    pub rule: String,
    /// Its mode.
    pub mode: Mode,
    /// Whether that was set for it, and not for all.
    pub apart: bool,
    /// Alerts of 30 days.
    pub alerts: u64,
    /// Pages of 30 days.
    pub pages: usize,
    /// Alerts of 30 days that were held back.
    pub suppressed: u64,
    /// How well suppression of its alerts does.
    pub measures: Measures,
}

/// Somebody set the mode of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModeChange {
    /// When.
    pub at: UnixNanos,
    /// Of which rule; `*` is all that are not set apart.
    pub rule: String,
    /// The mode before.
    pub from: Mode,
    /// The mode since.
    pub to: Mode,
    /// Who.
    pub actor: String,
}

/// A decision as the audit has it: with what it changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Noted {
    /// When.
    pub at: UnixNanos,
    /// On which alert.
    pub fingerprint: String,
    /// What was decided, by whom.
    pub entry: Entry,
    /// Where the alert stood before, in a few words.
    pub before: String,
    /// Where it stands since.
    pub after: String,
}

/// Who approved what held an alert back, and the approval.
pub type HeldBy = (String, Approval);

/// When and why an alert came back.
pub type CameBack = (UnixNanos, Reopening);

/// Rule, service and pattern of a policy, and the fingerprint that it names.
type AwaitedKey = (String, String, String, Option<String>);

/// Alerts of one hour that were held back: the hour, how many, and whether they belong to an incident.
type HeldBack = (i64, u32, bool);

/// What is remembered.
pub struct Book {
    groups: HashMap<String, Group>,
    /// Those that were changed since [`Book::begin`], as they were; nothing for those that are new.
    before: HashMap<String, Option<Group>>,
    standings: HashMap<String, Standing>,
    silences: HashMap<String, Silence>,
    awaited: BTreeMap<AwaitedKey, (Policy, String)>,
    modes: BTreeMap<String, Mode>,
    default_mode: Mode,
    mode_changes: VecDeque<ModeChange>,
    audit: VecDeque<Noted>,
    model: Model,
}

impl Book {
    /// An empty one.
    pub fn new(default_mode: Mode) -> Self {
        Self {
            groups: HashMap::new(),
            before: HashMap::new(),
            standings: HashMap::new(),
            silences: HashMap::new(),
            awaited: BTreeMap::new(),
            modes: BTreeMap::new(),
            default_mode,
            mode_changes: VecDeque::new(),
            audit: VecDeque::new(),
            model: Model::learn(Vec::new()),
        }
    }

    /// Takes up an alert of an earlier run of the program.
    pub fn recall(&mut self, seen: SeenAlert) {
        self.groups.insert(seen.alert.fingerprint(), Group::new(seen.alert));
    }

    /// Takes up an instance that fired in an earlier run. When it was last said is not stored: it counts as said `now`, because an
    /// end that is told while something burns does more harm than one that is told late.
    pub fn recall_firing(&mut self, firing: &FiringAlert, now: UnixNanos) {
        if let Some(group) = self.groups.get_mut(&firing.fingerprint) {
            group.begins(&firing.instance, Firing { start: UnixNanos(firing.start), said: now });
        }
    }

    /// Takes up an hour of an earlier run.
    pub fn recall_hour(&mut self, hour: &AlertHour) {
        let Some(group) = self.groups.get_mut(&hour.fingerprint) else { return };
        let count = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        let at = UnixNanos::from_seconds(hour.hour);
        let (inside, outside) =
            (hour.in_incident.min(hour.alerts), hour.alerts.saturating_sub(hour.in_incident));
        for (alerts, in_incident) in [(inside, true), (outside, false)] {
            if alerts > 0 {
                group.history.note(at, count(alerts), &hour.host, &hour.version, in_incident);
            }
        }
        if hour.suppressed > 0 {
            *group.suppressed.entry(hour_of(at)).or_default() += count(hour.suppressed);
        }
    }

    /// From here on groups are remembered as they were. Alerts that were begun with and never finished, because whoever took them
    /// was dropped, are taken out first.
    pub fn begin(&mut self) {
        self.put_back();
    }

    /// What was noted since [`Self::begin`] is stored.
    pub fn settle(&mut self) {
        self.before.clear();
    }

    /// What was noted since [`Self::begin`] could not be stored: it will be sent again, and must be news then.
    pub fn put_back(&mut self) {
        for (fingerprint, group) in std::mem::take(&mut self.before) {
            match group {
                Some(group) => self.groups.insert(fingerprint, group),
                None => self.groups.remove(&fingerprint),
            };
        }
    }

    fn remember(&mut self, fingerprint: &str) {
        if !self.before.contains_key(fingerprint) {
            self.before.insert(fingerprint.to_owned(), self.groups.get(fingerprint).cloned());
        }
    }

    /// Whether an alert only says again what was said, and refreshes when it was. The end of one instance is no end while another
    /// one fires.
    pub fn goes_on(&mut self, alert: &Alert, within: Duration, now: UnixNanos) -> bool {
        let fingerprint = alert.fingerprint();
        self.remember(&fingerprint);
        let Some(group) = self.groups.get_mut(&fingerprint) else { return false };
        if alert.resolved {
            return group.ends(alert, now);
        }
        let goes_on = match alert.source {
            AlertSource::Alertmanager => group.repeats(alert, now),
            // On a host or of a version that it never came from, it is news.
            AlertSource::Detection => {
                alert.at < group.last_said.plus(within)
                    && !History::is_new_place(&group.history.hosts, &alert.host)
                    && !History::is_new_place(&group.history.versions, &alert.version)
            }
            // Each sighting comes once: see `kubernetes`.
            AlertSource::Kubernetes => false,
        };
        group.last_said = group.last_said.max(alert.at);
        goes_on
    }

    /// Counts an alert.
    pub fn note(&mut self, alert: &Alert, in_incident: bool, now: UnixNanos) {
        let fingerprint = alert.fingerprint();
        self.remember(&fingerprint);
        if self.groups.len() >= MAX_GROUPS && !self.groups.contains_key(&fingerprint) {
            self.forget_one();
        }
        let group = self.groups.entry(fingerprint).or_insert_with(|| Group::new(alert.clone()));
        if alert.source == AlertSource::Alertmanager {
            group.begins(instance(alert), Firing { start: alert.at, said: now });
        }
        group.history.note(alert.at, 1, &alert.host, &alert.version, in_incident);
        group.alert = alert.clone();
        group.last_said = group.last_said.max(alert.at);
    }

    fn forget_one(&mut self) {
        let undecided = |fingerprint: &String| !self.standings.contains_key(fingerprint);
        let oldest = self.groups.iter().filter(|(fingerprint, _)| undecided(fingerprint));
        let oldest = oldest.min_by(|a, b| a.1.last_said.cmp(&b.1.last_said).then(a.0.cmp(b.0)));
        let oldest = oldest.or_else(|| {
            self.groups.iter().min_by_key(|(fingerprint, group)| (group.last_said, *fingerprint))
        });
        if let Some(fingerprint) = oldest.map(|(fingerprint, _)| fingerprint.clone()) {
            self.remember(&fingerprint);
            self.groups.remove(&fingerprint);
        }
    }

    /// Counts an alert that was held back.
    pub fn note_suppressed(&mut self, fingerprint: &str, at: UnixNanos) {
        self.remember(fingerprint);
        if let Some(group) = self.groups.get_mut(fingerprint) {
            let hour = hour_of(at);
            *group.suppressed.entry(hour).or_default() += 1;
            group.suppressed = group.suppressed.split_off(&(hour - MAX_HOURS));
        }
    }

    /// Folds a decision in.
    pub fn apply(&mut self, fingerprint: &str, at: UnixNanos, entry: Entry) {
        let standing = self.standings.entry(fingerprint.to_owned()).or_default();
        let before = standing.state.words();
        standing.apply(at, &entry);
        let after = standing.state.words();
        if self.audit.len() == MAX_AUDIT {
            self.audit.pop_front();
        }
        self.audit.push_back(Noted { at, fingerprint: fingerprint.to_owned(), entry, before, after });
    }

    /// Learns from all decisions.
    pub fn learn(&mut self) {
        self.model = Model::learn(self.decided());
    }

    /// Decisions as examples: those that were taken back are none, and what came back with an incident was no noise.
    fn decided(&self) -> Vec<Decided> {
        let mut decided: Vec<Option<Decided>> = Vec::new();
        // Of each alert the decisions that stand, in their order.
        let mut of: HashMap<&str, Vec<usize>> = HashMap::new();
        for Noted { fingerprint, entry, .. } in &self.audit {
            let of = of.entry(fingerprint).or_default();
            let noise = match &entry.event {
                Event::Approved(_) if entry.source != Source::Inquest => true,
                Event::Rejected => false,
                Event::Undone => {
                    if let Some(last) = of.pop() {
                        decided[last] = None;
                    }
                    continue;
                }
                Event::Reopened(Reopening::Incident { .. }) => {
                    if let Some(last) = of.last().and_then(|last| decided[*last].as_mut()) {
                        last.noise = false;
                    }
                    continue;
                }
                _ => continue,
            };
            of.push(decided.len());
            decided.push(Some(Decided {
                fingerprint: fingerprint.clone(),
                rule: entry.rule.clone(),
                service: entry.service.clone(),
                pattern: entry.pattern.clone(),
                features: entry.features.unwrap_or_default(),
                noise,
            }));
        }
        decided.into_iter().flatten().collect()
    }

    /// How well suppression does.
    pub fn measures(&self, around: &Around) -> Measures {
        self.measures_by(around, |_| "").remove("").unwrap_or_default()
    }

    /// The same apart for what `key` makes of a rule's name.
    fn measures_by<'a>(
        &'a self,
        around: &Around,
        key: impl Fn(&'a str) -> &'a str,
    ) -> BTreeMap<&'a str, Measures> {
        let mut all: BTreeMap<&str, (Measures, Vec<HeldBack>)> = BTreeMap::new();
        for (rule, right) in self.judged().into_values() {
            let (measures, _) = all.entry(key(rule)).or_default();
            measures.decided += 1;
            measures.approved += usize::from(right);
        }
        let (start, end) = (hour_of(around.now) - MAX_HOURS, hour_of(around.now) + 1);
        for group in self.groups.values() {
            let (measures, held_back) = all.entry(key(&group.alert.rule)).or_default();
            for (hour, count) in &group.suppressed {
                held_back.push((*hour, *count, around.tied(&group.alert.service, *hour)));
            }
            if group.alert.pages() {
                let pages = group.history.pages(start, end, None);
                measures.pages += pages.len();
                measures.pages_avoided +=
                    pages.iter().filter(|hour| group.suppressed.contains_key(hour)).count();
            }
        }
        all.into_iter()
            .map(|(key, (measures, held_back))| (key, with_held_back(measures, held_back)))
            .collect()
    }

    /// Per fingerprint the latest decision of a person on a proposal: its rule, and whether it was right.
    fn judged(&self) -> BTreeMap<&str, (&str, bool)> {
        let mut judged: BTreeMap<&str, (&str, bool)> = BTreeMap::new();
        for Noted { fingerprint, entry, .. } in &self.audit {
            match &entry.event {
                Event::Approved(_)
                    if entry.confidence.is_some()
                        && !matches!(entry.source, Source::Inquest | Source::File) =>
                {
                    judged.insert(fingerprint, (&entry.rule, true));
                }
                Event::Rejected if entry.confidence.is_some() => {
                    judged.insert(fingerprint, (&entry.rule, false));
                }
                Event::Undone => {
                    judged.remove(fingerprint.as_str());
                }
                Event::Reopened(Reopening::Incident { .. }) => {
                    if let Some((_, right)) = judged.get_mut(fingerprint.as_str()) {
                        *right = false;
                    }
                }
                _ => {}
            }
        }
        judged
    }

    /// What keeps a rule from suppressing by itself, in a few words, if anything does.
    pub fn auto_locked(&self, rule: &str, around: &Around) -> Option<String> {
        if let Some(needs) = self.measures(around).auto_needs() {
            return Some(format!("automatic needs {needs}"));
        }
        let measures = self.measures_by(around, |rule| rule).remove(rule).unwrap_or_default();
        let needs = measures.auto_needs_of_rule()?;
        Some(format!("automatic for {} needs {needs} of its own", domain::text::plain(rule, 60)))
    }

    /// Every rule that fired lately or was set apart, those that page most first. Objectives of users are left out: nothing holds
    /// them back.
    pub fn rules(&self, around: &Around) -> Vec<RuleInForce> {
        let mut rules: BTreeMap<&str, RuleInForce> = BTreeMap::new();
        let named = |rule: &str| RuleInForce {
            rule: rule.to_owned(),
            mode: self.mode(rule),
            apart: self.modes.contains_key(rule),
            ..RuleInForce::default()
        };
        for rule in self.modes.keys().filter(|rule| *rule != "*") {
            rules.insert(rule, named(rule));
        }
        let (start, end) = (hour_of(around.now) - MAX_HOURS, hour_of(around.now) + 1);
        for group in self.groups.values().filter(|group| !group.alert.objective) {
            let rule = rules.entry(&group.alert.rule).or_insert_with(|| named(&group.alert.rule));
            rule.alerts +=
                group.history.hours.range(start..end).map(|(_, count)| u64::from(*count)).sum::<u64>();
            rule.suppressed +=
                group.suppressed.range(start..end).map(|(_, count)| u64::from(*count)).sum::<u64>();
            if group.alert.pages() {
                rule.pages += group.history.pages(start, end, None).len();
            }
        }
        for (rule, measures) in self.measures_by(around, |rule| rule) {
            if let Some(rule) = rules.get_mut(rule) {
                rule.measures = measures;
            }
        }
        let mut rules: Vec<RuleInForce> = rules.into_values().collect();
        rules.sort_by(|a, b| (b.pages, b.alerts, &a.rule).cmp(&(a.pages, a.alerts, &b.rule)));
        rules
    }

    /// The alerts of a fingerprint.
    pub fn group(&self, fingerprint: &str) -> Option<&Group> {
        self.groups.get(fingerprint)
    }

    /// All of them, in any order.
    pub fn groups(&self) -> impl Iterator<Item = &Group> {
        self.groups.values()
    }

    /// What was decided on a fingerprint.
    pub fn standing(&self, fingerprint: &str) -> Option<&Standing> {
        self.standings.get(fingerprint)
    }

    /// Everything that was decided on.
    pub fn standings(&self) -> impl Iterator<Item = (&String, &Standing)> {
        self.standings.iter()
    }

    /// Whether it is held back.
    pub fn is_suppressed(&self, fingerprint: &str) -> bool {
        let Some(group) = self.group(fingerprint) else { return false };
        let active = self.standing(fingerprint).is_some_and(|standing| standing.approval().is_some());
        active && self.mode(&group.alert.rule) != Mode::Observe
    }

    /// Keeps a policy until its alert comes, if there is room; who decided it.
    pub fn await_alert(&mut self, policy: Policy, actor: String) {
        if self.has_room(&policy) {
            self.awaited.insert(awaited_key(&policy), (policy, actor));
        }
    }

    /// Whether just this policy waits for its alert.
    pub fn awaits(&self, policy: &Policy) -> bool {
        self.awaited.get(&awaited_key(policy)).is_some_and(|(waits, _)| waits == policy)
    }

    /// Whether a policy can wait for its alert: at most [`MAX_POLICIES`] do.
    pub fn has_room(&self, policy: &Policy) -> bool {
        self.awaited.len() < MAX_POLICIES || self.awaited.contains_key(&awaited_key(policy))
    }

    /// A policy whose alert came.
    pub fn came(&mut self, policy: &Policy) {
        self.awaited.remove(&awaited_key(policy));
    }

    /// The policy that waits for an alert, and who decided it.
    pub fn awaited_for(&self, alert: &Alert) -> Option<&(Policy, String)> {
        if self.awaited.is_empty() {
            return None;
        }
        let named =
            |fingerprint| (alert.rule.clone(), alert.service.clone(), alert.pattern.clone(), fingerprint);
        self.awaited.get(&named(Some(alert.fingerprint()))).or_else(|| self.awaited.get(&named(None)))
    }

    /// Policies whose alerts were not seen yet, in order.
    pub fn awaited(&self) -> impl Iterator<Item = &(Policy, String)> {
        self.awaited.values()
    }

    /// What was learned.
    pub const fn model(&self) -> &Model {
        &self.model
    }

    /// What held a fingerprint back at `at`: the last approval until then and by whom, or the first one after it, for an alert may
    /// arrive later than it says; and what brought it back since.
    pub fn decided_around(&self, fingerprint: &str, at: UnixNanos) -> (Option<HeldBy>, Option<CameBack>) {
        let mut by = None;
        let mut back = None;
        for Noted { at: when, entry, .. } in
            self.audit.iter().filter(|noted| noted.fingerprint == fingerprint)
        {
            match &entry.event {
                Event::Approved(approval) if *when <= at || by.is_none() => {
                    (by, back) = (Some((entry.actor.clone(), approval.clone())), None);
                }
                Event::Reopened(reopening) if back.is_none() && by.is_some() => {
                    back = Some((*when, reopening.clone()));
                }
                _ => {}
            }
        }
        (by, back)
    }

    /// The decisions, oldest first.
    pub fn audit(&self) -> impl DoubleEndedIterator<Item = &Noted> {
        self.audit.iter()
    }

    /// The mode of a rule.
    pub fn mode(&self, rule: &str) -> Mode {
        self.modes.get(rule).or_else(|| self.modes.get("*")).copied().unwrap_or(self.default_mode)
    }

    /// Sets the mode of a rule; `*` for all that are not set apart.
    pub fn set_mode(&mut self, at: UnixNanos, rule: &str, mode: Mode, actor: &str) {
        let from = self.mode(rule);
        self.modes.insert(rule.to_owned(), mode);
        if self.mode_changes.len() == MAX_AUDIT {
            self.mode_changes.pop_front();
        }
        self.mode_changes.push_back(ModeChange {
            at,
            rule: rule.to_owned(),
            from,
            to: mode,
            actor: actor.to_owned(),
        });
    }

    /// When modes were set, oldest first.
    pub fn mode_changes(&self) -> impl DoubleEndedIterator<Item = &ModeChange> {
        self.mode_changes.iter()
    }

    /// The mode of rules that were not set apart, and those that were.
    pub fn modes(&self) -> (Mode, Vec<(String, Mode)>) {
        let apart = self.modes.iter().filter(|(rule, _)| *rule != "*");
        (self.mode("*"), apart.map(|(rule, mode)| (rule.clone(), *mode)).collect())
    }

    /// What Alertmanager has to be told so that it holds back what is held back here and `may_be_silent`, in the order of fingerprints. A
    /// silence that does not end with its approval is ended: the next look begins another.
    pub fn silences_to_change(
        &self,
        may_be_silent: impl Fn(&Group, &Approval) -> bool,
    ) -> Vec<(String, SilenceChange)> {
        let wanted = |fingerprint: &str| {
            self.held_back_there(fingerprint).filter(|(group, approval)| may_be_silent(group, approval))
        };
        let mut changes: Vec<(String, SilenceChange)> = Vec::new();
        for (fingerprint, silence) in &self.silences {
            let fits = |approval: &Approval| silence.ends.is_none_or(|ends| ends == approval.expires);
            if !wanted(fingerprint).is_some_and(|(_, approval)| fits(approval)) {
                changes.push((fingerprint.clone(), SilenceChange::End(silence.id.clone())));
            }
        }
        for fingerprint in self.groups.keys().filter(|it| !self.silences.contains_key(*it)) {
            if let Some((group, approval)) = wanted(fingerprint) {
                let change = SilenceChange::Begin(Box::new(group.alert.clone()), approval.clone());
                changes.push((fingerprint.clone(), change));
            }
        }
        changes.sort_by(|a, b| a.0.cmp(&b.0));
        changes
    }

    /// An alert of Alertmanager that is held back, and why.
    fn held_back_there(&self, fingerprint: &str) -> Option<(&Group, &Approval)> {
        let group = self.group(fingerprint)?;
        let approval = self.standing(fingerprint).and_then(Standing::approval)?;
        let held_back = self.mode(&group.alert.rule) != Mode::Observe;
        (group.alert.source == AlertSource::Alertmanager && held_back).then_some((group, approval))
    }

    /// Notes a silence; an empty id means that it was ended.
    pub fn set_silence(&mut self, fingerprint: &str, silence: Silence) {
        if silence.id.is_empty() {
            self.silences.remove(fingerprint);
            return;
        }
        // Ends are not told under a silence: what is sent after it is news.
        if let Some(group) = self.groups.get_mut(fingerprint) {
            group.firing.clear();
        }
        self.silences.insert(fingerprint.to_owned(), silence);
    }

    /// The alerts that were decided on in one step and stand as it left them, in the order of fingerprints.
    pub fn of_batch(&self, batch: &str) -> Vec<String> {
        let mut of: Vec<String> = self
            .standings
            .iter()
            .filter(|(_, standing)| standing.batch.as_deref() == Some(batch))
            .map(|(fingerprint, _)| fingerprint.clone())
            .collect();
        of.sort_unstable();
        of
    }
}

fn awaited_key(policy: &Policy) -> AwaitedKey {
    (policy.rule.clone(), policy.service.clone(), policy.pattern.clone(), policy.fingerprint.clone())
}

/// Counts what was held back, the latest first.
fn with_held_back(mut measures: Measures, mut held_back: Vec<HeldBack>) -> Measures {
    held_back.sort_unstable_by_key(|latest| std::cmp::Reverse(*latest));
    for (_, count, tied) in held_back {
        let count = u64::from(count);
        if tied {
            measures.wrongly_suppressed += count;
            if measures.suppressed < AUTO_NO_FALSE_IN {
                measures.wrongly_lately += count;
            }
        }
        measures.suppressed += count;
    }
    measures
}
