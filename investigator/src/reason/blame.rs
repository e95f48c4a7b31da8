//! Which change, if any, brought a cause about.
//!
//! A change explains harm in a place by *when* it came (before the harm, the closer the likelier), *where* it stands (at
//! the place itself, less at what calls it or what it calls) and *what* it touched (its words beside the words of what
//! fails). The best explanation is blamed. Surges, trouble outside the system, a record that cannot be read and a
//! neighbour that takes the machine are not brought by changes inside it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use domain::text::duration;
use domain::{Change, ChangeKind, Mechanism, UnixNanos};

use super::aboard::aboard;
use super::words::{Rarity, Words};

/// A change may follow the first sign of harm by this much and still precede it: clocks, reporting. By more, where the sign
/// is dated less exactly.
const CLOCK_SLACK: Duration = Duration::from_secs(30);
/// Detectors that count by the minute date what they notice by up to this much too early.
const NOTICED_WITHIN: Duration = Duration::from_secs(60);
/// A change this long before the harm is half as likely as one right before it: `1 / (1 + age / HALF_AGE)`. Most harm shows
/// at once, but some waits for load or data, so the tail is heavy.
const HALF_AGE_SECONDS: f64 = 900.0;
/// Where nothing but time tells concurrent changes apart, its edge is sharper.
pub const SHARP_HALF_AGE_SECONDS: f64 = 400.0;
/// A change of a caller or a callee counts this much of one of the place itself.
const NEXT_DOOR: f64 = 0.4;
/// A change that names no service may reach all of them: it counts this much of one of the place itself.
const EVERYWHERE: f64 = 0.25;
/// And only where its words are those of what fails, or it came this close before the harm ([`closeness`]): within 150 s.
const CLOSE: f64 = 0.85;
/// What a change counts that was undone before the harm began.
const UNDONE: f64 = 0.2;
/// What a change counts whose words have nothing to do with the failure, where words are known at all.
const UNRELATED: f64 = 0.15;

/// When harm began, as a signal shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Onset {
    /// The start of the first slice, or the first value, that shows it.
    pub at: UnixNanos,
    /// The width of the slice, or the time between values: what comes within it came at the same time.
    pub resolution: Duration,
}

impl Onset {
    /// An instant told by what happened at it.
    pub fn exact(at: UnixNanos) -> Self {
        Self { at, resolution: Duration::ZERO }
    }

    /// The same, where harm was noticed at some time: what comes within the width but after that, to the minute that
    /// detectors tell, came into the harm.
    pub fn noticed(self, at: UnixNanos) -> Self {
        let until = Duration::from_secs_f64(at.plus(NOTICED_WITHIN).seconds_since(self.at).max(0.0));
        Self { resolution: self.resolution.min(until), ..self }
    }

    /// By how much what precedes it may seem to follow it.
    fn slack(self) -> Duration {
        self.resolution.max(CLOCK_SLACK)
    }

    /// How a change stands to it in time, and whether it came first, as far as that can be told.
    pub fn order(self, change: &Change) -> (Order, Option<bool>) {
        let lead = self.at.seconds_since(change.at);
        let slack = self.slack().as_secs_f64();
        match lead {
            lead if lead >= 0.0 => (Order::Before(lead), Some(true)),
            lead if -lead <= slack => (Order::Within(slack), None),
            lead => (Order::After(-lead), Some(false)),
        }
    }
}

/// How a change stands to an onset in time, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Order {
    /// So long before.
    Before(f64),
    /// So close that clocks and slices do not tell which came first.
    Within(f64),
    /// So long after.
    After(f64),
}

impl Order {
    /// `1 m 30 s before`, `within the same 30 s`, `4 m 0 s after`; the word `joint` joins the middle one to what follows.
    pub fn words(self, joint: &str) -> String {
        match self {
            Self::Before(seconds) => format!("{} before", duration(seconds)),
            Self::Within(seconds) => format!("within the same {}{joint}", duration(seconds)),
            Self::After(seconds) => format!("{} after", duration(seconds)),
        }
    }
}

/// Weight from which a word that a change shares with what fails is worth quoting.
pub const TELLING_WORD: f64 = 0.1;

/// How a change stands towards a cause.
#[derive(Clone, Debug, PartialEq)]
pub enum Standing {
    /// It may have brought it about: with a score in 0..1.
    Explains(f64),
    /// It touched another place.
    Elsewhere,
    /// It came after the harm began.
    Later,
    /// What happened needs no change.
    Unneeded,
}

