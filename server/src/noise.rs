//! Alerts and what becomes of them: heard, or held back under people's control.
//!
//! [`Noise::accept`] is the one way in. Decisions are appended to the journal first and folded into the [`Book`] then, as
//! incidents are. What is around an alert ([`Around`]) is asked of the store before; everything else is pure
//! (`detectors::suppression`). Deliberately absent: deleting. What is held back is stored, counted and shown.

pub mod alertmanager;
pub mod around;
pub mod book;
pub mod kubernetes;
pub mod policies;
pub mod proposal;
pub mod settings;
mod silences;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use detectors::suppression::{
    AUTO_THRESHOLD, Entry, Event, Measures, Mode, Reopening, Source, Standing, is_sampled, never, policy,
};
use domain::alert::MAX_ALERT_NAME;
use domain::{Alert, Clock, Finding, Incident, Report, UnixNanos, Window};
use serde::{Deserialize, Serialize};
use storage::Store;
use storage::alerts::SeenAlert;
use tokio::sync::{Notify, broadcast};

use crate::detect::Outlooks;
use crate::incidents::Incidents;
pub use around::Around;
pub use book::{Book, Group, ModeChange, Noted, RuleInForce, Silence, SilenceChange};
pub use policies::Imported;
pub use proposal::{Details, Proposal};
pub use settings::Settings;

/// The journal's streams.
const STREAM: &str = "noise";
const MODES: &str = "noise-modes";
const SILENCES: &str = "noise-silences";
const AWAITED: &str = "noise-awaited";

/// A finding that is seen again within this time is the same alert, still going on.
const GOES_ON: Duration = Duration::from_secs(300);
/// How far back the past of alerts is recalled when the program starts.
const RECALLED: Duration = Duration::from_secs(30 * 86_400);
/// Hosts of one finding that are looked at.
const MAX_HOSTS: usize = 64;
/// How long before an incident began an alert may have been held back and still belong to it: the first sign is often called noise.
const BEFORE_INCIDENT: Duration = Duration::from_secs(3600);
/// How long a count of what waits is good enough for the top of a page; a decision is counted at once.
const COUNT_STANDS: Duration = Duration::from_secs(30);
/// Heard alerts that a slow listener may lag behind.
const MAX_HEARD: usize = 256;
/// Who decides when nobody does.
pub const INQUEST: &str = "inquest";

/// What became of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It reaches people.
    Heard,
    /// It is held back.
    Suppressed,
    /// It was already counted and still goes on, here or at other instances; the flag says whether it is held back.
    GoesOn {
        /// Whether it is held back.
        suppressed: bool,
    },
}

impl Outcome {
    /// Whether it is held back.
    pub const fn is_suppressed(self) -> bool {
        matches!(self, Self::Suppressed | Self::GoesOn { suppressed: true })
    }
}

/// Longest note kept with a decision, in characters.
pub const MAX_NOTE: usize = 400;

/// Who decides, and what they say with it.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// A person, or `inquest`.
    pub actor: &'a str,
    /// Where they said so.
    pub source: Source,
    /// More about why; may be empty. An approval has a note of its own.
    pub note: &'a str,
}

/// What came of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecidedOn {
    /// Alerts that it stands for now.
    pub alerts: usize,
    /// Those of them for which it did not stand before.
    pub changed: usize,
}

/// Alerts that were held back around an incident.
#[derive(Clone, Debug, PartialEq)]
pub struct HeldBack {
    /// Which, how many, and when.
    pub row: storage::alerts::HeldBack,
    /// Who approved what held them back, and the approval; nothing when it is too long ago to be at hand.
    pub by: Option<book::HeldBy>,
    /// When and why it came back since, when it did.
    pub back: Option<book::CameBack>,
}

/// An alert that reaches people.
#[derive(Clone, Debug)]
pub struct Heard {
    /// The alert.
    pub alert: Alert,
    /// Whether no rule forbids to suppress it.
    pub may_suppress: bool,
}

/// The mode of a rule, as the journal has it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct ModeSet {
    mode: Mode,
    actor: String,
}

/// A policy on an alert that was not seen yet, as the journal has it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct AwaitedSet {
    policy: policies::Policy,
    actor: String,
    /// Whether the alert came.
    came: bool,
}

