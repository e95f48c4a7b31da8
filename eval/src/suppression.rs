//! How well suppression does, by replaying history with a split in time.
//!
//! The first half is what people have decided on: an alert none of whose messages tells of a failure was approved, any other
//! rejected. In the second half nobody decides: what was approved is held back until something brings it back, and what was
//! never seen is held back by itself when its score reaches the threshold, as in mode auto, the most daring one. A message
//! that tells of a failure and is held back is an error.
//!
//! Reads logs in the format of LogHub with the columns `Timestamp` (Unix seconds), `Content` and `Label` (`-` for messages
//! that operators did not mark as telling of a failure). Every message counts as an alert of the same severity and the
//! replay opens no incident, so that neither levels nor incidents help. Recordings of incidents are read as well: what was
//! logged during the incident counts as telling of a failure, all of it, though most of it is what a service always says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use detectors::log_template;
use detectors::suppression::{
    Approval, Context, Decided, Entry, Event, Features, History, MAX_EXPIRY_DAYS, Model, Reason, Reopening,
    Source, Standing, State, is_ripe, never, policy,
};
use domain::{Alert, AlertSource, Severity, UnixNanos};
use serde::Serialize;
use storage::Store;

/// Thresholds that are compared.
pub const THRESHOLDS: [f64; 4] =
    [0.5, 0.6, detectors::suppression::DEFAULT_THRESHOLD, detectors::suppression::AUTO_THRESHOLD];

/// A message with its truth.
#[derive(Clone, Debug)]
pub struct Message {
    /// The alert it makes.
    pub alert: Alert,
    /// Whether operators marked it as telling of a failure.
    pub failure: bool,
}

/// What a replay came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Outcome {
    /// The system.
    pub system: String,
    /// Confidence from which alerts are held back by themselves.
    pub threshold: f64,
    /// Alerts of the second half.
    pub alerts: usize,
    /// Of those, ones that tell of a failure.
    pub failures: usize,
    /// Alerts held back.
    pub suppressed: usize,
    /// Of those, ones that tell of a failure.
    pub wrongly_suppressed: usize,
    /// Kinds of alerts held back by themselves.
    pub proposals: usize,
    /// Of those, ones of which no alert tells of a failure.
    pub right_proposals: usize,
    /// Pages of the second half, and how many of them were held back.
    pub pages: usize,
    /// Pages held back.
    pub pages_saved: usize,
    /// Times that something came back.
    pub reopened: usize,
}

impl Outcome {
    /// The share of what was held back that tells of no failure.
    pub fn precision(&self) -> Option<f64> {
        (self.suppressed > 0).then(|| 1.0 - self.wrongly_suppressed as f64 / self.suppressed as f64)
    }

    /// The share of proposals that were right.
    pub fn proposal_precision(&self) -> Option<f64> {
        (self.proposals > 0).then(|| self.right_proposals as f64 / self.proposals as f64)
    }
}

/// All labelled logs below a folder, by name; those without labels are passed over.
pub fn read(root: &Path) -> anyhow::Result<Vec<(String, Vec<Message>)>> {
    let mut files = Vec::new();
    find(root, 0, &mut files)?;
    files.sort();
    let mut logs = Vec::new();
    for path in files {
        let folder = path.parent().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
        let system = folder.unwrap_or_default();
        let messages = messages(&path, &system).with_context(|| format!("cannot read {}", path.display()))?;
        if !messages.is_empty() {
            logs.push((system, messages));
        }
    }
    Ok(logs)
}

/// Log messages of recorded incidents, in order of time: those within the incident tell of a failure, those of the baseline do
/// not. Times are as exact as the store's slices.
pub async fn read_recordings(dirs: &[PathBuf]) -> anyhow::Result<Vec<Message>> {
    let mut messages = Vec::new();
    for dir in dirs {
        let store = Store::scratch().await.context("cannot open a store for the recording")?;
        let read = of_recording(&store, dir).await;
        store.close().await.context("cannot close the store of the recording")?;
        messages.extend(read.with_context(|| format!("cannot read {}", dir.display()))?);
    }
    messages.sort_by_key(|message| message.alert.at);
    Ok(messages)
}