/// What is to be explained by a change.
#[derive(Clone, Debug, Default)]
pub struct Scene<'a> {
    /// Where harm begins.
    pub place: &'a str,
    /// How it is done; `None` when it speaks against no change.
    pub mechanism: Option<Mechanism>,
    /// When it began.
    pub onset: Option<Onset>,
    /// Who calls the place or is called by it.
    pub next_door: BTreeSet<&'a str>,
    /// How much worse its new instances fare than its old ones, 0 to 1, where both are seen.
    pub skew: Option<f64>,
    /// The words of what fails.
    pub words: Words,
}

/// Changes at hand, told apart, with their words.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// Each change once, oldest first.
    pub all: Vec<Change>,
    /// Commits that a deploy carried beside the one that it names ([`aboard`]).
    pub aboard: Vec<Change>,
    /// Of `all`, then of `aboard`.
    words: Vec<Words>,
    rarity: Rarity,
    /// Whether any change says what it touched.
    told: bool,
}

impl Changes {
    /// Reads the changes.
    pub fn new(changes: &[Change]) -> Self {
        let all = distinct(changes);
        let aboard = aboard(changes);
        let words: Vec<Words> =
            all.iter().chain(&aboard).map(|change| Words::of(change).without(&change.service)).collect();
        let told = all.iter().any(|change| change.detail.contains("diff"));
        let mut known: BTreeSet<&str> = BTreeSet::new();
        let once =
            all.iter().chain(&aboard).zip(&words).filter(|(change, _)| known.insert(&change.reference));
        Self { rarity: Rarity::new(once.map(|(_, words)| words)), told, words, all, aboard }
    }

    /// Every change that may be blamed.
    fn candidates(&self) -> impl Iterator<Item = &Change> {
        self.all.iter().chain(&self.aboard)
    }

    /// The change of a service by its reference.
    pub fn named(&self, service: &str, reference: &str) -> Option<&Change> {
        let named = || self.candidates().filter(|change| change.reference == reference);
        named().find(|change| change.service == service).or_else(|| named().next())
    }

    /// Words that a change shares with what fails, the most telling first.
    pub fn shared_words(&self, change: &Change, scene: &Scene<'_>) -> Vec<(String, f64)> {
        let place = self.candidates().position(|known| known == change);
        place.map(|place| scene.words.shared(&self.words[place], &self.rarity)).unwrap_or_default()
    }

    /// Services that any change touched.
    pub fn touched(&self) -> BTreeSet<&str> {
        self.all.iter().map(|change| change.service.as_str()).filter(|service| !service.is_empty()).collect()
    }

    /// The standing of a change.
    pub fn standing(&self, change: &Change, scene: &Scene<'_>) -> Standing {
        let near = match change.service.as_str() {
            "" if self.may_reach_all(change, scene) => EVERYWHERE,
            "" => return Standing::Elsewhere,
            service if service == scene.place => 1.0,
            service if scene.next_door.contains(service) => NEXT_DOOR,
            _ => return Standing::Elsewhere,
        };
        if scene.mechanism.is_some_and(needs_no_change) {
            return Standing::Unneeded;
        }
        let related = match self.candidates().position(|known| known == change) {
            Some(place) if self.told => {
                let words = &self.words[place];
                words.risk() * (UNRELATED + (1.0 - UNRELATED) * scene.words.relevance(words, &self.rarity))
            }
            _ => 1.0,
        };
        let Some(when) = closeness(change, scene.onset, HALF_AGE_SECONDS) else { return Standing::Later };
        let skew = scene.skew.filter(|_| change.service == scene.place).unwrap_or(1.0);
        let undone = match self.undo_of(change) {
            Some(undo)
                if scene.onset.is_some() && closeness(undo, scene.onset, HALF_AGE_SECONDS).is_some() =>
            {
                UNDONE
            }
            _ => 1.0,
        };
        Standing::Explains(weight(change) * near * related * when * skew * undone)
    }

    /// What undid a change: the first rollback of its service after it, or a later change that sets back what it set. A
    /// service has many flags and settings, which their references tell apart.
    pub fn undo_of(&self, change: &Change) -> Option<&Change> {
        let undoes = |later: &&Change| {
            if later.service != change.service || later.at <= change.at {
                return false;
            }
            let back = !change.previous.is_empty()
                && later.kind == change.kind
                && later.version == change.previous
                && (!matches!(change.kind, ChangeKind::Flag | ChangeKind::Config)
                    || later.reference == change.reference);
            let rolled = later.kind == ChangeKind::Rollback
                && matches!(change.kind, ChangeKind::Deploy | ChangeKind::CanaryStep)
                // It undoes the latest deploy before it, unless it says where it goes back to.
                && (!later.version.is_empty() && later.version == change.previous
                    || !self.all.iter().any(|between| {
                        between.service == change.service
                            && matches!(between.kind, ChangeKind::Deploy | ChangeKind::CanaryStep)
                            && between.at > change.at
                            && between.at < later.at
                    }));
            back || rolled
        };
        self.all.iter().find(undoes)
    }