/// Alerts of one store. Cheap to clone.
#[derive(Clone)]
pub struct Noise {
    shared: Arc<Shared>,
}

struct Shared {
    store: Store,
    clock: Arc<dyn Clock>,
    incidents: Incidents,
    outlooks: Outlooks,
    settings: Settings,
    silencer: Option<alertmanager::Silencer>,
    book: Mutex<Book>,
    /// How many wait for a decision, and when that was counted.
    waiting: Mutex<Option<(UnixNanos, usize)>>,
    /// Held from judging an alert until journal, store and book have what came of it.
    accepting: tokio::sync::Mutex<()>,
    heard: broadcast::Sender<Arc<Heard>>,
    /// Told when a decision may ask for a silence, or end one.
    decided: Notify,
}

impl Noise {
    /// Recalls alerts and decisions.
    pub async fn load(
        store: Store,
        clock: Arc<dyn Clock>,
        incidents: Incidents,
        outlooks: Outlooks,
        settings: Settings,
    ) -> anyhow::Result<Self> {
        let now = clock.now();
        let since = now.minus(RECALLED);
        let mut book = Book::new(settings.mode);
        for seen in store.alerts_latest(since).await.context("cannot recall alerts")? {
            book.recall(seen);
        }
        for firing in store.alerts_firing(since).await.context("cannot recall what fires")? {
            book.recall_firing(&firing, now);
        }
        for hour in store.alert_hours(since).await.context("cannot recall the past of alerts")? {
            book.recall_hour(&hour);
        }
        for entry in store.journal_read(STREAM).await.context("cannot read decisions on alerts")? {
            match serde_json::from_value::<Entry>(entry.body) {
                Ok(body) => book.apply(&entry.key, entry.at, body),
                Err(error) => {
                    tracing::warn!(sequence = entry.sequence, %error, "cannot read a decision on an alert")
                }
            }
        }
        for entry in store.journal_read(MODES).await.context("cannot read the modes of rules")? {
            if let Ok(set) = serde_json::from_value::<ModeSet>(entry.body) {
                book.set_mode(entry.at, &entry.key, set.mode, &set.actor);
            }
        }
        for entry in store.journal_read(SILENCES).await.context("cannot read silences")? {
            if let Ok(silence) = serde_json::from_value::<Silence>(entry.body) {
                book.set_silence(&entry.key, silence);
            }
        }
        for entry in store.journal_read(AWAITED).await.context("cannot read policies on alerts to come")? {
            match serde_json::from_value::<AwaitedSet>(entry.body) {
                Ok(set) if set.came => book.came(&set.policy),
                Ok(set) => book.await_alert(set.policy, set.actor),
                Err(error) => {
                    tracing::warn!(sequence = entry.sequence, %error, "cannot read a policy on an alert to come")
                }
            }
        }
        book.learn();
        let silencer = settings.alertmanager.as_deref().map(alertmanager::Silencer::new).transpose()?;
        let shared = Shared {
            store,
            clock,
            incidents,
            outlooks,
            settings,
            silencer,
            book: Mutex::new(book),
            waiting: Mutex::default(),
            accepting: tokio::sync::Mutex::default(),
            heard: broadcast::Sender::new(MAX_HEARD),
            decided: Notify::new(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Takes findings of detection as alerts, and says which of them are held back. One that was seen on several hosts is an
    /// alert of each, so that a host which is new is noticed, and it is held back when all of these are.
    pub async fn accept_findings(&self, findings: &[Finding]) -> anyhow::Result<Vec<bool>> {
        if findings.is_empty() {
            return Ok(Vec::new());
        }
        // Oldest first: what is left of each service is its latest version.
        let seen = self.shared.store.versions().await.context("cannot ask which versions run")?;
        let versions: HashMap<String, String> =
            seen.into_iter().map(|seen| (seen.service, seen.version)).collect();
        let mut alerts = Vec::new();
        let mut counts = Vec::with_capacity(findings.len());
        for finding in findings {
            let alert = domain::alert::of_finding(finding, detectors::log_template::mask);
            let version = versions.get(&finding.service).map_or("", String::as_str);
            let alert = Alert { version: domain::text::plain(version, MAX_ALERT_NAME), ..alert };
            let others = finding.hosts().iter().skip(1).take(MAX_HOSTS - 1);
            let others: Vec<Alert> = others
                .map(|host| Alert { host: domain::text::plain(host, MAX_ALERT_NAME), ..alert.clone() })
                .collect();
            counts.push(1 + others.len());
            alerts.push(alert);
            alerts.extend(others);
        }
        let mut outcomes = self.accept(alerts).await?.into_iter();
        Ok(counts
            .into_iter()
            .map(|count| outcomes.by_ref().take(count).fold(true, |all, one| all & one.is_suppressed()))
            .collect())
    }

    /// Takes alerts: each is judged, stored, and heard or held back. In the order given. After a failure none was taken: they are
    /// as new when they are sent again.
    pub async fn accept(&self, alerts: Vec<Alert>) -> anyhow::Result<Vec<Outcome>> {
        if alerts.is_empty() {
            return Ok(Vec::new());
        }
        let _order = self.shared.accepting.lock().await;
        self.book().begin();
        let taken = self.take(alerts).await;
        match &taken {
            Ok(_) => self.book().settle(),
            Err(_) => self.book().put_back(),
        }
        let (outcomes, heard) = taken?;
        for one in heard {
            // Nobody listening is no error.
            let _ = self.shared.heard.send(Arc::new(one));
        }
        Ok(outcomes)
    }

    /// What became of each alert, and those that reach people now that all are stored.
    async fn take(&self, alerts: Vec<Alert>) -> anyhow::Result<(Vec<Outcome>, Vec<Heard>)> {
        let around = self.around().await?;
        let mut outcomes = Vec::with_capacity(alerts.len());
        let (mut seen, mut heard) = (Vec::new(), Vec::new());
        for alert in alerts {
            let goes_on = self.book().goes_on(&alert, GOES_ON, around.now);
            let fingerprint = alert.fingerprint();
            let incident = around.incident_of(&alert.service);
            if !goes_on && !alert.resolved {
                self.book().note(&alert, incident.is_some(), around.now);
            }
            if !goes_on && !alert.resolved {
                self.decide_awaited(&alert, &fingerprint, &around).await?;
            }
            let suppressed = match alert.resolved {
                true => self.book().is_suppressed(&fingerprint),
                false => self.judge(&alert, &fingerprint, &around).await?,
            };
            if !goes_on && suppressed && !alert.resolved {
                self.book().note_suppressed(&fingerprint, alert.at);
            }
            outcomes.push(match goes_on {
                true => Outcome::GoesOn { suppressed },
                false if suppressed => Outcome::Suppressed,
                false => Outcome::Heard,
            });
            if !goes_on && !suppressed {
                let may_suppress = self.may_suppress(&alert, &fingerprint, &around);
                heard.push(Heard { alert: alert.clone(), may_suppress });
            }
            // Which instances have ended must be known after a restart, too.
            if !goes_on || alert.resolved {
                seen.push(SeenAlert { alert, suppressed, incident: incident.map_or(0, |id| id.0) });
            }
        }
        self.shared.store.alerts_append(&seen).await.context("cannot store alerts")?;
        Ok((outcomes, heard))
    }

    /// Decides what a file said of an alert that had not been seen. While a rule forbids it, the alert is heard and the policy waits on.
    async fn decide_awaited(&self, alert: &Alert, fingerprint: &str, around: &Around) -> anyhow::Result<()> {
        let (policy, actor, asked) = {
            let book = self.book();
            let Some((policy, actor)) = book.awaited_for(alert) else { return Ok(()) };
            let Some(group) = book.group(fingerprint) else { return Ok(()) };
            let standing = book.standing(fingerprint).cloned().unwrap_or_default();
            let context = around.context(group, &self.shared.settings.protected);
            (policy.clone(), actor.clone(), policy.asks(group, &standing, &context))
        };
        match asked {
            policies::Asked::Forbidden(_) => return Ok(()),
            policies::Asked::Stands | policies::Asked::Expired => {}
            policies::Asked::Decide(event) => self.note(fingerprint, &actor, Source::File, event).await?,
        }
        self.note_awaited(AwaitedSet { policy, actor, came: true }).await
    }

    async fn note_awaited(&self, set: AwaitedSet) -> anyhow::Result<()> {
        let body = serde_json::to_value(&set).context("a policy does not serialise")?;
        let at = self.shared.clock.now();
        self.shared
            .store
            .journal_append(at, AWAITED, &set.policy.rule, &body)
            .await
            .context("cannot note a policy in the journal")?;
        let mut book = self.book();
        match set.came {
            true => book.came(&set.policy),
            false => book.await_alert(set.policy, set.actor),
        }
        Ok(())
    }

    fn may_suppress(&self, alert: &Alert, fingerprint: &str, around: &Around) -> bool {
        let book = self.book();
        let group = book.group(fingerprint);
        let context = group.map(|group| around.context(group, &self.shared.settings.protected));
        context.is_some_and(|context| never::forbids(&never::rule(alert, &context)).is_none())
    }

    /// Whether an alert is held back now; notes it when it comes back, is sampled, or is suppressed automatically.
    async fn judge(&self, alert: &Alert, fingerprint: &str, around: &Around) -> anyhow::Result<bool> {
        let now = around.now;
        let (context, standing, history, mode) = {
            let book = self.book();
            let Some(group) = book.group(fingerprint) else { return Ok(false) };
            let standing = book.standing(fingerprint).cloned().unwrap_or_default();
            (
                around.context(group, &self.shared.settings.protected),
                standing,
                group.history.clone(),
                book.mode(&alert.rule),
            )
        };
        let rulings = never::rule(alert, &context);
        let forbidden = never::forbids(&rulings);
        if let Some(approval) = standing.approval() {
            let incident = context.incident.as_deref();
            let back = policy::reopens(approval, alert, &history, incident, now)
                .or_else(|| forbidden.map(|ruling| Reopening::Rule { words: ruling.words.clone() }));
            if let Some(reopening) = back {
                self.note(fingerprint, INQUEST, Source::Inquest, Event::Reopened(reopening)).await?;
                return Ok(false);
            }
            let hour = detectors::suppression::history::hour_of(alert.at);
            if !standing.sampled && is_sampled(fingerprint, hour) {
                self.note(fingerprint, INQUEST, Source::Inquest, Event::Sampled).await?;
            }
            return Ok(mode != Mode::Observe);
        }
        let auto = mode == Mode::Auto && forbidden.is_none() && !standing.never_auto && !alert.resolved;
        if !auto || !matches!(standing.state, policy::State::Undecided) {
            return Ok(false);
        }
        let Some(group) = self.book().group(fingerprint).cloned() else { return Ok(false) };
        let proposal = self.book_proposal(&group, around);
        let sure = proposal.proposed && proposal.confidence >= AUTO_THRESHOLD;
        // Asked each time: what was earned can be lost, and a rule that is not set apart has to earn it by itself.
        if !sure || self.book().auto_locked(&alert.rule, around).is_some() {
            return Ok(false);
        }
        let approval = proposal.approval(proposal.reason, "", self.shared.settings.expiry_days, now);
        self.note(fingerprint, INQUEST, Source::Inquest, Event::Approved(approval)).await?;
        Ok(true)
    }

    /// Notes what somebody decided on these alerts in one step, and tells Alertmanager if it should know. An approval or a rejection
    /// that stands already is not noted again: pressed twice means once.
    pub async fn decide(&self, step: &Step<'_>, events: Vec<(String, Event)>) -> anyhow::Result<DecidedOn> {
        let _order = self.shared.accepting.lock().await;
        let now = self.shared.clock.now();
        let (alerts, changes) = {
            let book = self.book();
            let mut known = events;
            known.retain(|(fingerprint, _)| book.group(fingerprint).is_some());
            let alerts = known.len();
            known.retain(|(fingerprint, event)| {
                !book.standing(fingerprint).is_some_and(|standing| stands(standing, event, now))
            });
            (alerts, known)
        };
        // The first of them and the time name the step.
        let batch = (changes.len() > 1).then(|| format!("{}-{}", changes[0].0, now.0));
        let changed = changes.len();
        if changed > 0 {
            self.note_all(step, batch.as_deref(), changes).await?;
        }
        Ok(DecidedOn { alerts, changed })
    }

    /// Takes the last decision on an alert back, and with it those that were taken in the same step and still stand. How many; or
    /// nothing when what stands is not what began at `since`, for whoever saw that: another step than they meant would be taken back.
    pub async fn undo(
        &self,
        fingerprint: &str,
        step: &Step<'_>,
        since: Option<UnixNanos>,
    ) -> anyhow::Result<Option<usize>> {
        let _order = self.shared.accepting.lock().await;
        let together = {
            let book = self.book();
            let standing = book.standing(fingerprint);
            if since.is_some() && standing.and_then(|standing| standing.since) != since {
                return Ok(None);
            }
            let standing = standing.filter(|standing| standing.can_undo());
            match standing.map(|standing| standing.batch.as_deref()) {
                None => Vec::new(),
                Some(None) => vec![fingerprint.to_owned()],
                Some(Some(batch)) => book.of_batch(batch),
            }
        };
        let count = together.len();
        self.note_all(step, None, together.into_iter().map(|one| (one, Event::Undone)).collect()).await?;
        Ok(Some(count))
    }

    async fn note(&self, fingerprint: &str, actor: &str, source: Source, event: Event) -> anyhow::Result<()> {
        self.note_all(&Step { actor, source, note: "" }, None, vec![(fingerprint.to_owned(), event)]).await
    }

    async fn note_all(
        &self,
        step: &Step<'_>,
        batch: Option<&str>,
        events: Vec<(String, Event)>,
    ) -> anyhow::Result<()> {
        let around = self.around().await?;
        let learns = |event: &Event| !matches!(event, Event::Snoozed { .. } | Event::Sampled);
        let learns = events.iter().any(|(_, event)| learns(event));
        for (fingerprint, event) in events {
            self.note_one(&fingerprint, step, batch, event, &around).await?;
        }
        if learns {
            self.book().learn();
        }
        *self.waiting_count() = None;
        self.shared.decided.notify_one();
        Ok(())
    }

    async fn note_one(
        &self,
        fingerprint: &str,
        step: &Step<'_>,
        batch: Option<&str>,
        event: Event,
        around: &Around,
    ) -> anyhow::Result<()> {
        let Shared { store, clock, .. } = &*self.shared;
        let Some(group) = self.book().group(fingerprint).cloned() else { return Ok(()) };
        let proposal = self.book_proposal(&group, around);
        let entry = Entry {
            actor: domain::text::plain(step.actor, 80),
            source: step.source,
            rule: group.alert.rule.clone(),
            service: group.alert.service.clone(),
            pattern: group.alert.pattern.clone(),
            confidence: proposal.proposed.then_some(proposal.confidence),
            features: Some(proposal.features),
            note: match event {
                Event::Approved(_) => String::new(),
                _ => domain::text::plain(step.note.trim(), MAX_NOTE),
            },
            batch: batch.map(str::to_owned),
            event,
        };
        let at = clock.now();
        let body = serde_json::to_value(&entry).context("a decision does not serialise")?;
        store
            .journal_append(at, STREAM, fingerprint, &body)
            .await
            .context("cannot note a decision in the journal")?;
        self.book().apply(fingerprint, at, entry);
        Ok(())
    }

    /// Sets the mode of a rule, or says why not.
    pub async fn set_mode(&self, rule: &str, mode: Mode, actor: &str) -> anyhow::Result<Result<(), String>> {
        let _order = self.shared.accepting.lock().await;
        let around = self.around().await?;
        if mode == Mode::Auto
            && let Some(why) = self.auto_locked(rule, &around)
        {
            return Ok(Err(why));
        }
        let body = serde_json::to_value(ModeSet { mode, actor: actor.to_owned() })?;
        let at = self.shared.clock.now();
        self.shared
            .store
            .journal_append(at, MODES, rule, &body)
            .await
            .context("cannot note a mode in the journal")?;
        self.book().set_mode(at, rule, mode, actor);
        self.shared.decided.notify_one();
        Ok(Ok(()))
    }

    /// Everything that waits for a decision or has one, the most worth deciding first.
    pub async fn queue(&self) -> anyhow::Result<Vec<Proposal>> {
        let around = self.around().await?;
        let book = self.book();
        let queue = self.proposals(&book, &around, |_| true);
        let waiting = queue.iter().filter(|one| one.looks_like_noise() && one.waits(around.now)).count();
        *self.waiting_count() = Some((around.now, waiting));
        Ok(queue)
    }

    /// The same of alerts of some services alone.
    pub async fn queue_of(&self, services: &BTreeSet<&str>) -> anyhow::Result<Vec<Proposal>> {
        let around = self.around().await?;
        let book = self.book();
        Ok(self.proposals(&book, &around, |alert| services.contains(alert.service.as_str())))
    }

    /// One line of the queue, and what stands around it.
    pub async fn proposal(&self, fingerprint: &str) -> anyhow::Result<Option<(Proposal, Details)>> {
        let around = self.around().await?;
        let book = self.book();
        let Some(group) = book.group(fingerprint).filter(|group| !group.alert.objective) else {
            return Ok(None);
        };
        let one = proposal::of(&book, group, &around, &self.shared.settings);
        let details = Details {
            similar: proposal::similar(&book, &one.alert, &around),
            same_pattern: proposal::same_pattern(&book, &one.alert),
            linked: around.linked(group),
        };
        Ok(Some((one, details)))
    }

    /// Lines of the queue, of those fingerprints that are known.
    pub async fn proposals_of(&self, fingerprints: &[String]) -> anyhow::Result<Vec<Proposal>> {
        let around = self.around().await?;
        let book = self.book();
        let groups = fingerprints.iter().filter_map(|fingerprint| book.group(fingerprint));
        Ok(groups.map(|group| proposal::of(&book, group, &around, &self.shared.settings)).collect())
    }

    fn proposals(&self, book: &Book, around: &Around, wanted: impl Fn(&Alert) -> bool) -> Vec<Proposal> {
        let mut proposals: Vec<Proposal> = book
            .groups()
            .filter(|group| !group.alert.objective && wanted(&group.alert))
            .map(|group| proposal::of(book, group, around, &self.shared.settings))
            .collect();
        proposals.sort_by(|a, b| b.worth().total_cmp(&a.worth()).then(a.fingerprint.cmp(&b.fingerprint)));
        proposals
    }

    /// How well suppression does.
    pub async fn measured(&self) -> anyhow::Result<Measures> {
        Ok(self.measures(&self.around().await?))
    }

    fn measures(&self, around: &Around) -> Measures {
        self.book().measures(around)
    }

    /// What keeps a rule, or all that are not set apart, from being automatic.
    fn auto_locked(&self, rule: &str, around: &Around) -> Option<String> {
        match rule {
            // Each of them has to earn it by itself besides.
            "*" => self.measures(around).auto_needs().map(|needs| format!("automatic needs {needs}")),
            rule => self.book().auto_locked(rule, around),
        }
    }

    fn book_proposal(&self, group: &Group, around: &Around) -> Proposal {
        proposal::of(&self.book(), group, around, &self.shared.settings)
    }

    /// The decisions, latest first.
    pub fn audit(&self, most: usize) -> Vec<Noted> {
        self.book().audit().rev().take(most).cloned().collect()
    }

    /// When modes were set, latest first.
    pub fn mode_changes(&self, most: usize) -> Vec<ModeChange> {
        self.book().mode_changes().rev().take(most).cloned().collect()
    }

    /// Every rule and how it is held, those that page most first.
    pub async fn rules(&self) -> anyhow::Result<Vec<RuleInForce>> {
        let around = self.around().await?;
        Ok(self.book().rules(&around))
    }

    /// What stands, as a file.
    pub fn export(&self) -> anyhow::Result<String> {
        policies::export(&self.book())
    }

    /// Brings what stands in line with a file, and says what came of it. Policies on alerts that were not seen yet wait for them.
    pub async fn import(&self, yaml: &str, actor: &str) -> anyhow::Result<Result<Imported, String>> {
        let file = match policies::parse(yaml) {
            Ok(file) => file,
            Err(error) => return Ok(Err(error)),
        };
        let (default, apart) = self.modes();
        let mut modes = 0;
        for (rule, mode) in &file.modes {
            let stands = match rule.as_str() {
                "*" => default == *mode,
                rule => apart.iter().any(|(other, set)| other == rule && set == mode),
            };
            if stands {
                continue;
            }
            if let Err(why) = self.set_mode(rule, *mode, actor).await? {
                return Ok(Err(format!("mode of {}: {why}", domain::text::plain(rule, 80))));
            }
            modes += 1;
        }
        let _order = self.shared.accepting.lock().await;
        let around = self.around().await?;
        let plan = policies::plan(&self.book(), &file, &around, &self.shared.settings.protected);
        self.note_all(&Step { actor, source: Source::File, note: "" }, None, plan.changes).await?;
        let mut outcome = Imported { modes, ..plan.outcome };
        for policy in plan.awaited {
            let (waits, has_room) = {
                let book = self.book();
                (book.awaits(&policy), book.has_room(&policy))
            };
            if waits {
                continue;
            }
            if !has_room {
                outcome.awaited -= 1;
                outcome.left_out += 1;
                continue;
            }
            self.note_awaited(AwaitedSet { policy, actor: actor.to_owned(), came: false }).await?;
        }
        Ok(Ok(outcome))
    }

    /// What was held back around an incident, the most frequent first: at most `limit`, and how many there are in all.
    pub async fn held_back(
        &self,
        incident: &Incident,
        report: Option<&Report>,
        limit: u32,
    ) -> anyhow::Result<(Vec<HeldBack>, u64)> {
        let services: Vec<String> = around::services_of(incident, report).into_iter().collect();
        let end = incident.resolved.unwrap_or_else(|| self.shared.clock.now());
        let window = Window::new(incident.started.minus(BEFORE_INCIDENT), end.plus(Duration::from_nanos(1)));
        let store = &self.shared.store;
        let rows = store
            .alerts_of_incident(incident.id.0, &services, window, limit)
            .await
            .context("cannot ask what was held back")?;
        let all = rows.first().map_or(0, |row| row.of);
        let book = self.book();
        let held_back = |row: storage::alerts::HeldBack| {
            let (by, back) = book.decided_around(&row.fingerprint, UnixNanos(row.last));
            HeldBack { row, by, back }
        };
        Ok((rows.into_iter().map(held_back).collect(), all))
    }

    /// Modes of rules that were set apart, and that of all others.
    pub fn modes(&self) -> (Mode, Vec<(String, Mode)>) {
        self.book().modes()
    }

    /// Alerts that look like noise and wait for a decision: as many as the queue shows. A count that is older than 30 s is given once
    /// more while it is made anew, so that no page waits for it; after a decision it is made at once.
    pub async fn waiting(&self) -> anyhow::Result<usize> {
        let now = self.shared.clock.now();
        let counted = *self.waiting_count();
        let Some((at, waiting)) = counted else {
            let queue = self.queue().await?;
            return Ok(queue.iter().filter(|one| one.looks_like_noise() && one.waits(now)).count());
        };
        if at.plus(COUNT_STANDS) <= now {
            // Counts as made now: pages that come meanwhile start no second count.
            *self.waiting_count() = Some((now, waiting));
            let noise = self.clone();
            tokio::spawn(async move {
                if let Err(error) = noise.queue().await {
                    tracing::warn!(error = format!("{error:#}"), "cannot count what waits for review");
                }
            });
        }
        Ok(waiting)
    }

    fn waiting_count(&self) -> MutexGuard<'_, Option<(UnixNanos, usize)>> {
        self.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hears every alert that reaches people.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Heard>> {
        self.shared.heard.subscribe()
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// The alert of a fingerprint.
    pub fn alert(&self, fingerprint: &str) -> Option<Alert> {
        self.book().group(fingerprint).map(|group| group.alert.clone())
    }

    async fn around(&self) -> anyhow::Result<Around> {
        let Shared { store, clock, incidents, outlooks, .. } = &*self.shared;
        let outlook = outlooks.borrow().clone();
        Around::ask(store, incidents, &outlook, clock.now()).await
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // The book is replaced entry by entry: a panic elsewhere leaves it whole.
        self.shared.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether what an event decides stands already, and nothing asks for it anew.
fn stands(standing: &Standing, event: &Event, now: UnixNanos) -> bool {
    match (&standing.state, event) {
        (policy::State::Active(approval), Event::Approved(_)) => approval.expires > now && !standing.sampled,
        (policy::State::Rejected, Event::Rejected) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