async fn of_recording(store: &Store, dir: &Path) -> anyhow::Result<Vec<Message>> {
    let recording = storage::recording::load(store, dir).await?;
    let (Some(window), Some(baseline)) = (recording.meta.window, recording.meta.baseline) else {
        return Ok(Vec::new());
    };
    let logs = store.log_groups(Some(baseline), window).await?;
    let mut messages = Vec::new();
    for group in &logs.groups {
        let pattern = if group.template.is_empty() {
            log_template::mask(&group.sample)
        } else {
            group.template.clone()
        };
        for (slice, count) in group.slices.iter().zip(&group.counts) {
            let at = UnixNanos(logs.origin + slice * logs.slice);
            let message = Message {
                alert: alert(&group.service, "", &pattern, &group.sample, at),
                failure: at.0 + logs.slice > window.start.0,
            };
            messages.extend(std::iter::repeat_n(message, usize::try_from(*count).unwrap_or(0)));
        }
    }
    Ok(messages)
}

/// The alert of one message.
fn alert(service: &str, host: &str, pattern: &str, text: &str, at: UnixNanos) -> Alert {
    Alert {
        source: AlertSource::Detection,
        rule: "log pattern".into(),
        service: service.to_owned(),
        severity: Severity::Warning,
        host: host.to_owned(),
        version: String::new(),
        pattern: pattern.to_owned(),
        text: text.to_owned(),
        numbers: Vec::new(),
        at,
        resolved: false,
        objective: false,
        foreign_id: String::new(),
        labels: BTreeMap::new(),
    }
}

fn find(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    const DEEPEST: usize = 4;
    for entry in std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() && depth < DEEPEST {
            find(&path, depth + 1, files)?;
        } else if path.to_string_lossy().ends_with("_structured.csv") {
            files.push(path);
        }
    }
    Ok(())
}

fn messages(path: &Path, system: &str) -> anyhow::Result<Vec<Message>> {
    let mut reader = csv::Reader::from_path(path)?;
    let heads = reader.headers()?.clone();
    let column = |name: &str| heads.iter().position(|head| head == name);
    let (Some(label), Some(time), Some(content)) = (column("Label"), column("Timestamp"), column("Content"))
    else {
        return Ok(Vec::new());
    };
    let (service, host) = (column("Component"), column("Node").or_else(|| column("User")));
    let mut messages = Vec::new();
    for record in reader.records() {
        let record = record?;
        let field =
            |index: Option<usize>| index.and_then(|index| record.get(index)).unwrap_or_default().to_owned();
        let Ok(seconds) = field(Some(time)).parse::<i64>() else { continue };
        let text = field(Some(content));
        let service = field(service);
        let service = if service.is_empty() { system } else { service.as_str() };
        let at = UnixNanos::from_seconds(seconds);
        let alert = alert(service, &field(host), &log_template::mask(&text), &text, at);
        messages.push(Message { alert, failure: field(Some(label)) != "-" });
    }
    messages.sort_by_key(|message| message.alert.at);
    Ok(messages)
}

/// What is known of one kind of alert during a replay.
#[derive(Default)]
struct Kind {
    history: History,
    standing: Standing,
    last_page: Option<i64>,
    held_page: bool,
    proposed: bool,
    failed_since: bool,
    failed: bool,
}