    /// Whether a change that names no service (a global flag, a migration, a configuration) may have reached the place. A
    /// commit that names none runs nowhere.
    fn may_reach_all(&self, change: &Change, scene: &Scene<'_>) -> bool {
        let close = || {
            scene.onset.is_some()
                && closeness(change, scene.onset, HALF_AGE_SECONDS).is_some_and(|close| close >= CLOSE)
        };
        let shares = || self.shared_words(change, scene).iter().any(|(_, weight)| *weight >= TELLING_WORD);
        change.kind != ChangeKind::Commit && (close() || shares())
    }

    /// The change to blame: the best score, then the latest. One next door is blamed only for what it touched.
    pub fn culprit(&self, scene: &Scene<'_>) -> Option<(&Change, f64)> {
        let scored = self.candidates().filter_map(|change| match self.standing(change, scene) {
            Standing::Explains(_)
                if !change.service.is_empty() && change.service != scene.place && !self.told =>
            {
                None
            }
            Standing::Explains(score) if score > 0.0 => Some((change, score)),
            _ => None,
        });
        scored.max_by(|left, right| left.1.total_cmp(&right.1).then(left.0.at.cmp(&right.0.at)))
    }
}

/// Whether harm of this kind comes from outside.
fn needs_no_change(mechanism: Mechanism) -> bool {
    matches!(
        mechanism,
        Mechanism::TrafficSurge
            | Mechanism::SlowDependency
            | Mechanism::FailingDependency
            | Mechanism::BadInput
            | Mechanism::NoisyNeighbour
    )
}

/// How close before the harm a change came, 0 to 1; half of it when nobody knows when the harm began; `None` when it came
/// after. One that came after the first sign of harm, by no more than what dates it leaves open, counts like one as long before,
/// less the chance that harm had begun without it: none at first, half at the end.
pub fn closeness(change: &Change, onset: Option<Onset>, half_age: f64) -> Option<f64> {
    let Some(onset) = onset else { return Some(0.5) };
    if change.at > onset.at.plus(onset.slack()) {
        return None;
    }
    let lead = onset.at.seconds_since(change.at);
    let had_begun = (-lead).max(0.0) / onset.slack().as_secs_f64() / 2.0;
    Some((1.0 - had_begun) / (1.0 + lead.abs() / half_age))
}

/// A commit may run nowhere; what runs weighs more.
fn weight(change: &Change) -> f64 {
    match change.kind {
        // It brings back what ran before: seldom the cause, though old code may meet new data.
        ChangeKind::Rollback => 0.3,
        ChangeKind::Commit => 0.6,
        ChangeKind::Scale | ChangeKind::Other => 0.7,
        _ => 1.0,
    }
}