/// Replays messages, oldest first.
pub fn replay(system: &str, messages: &[Message], threshold: f64) -> Outcome {
    let mut kinds: BTreeMap<String, Kind> = BTreeMap::new();
    let half = messages.len() / 2;
    let (before, after) = messages.split_at(half);
    for message in before {
        let kind = kinds.entry(message.alert.fingerprint()).or_default();
        kind.history.note(message.alert.at, 1, &message.alert.host, "", false);
        kind.failed |= message.failure;
    }
    let model = decide(&mut kinds, before);
    let mut outcome =
        Outcome { system: system.to_owned(), threshold, alerts: after.len(), ..Outcome::default() };
    for message in after {
        let alert = &message.alert;
        let fingerprint = alert.fingerprint();
        let kind = kinds.entry(fingerprint).or_default();
        kind.history.note(alert.at, 1, &alert.host, "", false);
        let held = held_back(kind, alert, &model, threshold, &mut outcome);
        outcome.failures += usize::from(message.failure);
        outcome.suppressed += usize::from(held);
        outcome.wrongly_suppressed += usize::from(held && message.failure);
        kind.failed_since |= message.failure;
        page(kind, alert, held, &mut outcome);
    }
    let proposed = kinds.values().filter(|kind| kind.proposed);
    outcome.right_proposals = proposed.filter(|kind| !kind.failed_since).count();
    outcome
}

/// Decides on everything seen so far, as people who know the truth would.
fn decide(kinds: &mut BTreeMap<String, Kind>, before: &[Message]) -> Model {
    let Some(now) = before.last().map(|message| message.alert.at) else { return Model::learn(Vec::new()) };
    let mut alerts: BTreeMap<String, &Alert> = BTreeMap::new();
    for message in before {
        alerts.insert(message.alert.fingerprint(), &message.alert);
    }
    let mut decided = Vec::new();
    for (fingerprint, alert) in alerts {
        let Some(kind) = kinds.get_mut(&fingerprint) else { continue };
        let features = Features::of(alert, &kind.history, now);
        decided.push(Decided {
            fingerprint,
            rule: alert.rule.clone(),
            service: alert.service.clone(),
            pattern: alert.pattern.clone(),
            features,
            noise: !kind.failed,
        });
        let allowed = never::forbids(&never::rule(alert, &context(kind, now))).is_none();
        let event = match kind.failed || !allowed {
            true => Event::Rejected,
            false => Event::Approved(approval(&kind.history, now)),
        };
        kind.standing.apply(now, &entry(alert, event, Source::Web));
    }
    Model::learn(decided)
}

fn held_back(kind: &mut Kind, alert: &Alert, model: &Model, threshold: f64, outcome: &mut Outcome) -> bool {
    let now = alert.at;
    let forbidden =
        never::forbids(&never::rule(alert, &context(kind, now))).map(|ruling| ruling.words.clone());
    if let Some(approval) = kind.standing.approval() {
        let back = policy::reopens(approval, alert, &kind.history, None, now);
        let back = back.or_else(|| forbidden.map(|words| Reopening::Rule { words }));
        if let Some(reopening) = back {
            kind.standing.apply(now, &entry(alert, Event::Reopened(reopening), Source::Inquest));
            outcome.reopened += 1;
            return false;
        }
        return true;
    }
    if forbidden.is_some() || kind.standing.never_auto || kind.standing.state != State::Undecided {
        return false;
    }
    let own = Features::of(alert, &kind.history, now);
    let (score, _) = model.score(&alert.rule, &alert.service, &alert.pattern, own);
    if score < threshold || !is_ripe(&kind.history, now) {
        return false;
    }
    kind.proposed = true;
    outcome.proposals += 1;
    let approved = Event::Approved(approval(&kind.history, now));
    kind.standing.apply(now, &entry(alert, approved, Source::Inquest));
    true
}

/// Counts a page when four hours have passed since the last, and whether it was held back.
fn page(kind: &mut Kind, alert: &Alert, held: bool, outcome: &mut Outcome) {
    let hour = detectors::suppression::history::hour_of(alert.at);
    let again = detectors::suppression::history::PAGE_AGAIN_HOURS;
    if kind.last_page.is_none_or(|last| hour - last >= again) {
        kind.last_page = Some(hour);
        kind.held_page = held;
        outcome.pages += 1;
        outcome.pages_saved += usize::from(held);
    } else if kind.held_page && !held {
        // It pages after all.
        kind.held_page = false;
        outcome.pages_saved -= 1;
    }
}