/// Changes told twice become one. A deploy that is also seen in telemetry keeps the pipeline's word, which knows more. A
/// commit joins the deploy that names it; and where deploys name commits, a commit that none names runs nowhere.
pub fn distinct(changes: &[Change]) -> Vec<Change> {
    let mut kept: Vec<Change> = Vec::new();
    let told_first = |change: &Change| change.source == "telemetry";
    let mut ordered: Vec<&Change> = changes.iter().collect();
    ordered.sort_by_key(|change| told_first(change));
    for change in ordered {
        let twin = |other: &Change| {
            other.service == change.service
                && !change.version.is_empty()
                && other.version == change.version
                && told_first(change)
        };
        if !kept.iter().any(twin) {
            kept.push(change.clone());
        }
    }
    let commits: BTreeMap<&str, &Change> = changes
        .iter()
        .filter(|change| change.kind == ChangeKind::Commit && !change.reference.is_empty())
        .map(|change| (change.reference.as_str(), change))
        .collect();
    let mut joined: BTreeSet<String> = BTreeSet::new();
    for change in kept.iter_mut().filter(|change| change.kind != ChangeKind::Commit) {
        if let Some(commit) = commits.get(change.reference.as_str()) {
            joined.insert(change.reference.clone());
            if change.detail.is_empty() {
                change.detail.clone_from(&commit.detail);
            }
        }
    }
    if !joined.is_empty() {
        kept.retain(|change| change.kind != ChangeKind::Commit);
    }
    kept.sort_by(|left, right| {
        (left.at, &left.service, &left.reference).cmp(&(right.at, &right.service, &right.reference))
    });
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(service: &str, at: i64) -> Change {
        Change {
            at: UnixNanos::from_seconds(at),
            kind: ChangeKind::Deploy,
            service: service.into(),
            version: format!("v{at}"),
            ..Change::default()
        }
    }

    #[test]
    fn the_latest_change_of_the_place_before_the_harm_is_blamed() {
        let changes = Changes::new(&[
            change("cart", 990),
            change("catalog", 100),
            change("catalog", 980),
            change("catalog", 1100),
        ]);
        let check = |place: &str, mechanism: Mechanism, expected: Option<i64>| {
            let scene = Scene {
                place,
                mechanism: Some(mechanism),
                onset: Some(Onset::exact(UnixNanos::from_seconds(1000))),
                ..Scene::default()
            };
            assert_eq!(changes.culprit(&scene).map(|(change, _)| change.at.seconds()), expected);
        };
        check("catalog", Mechanism::RepeatedCalls, Some(980));
        check("cart", Mechanism::NewErrors, Some(990));
        check("payment", Mechanism::NewErrors, None);
        check("catalog", Mechanism::TrafficSurge, None);
    }

    #[test]
    fn a_change_within_the_slice_that_dates_the_harm_is_not_too_late() {
        let close = |after: i64, resolution: u64| {
            let at = UnixNanos::from_seconds(1000);
            let onset = Onset { at, resolution: Duration::from_secs(resolution) };
            closeness(&change("cart", 1000 + after), Some(onset), HALF_AGE_SECONDS)
        };
        assert_eq!(close(0, 300), Some(1.0));
        for (after, resolution) in [(30, 0), (290, 300)] {
            let late = close(after, resolution).expect("it may have come first");
            assert!(late > 0.0 && late < close(-after, resolution).unwrap(), "{after} {late}");
        }
        assert_eq!(close(31, 10), None);
        assert_eq!(close(301, 300), None);
    }

    #[test]
    fn a_hotfix_into_the_harm_is_less_likely_than_the_deploy_before_it() {
        let changes = Changes::new(&[change("cart", 9_400), change("cart", 10_240)]);
        let check = |noticed: Option<i64>, expected: Option<f64>| {
            let onset = Onset { at: UnixNanos::from_seconds(10_000), resolution: Duration::from_secs(300) };
            let onset = noticed.map_or(onset, |at| onset.noticed(UnixNanos::from_seconds(at)));
            let scene = Scene { place: "cart", onset: Some(onset), ..Scene::default() };
            assert_eq!(changes.culprit(&scene).map(|(change, _)| change.at.seconds()), Some(9_400));
            let told = match changes.standing(&changes.all[1], &scene) {
                Standing::Explains(score) => Some((score * 100.0).round()),
                _ => None,
            };
            assert_eq!(told, expected);
        };
        check(None, Some(47.0));
        check(Some(10_200), Some(43.0));
        // It came after harm was noticed.
        check(Some(10_060), None);
    }

    #[test]
    fn what_came_after_is_not_said_to_have_come_before() {
        let check = |after: i64, resolution: u64, words: &str, first: Option<bool>| {
            let at = UnixNanos::from_seconds(1000);
            let onset = Onset { at, resolution: Duration::from_secs(resolution) };
            let (order, held) = onset.order(&change("cart", 1000 + after));
            assert_eq!((order.words("").as_str(), held), (words, first));
        };
        check(-90, 10, "1 m 30 s before", Some(true));
        check(0, 10, "0 s before", Some(true));
        check(20, 10, "within the same 30 s", None);
        check(240, 300, "within the same 5 m 0 s", None);
        check(240, 10, "4 m 0 s after", Some(false));
    }

    #[test]
    fn one_deploy_told_twice_is_one_change() {
        let told = change("catalog", 10);
        let seen = Change { at: UnixNanos::from_seconds(12), source: "telemetry".into(), ..told.clone() };
        assert_eq!(distinct(&[seen, told.clone()]), [told]);
    }

    #[test]
    fn a_commit_joins_its_deploy_and_one_without_runs_nowhere() {
        let commit = |reference: &str| Change {
            kind: ChangeKind::Commit,
            reference: reference.into(),
            detail: format!("about {reference}"),
            ..Change::default()
        };
        let deploy = Change { reference: "a1".into(), ..change("catalog", 10) };
        let joined = Change { detail: "about a1".into(), ..deploy.clone() };
        assert_eq!(distinct(&[commit("a1"), commit("b2"), deploy]), [joined]);
        assert_eq!(distinct(&[commit("b2")]), [commit("b2")]);
    }

    #[test]
    fn a_release_whose_old_instances_suffer_as_much_is_not_blamed() {
        let changes = Changes::new(&[change("cart", 990)]);
        let check = |skew: Option<f64>, expected: bool| {
            let onset = Some(Onset::exact(UnixNanos::from_seconds(1000)));
            let scene = Scene { place: "cart", onset, skew, ..Scene::default() };
            assert_eq!(changes.culprit(&scene).is_some(), expected);
        };
        check(None, true);
        check(Some(0.9), true);
        check(Some(0.0), false);
    }

    fn blamed(changes: &[Change], scene: &Scene<'_>) -> Option<String> {
        let known = Changes::new(changes);
        known.culprit(scene).map(|(change, _)| change.reference.clone())
    }

    #[test]
    fn a_change_of_no_service_is_blamed_for_its_time_or_its_words_after_those_of_the_place() {
        let of = |kind: ChangeKind, service: &str, reference: &str, at: i64| Change {
            kind,
            reference: reference.into(),
            version: String::new(),
            ..change(service, at)
        };
        let mut words = Words::default();
        words.add_failure("tax engine: unknown region", 1.0);
        let check = |changes: &[Change], words: &Words, expected: Option<&str>| {
            let onset = Some(Onset::exact(UnixNanos::from_seconds(10_000)));
            let scene = Scene { place: "cart", onset, words: words.clone(), ..Scene::default() };
            assert_eq!(blamed(changes, &scene).as_deref(), expected);
        };
        let none = Words::default();
        let flag = of(ChangeKind::Flag, "", "tax-engine", 9_000);
        let soon = of(ChangeKind::Migration, "", "12", 9_960);
        check(std::slice::from_ref(&flag), &none, None);
        check(std::slice::from_ref(&flag), &words, Some("tax-engine"));
        check(std::slice::from_ref(&soon), &none, Some("12"));
        check(&[of(ChangeKind::Commit, "", "a1", 9_960)], &none, None);
        // One of the place itself comes first, unless it is long ago.
        check(&[soon.clone(), of(ChangeKind::Deploy, "cart", "own", 9_900)], &none, Some("own"));
        check(&[soon, of(ChangeKind::Deploy, "cart", "own", 3_000)], &none, Some("12"));
    }

    #[test]
    fn what_was_undone_and_what_undoes_are_seldom_to_blame() {
        let named = |kind: ChangeKind, reference: &str, at: i64| Change {
            kind,
            reference: reference.into(),
            ..change("cart", at)
        };
        let check = |changes: &[Change], expected: Option<&str>| {
            let onset = Some(Onset::exact(UnixNanos::from_seconds(10_000)));
            let scene = Scene { place: "cart", onset, ..Scene::default() };
            assert_eq!(blamed(changes, &scene).as_deref(), expected);
        };
        let deploy = |at| named(ChangeKind::Deploy, "deploy", at);
        let back = |at| named(ChangeKind::Rollback, "back", at);
        let older = named(ChangeKind::Config, "limits", 9_000);
        check(&[deploy(9_900), back(10_200)], Some("deploy"));
        // Both before the harm: neither is likelier than another change of the place.
        check(&[older, deploy(9_500), back(9_900)], Some("limits"));
        let changes = Changes::new(&[deploy(9_000), deploy(9_900), back(10_200)]);
        let undone: Vec<bool> = changes.all.iter().map(|change| changes.undo_of(change).is_some()).collect();
        assert_eq!(undone, [false, true, false]);
    }

    #[test]
    fn another_setting_set_to_the_old_value_is_no_undo() {
        let check = |kind: ChangeKind, later: &str, expected: bool| {
            let set = |reference: &str, version: &str, previous: &str, at: i64| Change {
                kind,
                reference: reference.into(),
                version: version.into(),
                previous: previous.into(),
                ..change("cart", at)
            };
            let changes = Changes::new(&[set("retries", "on", "off", 100), set(later, "off", "on", 200)]);
            assert_eq!(changes.undo_of(&changes.all[0]).is_some(), expected, "{kind:?} {later}");
        };
        for kind in [ChangeKind::Flag, ChangeKind::Config] {
            check(kind, "retries", true);
            check(kind, "cache", false);
            // What `ingest` calls a change whose sender gave it no name.
            check(kind, "change-17d51e3c833ab9be", false);
        }
    }
}