fn context(kind: &Kind, now: UnixNanos) -> Context {
    Context { now, first_seen: kind.history.first, ..Context::default() }
}

fn approval(history: &History, now: UnixNanos) -> Approval {
    Approval {
        reason: Reason::KnownBenign,
        note: String::new(),
        expires: policy::expiry(now, MAX_EXPIRY_DAYS),
        limit: history.limit(now),
        hosts: history.hosts.clone(),
        versions: history.versions.clone(),
        pages_saved: 0,
    }
}

fn entry(alert: &Alert, event: Event, source: Source) -> Entry {
    Entry {
        actor: "replay".into(),
        source,
        rule: alert.rule.clone(),
        service: alert.service.clone(),
        pattern: alert.pattern.clone(),
        confidence: None,
        features: None,
        note: String::new(),
        batch: None,
        event,
    }
}

/// All outcomes together, per threshold.
pub fn together(outcomes: &[Outcome]) -> Vec<Outcome> {
    THRESHOLDS
        .iter()
        .map(|threshold| {
            let mut sum = Outcome { system: "all".into(), threshold: *threshold, ..Outcome::default() };
            for one in outcomes.iter().filter(|one| one.threshold == *threshold) {
                sum.alerts += one.alerts;
                sum.failures += one.failures;
                sum.suppressed += one.suppressed;
                sum.wrongly_suppressed += one.wrongly_suppressed;
                sum.proposals += one.proposals;
                sum.right_proposals += one.right_proposals;
                sum.pages += one.pages;
                sum.pages_saved += one.pages_saved;
                sum.reopened += one.reopened;
            }
            sum
        })
        .collect()
}

/// The outcomes as a Markdown table.
pub fn table(outcomes: &[Outcome]) -> String {
    let mut out = String::from(
        "| system | threshold | alerts | failures | held back | wrongly | precision | proposals right | pages saved | came back |\n|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for one in outcomes {
        let share = |share: Option<f64>| share.map_or("–".into(), |share| format!("{share:.4}"));
        out.push_str(&format!(
            "| {} | {} | {} | {} | {} | {} | {} | {}/{} | {}/{} | {} |\n",
            one.system,
            one.threshold,
            one.alerts,
            one.failures,
            one.suppressed,
            one.wrongly_suppressed,
            share(one.precision()),
            one.right_proposals,
            one.proposals,
            one.pages_saved,
            one.pages,
            one.reopened
        ));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(hour: i64, text: &str, failure: bool) -> Message {
        let at = UnixNanos::from_seconds(hour * 3600);
        let alert = alert("cart", "a", &log_template::mask(text), text, at);
        Message { alert, failure }
    }

    #[test]
    fn what_was_approved_is_held_back_and_what_was_rejected_is_heard() {
        let mut messages = Vec::new();
        for hour in 0..100 {
            messages.push(message(hour, "cache miss, loading 17 rows", false));
            messages.push(message(hour, "upstream refused the connection", hour % 10 == 0));
        }
        let outcome = replay("x", &messages, 0.75);
        assert_eq!((outcome.alerts, outcome.suppressed, outcome.wrongly_suppressed), (100, 50, 0));
        assert!(outcome.pages_saved > 0 && outcome.pages_saved < outcome.pages);
    }

    #[test]
    fn a_benign_pattern_that_becomes_loud_is_heard() {
        let mut messages: Vec<Message> =
            (0..300).map(|hour| message(hour, "cache miss, loading 17 rows", false)).collect();
        messages.extend((0..300).map(|_| message(299, "cache miss, loading 17 rows", true)));
        messages.sort_by_key(|message| message.alert.at);
        let outcome = replay("x", &messages, 0.75);
        assert_eq!(outcome.reopened, 1);
        assert!(outcome.wrongly_suppressed < 40, "{outcome:?}");
    }
}
