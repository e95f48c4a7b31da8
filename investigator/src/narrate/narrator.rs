//! From a diagnosis to a report in a model's words, or in the template's, within time and budget.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::text::plain;
use domain::{Answer, Diagnosis, Evidence, EvidenceId, NarratedBy, Report, Sentence, Step, UnixNanos};
use tokio::time::Instant;

use super::budget::{Breaker, Cache, Kept, Ledger, Purpose, Total, month};
use super::check::{Place, Violation, check};
use super::draft::INCONCLUSIVE;
use super::{
    Caps, Completion, Draft, Failure, Model, Pack, Prices, Prompt, Segment, Spent, Usage, prompt, template,
};
use crate::Knowledge;
use crate::lookup::{Lookup, MAX_LOOKUPS};

/// Times a call is made again when the trouble may pass.
const MAX_RETRIES: u32 = 2;
/// Wait before the first of them; it doubles.
const BACKOFF: Duration = Duration::from_millis(500);
/// Bytes of an answer; a longer one is not read.
const LONGEST_ANSWER: usize = 32 * 1024;

/// How a model is used.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// For everything from the first call to the repaired answer.
    pub timeout: Duration,
    /// Longest answer, in tokens.
    pub max_output_tokens: u32,
    /// The most that may be used.
    pub caps: Caps,
    /// What it costs.
    pub prices: Prices,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(60),
            max_output_tokens: 1200,
            caps: Caps::default(),
            prices: Prices::default(),
        }
    }
}

/// Tells diagnoses. Without a model, from templates.
pub struct Narrator {
    model: Option<Arc<dyn Model>>,
    settings: Settings,
    knowledge: Arc<Knowledge>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    ledger: Ledger,
    breaker: Breaker,
    cache: Cache,
}

/// A report, and what telling it used.
#[derive(Clone, Debug, PartialEq)]
pub struct Narration {
    /// The report.
    pub report: Report,
    /// Entries for the ledger.
    pub spent: Vec<Spent>,
    /// Whether the model was asked to repair its answer.
    pub repaired: bool,
}

/// An answer to a question about a report, and what it used.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// The question, cut to a bounded length.
    pub question: String,
    /// The answer; empty when the evidence does not speak of it.
    pub sentences: Vec<Sentence>,
    /// What was looked up for it, numbered on from the report's evidence.
    pub looked: Vec<Evidence>,
    /// Who phrased it.
    pub narrated: NarratedBy,
    /// Entries for the ledger.
    pub spent: Vec<Spent>,
}

impl Asked {
    /// Citations that point at evidence which exists, of the report or looked up for it, and all citations.
    pub fn citations(&self, report: &Report) -> (usize, usize) {
        let cited = || self.sentences.iter().flat_map(|sentence| &sentence.cites);
        let exists = |id: &EvidenceId| {
            report.diagnosis.evidence(*id).is_some() || self.looked.iter().any(|one| one.id == *id)
        };
        (cited().filter(|id| exists(id)).count(), cited().count())
    }
}

impl Narrator {
    /// A narrator that knows only templates.
    pub fn template() -> Self {
        Self {
            model: None,
            settings: Settings::default(),
            knowledge: Arc::new(Knowledge::built_in().clone()),
            state: Mutex::default(),
        }
    }

    /// A narrator that asks a model.
    pub fn new(model: Arc<dyn Model>, settings: Settings) -> Self {
        Self { model: Some(model), settings, ..Self::template() }
    }

    /// With other knowledge than the project's own.
    pub fn knowing(self, knowledge: Arc<Knowledge>) -> Self {
        Self { knowledge, ..self }
    }

    /// Whether there is a model to ask.
    pub const fn has_model(&self) -> bool {
        self.model.is_some()
    }

    /// Takes an entry of the ledger into account, written when the program last ran.
    pub fn remember(&self, spent: &Spent) {
        self.state().ledger.note(spent);
    }

    /// The most that may be used.
    pub const fn caps(&self) -> Caps {
        self.settings.caps
    }

    /// What was used in the month of `now`.
    pub fn used(&self, now: UnixNanos) -> Total {
        self.state().ledger.used(&month(now))
    }

    /// Tells a diagnosis: with the model's sentences that passed every check, or else from templates. `incident` is whose
    /// budget it is on; empty for none.
    pub async fn narrate(
        &self,
        diagnosis: Diagnosis,
        incident: &str,
        now: UnixNanos,
    ) -> Result<Narration, minijinja::Error> {
        let report = template::narrate_with(diagnosis, &self.knowledge)?;
        let Some(model) = &self.model else {
            return Ok(Narration { report, spent: Vec::new(), repaired: false });
        };
        let pack = Pack::new(&report);
        let mut call = self.call(&**model, pack, Purpose::Report, incident, now);
        let outcome = match tokio::time::timeout(self.settings.timeout, call.answer()).await {
            Ok(outcome) => outcome,
            Err(_) => {
                call.note_timeout();
                Err("did not answer in time".to_owned())
            }
        };
        let (pack, spent) = call.into_parts();
        let name = plain(model.name(), 80);
        let (report, repaired) = match outcome {
            Ok(kept) => {
                let repaired = kept.repaired;
                (told(report, &pack, kept, name), repaired)
            }
            Err(reason) => {
                let narrated = NarratedBy::TemplateInstead { model: name, reason };
                (Report { narrated, ..report }, false)
            }
        };
        Ok(Narration { report, spent, repaired })
    }

    /// Answers a question about a report, from its evidence: in the model's sentences that passed every check, or else with
    /// sentences of the report that speak of it.
    /// `looked` is what was looked up for it.
    pub async fn ask(
        &self,
        report: &Report,
        looked: Vec<Evidence>,
        question: &str,
        incident: &str,
        now: UnixNanos,
    ) -> Asked {
        let question = plain(question, crate::ask::MAX_QUESTION);
        let template = crate::ask::answer(report, &looked, &question);
        let mut report = report.clone();
        // First, so that a bound on what is shown leaves it in.
        report.diagnosis.evidence.splice(0..0, looked.iter().cloned());
        let report = &report;
        let Some(model) = &self.model else {
            return Asked {
                question,
                looked,
                sentences: template,
                narrated: NarratedBy::Template,
                spent: Vec::new(),
            };
        };
        let mut call = self.call(&**model, Pack::new(report), Purpose::Question, incident, now);
        let outcome = match tokio::time::timeout(self.settings.timeout, call.reply(&question)).await {
            Ok(outcome) => outcome,
            Err(_) => {
                call.note_timeout();
                Err("did not answer in time".to_owned())
            }
        };
        let (pack, spent) = call.into_parts();
        let model = plain(model.name(), 80);
        let (sentences, narrated) = match outcome {
            Ok((segments, dropped)) => {
                let sentence = |segment: &Segment| {
                    Sentence::new(with_texts(&segment.text, &pack), evidence_ids(&segment.cites))
                };
                let prompt = prompt::VERSION.to_owned();
                let narrated = NarratedBy::Model { model, prompt, dropped, masked: pack.masked };
                (segments.iter().map(sentence).collect(), narrated)
            }
            Err(reason) => (template, NarratedBy::TemplateInstead { model, reason }),
        };
        Asked { question, sentences, looked, narrated, spent }
    }

    /// Which of these lookups a question asks for, by a model; none when there is no model, or none that answers in time. It can
    /// name nothing else: the schema is made of these.
    pub async fn choose(
        &self,
        report: &Report,
        options: &[Lookup],
        question: &str,
        incident: &str,
        now: UnixNanos,
    ) -> (Vec<Lookup>, Vec<Spent>) {
        let Some(model) = &self.model else { return Default::default() };
        if options.is_empty() {
            return Default::default();
        }
        let mut call = self.call(&**model, Pack::new(report), Purpose::Lookup, incident, now);
        let chosen =
            match tokio::time::timeout(self.settings.timeout / 3, call.choose(options, question)).await {
                Ok(Ok(chosen)) => chosen,
                Ok(Err(_)) => Vec::new(),
                Err(_) => {
                    call.note_timeout();
                    Vec::new()
                }
            };
        (chosen, call.spent)
    }

    fn call<'a>(
        &'a self,
        model: &'a dyn Model,
        pack: Pack,
        purpose: Purpose,
        incident: &'a str,
        now: UnixNanos,
    ) -> Call<'a> {
        let month = month(now);
        Call { narrator: self, model, pack, purpose, incident, month, spent: Vec::new(), pending: None }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One narration under way.
struct Call<'a> {
    narrator: &'a Narrator,
    model: &'a dyn Model,
    pack: Pack,
    purpose: Purpose,
    incident: &'a str,
    month: String,
    spent: Vec<Spent>,
    /// The request under way.
    pending: Option<Pending<'a>>,
}

/// A request under way: the most that it can use is set aside until this is dropped, however that comes about.
struct Pending<'a> {
    narrator: &'a Narrator,
    reservation: u64,
    most: Usage,
    began: Instant,
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.narrator.state().ledger.release(self.reservation);
    }
}

impl Call<'_> {
    fn into_parts(self) -> (Pack, Vec<Spent>) {
        (self.pack, self.spent)
    }

    /// An answer with at least one sentence on what is going on and one on the cause. The error completes "MODEL ...".
    async fn answer(&mut self) -> Result<Kept, String> {
        let settings = self.narrator.settings;
        let first = prompt::first(&self.pack, settings.max_output_tokens).map_err(broken)?;
        let key = self.key(&first);
        if let Some(kept) = self.narrator.state().cache.get(&key) {
            return Ok(kept.clone());
        }
        let completion = self.ask(&first).await?;
        let (mut draft, mut violations) = self.read(&completion);
        let mut repaired = false;
        if draft.is_none() || !violations.is_empty() {
            let again = prompt::repair(&first, &completion.text, &violations).map_err(broken)?;
            // When the repair fails, what passed of the first answer still stands.
            if let Ok(completion) = self.ask(&again).await {
                let (better, left) = self.read(&completion);
                if better.is_some() {
                    (draft, violations, repaired) = (better, left, true);
                }
            }
        }
        let draft = draft.ok_or("gave an answer that is not of the form asked for")?;
        let (draft, dropped) = without(draft, &violations, &self.pack);
        if draft.going_on.is_empty() || (draft.cause.is_empty() && draft.verdict == self.pack.verdict) {
            return Err("wrote nothing that passed the checks".to_owned());
        }
        let kept = Kept { draft, dropped, repaired };
        self.narrator.state().cache.put(key, kept.clone());
        Ok(kept)
    }

    /// The sentences of an answer to a question that pass, after one repair, and how many did not.
    async fn reply(&mut self, question: &str) -> Result<(Vec<Segment>, u32), String> {
        let first =
            prompt::ask(&self.pack, question, self.narrator.settings.max_output_tokens).map_err(broken)?;
        let completion = self.ask(&first).await?;
        let (mut draft, mut violations) = self.read(&completion);
        if draft.is_none() || !violations.is_empty() {
            let again = prompt::repair(&first, &completion.text, &violations).map_err(broken)?;
            if let Ok(completion) = self.ask(&again).await
                && let (Some(better), left) = self.read(&completion)
            {
                (draft, violations) = (Some(better), left);
            }
        }
        let draft = draft.ok_or("gave an answer that is not of the form asked for")?;
        let count = draft.going_on.len();
        let (draft, _) = without(draft, &violations, &self.pack);
        if draft.going_on.is_empty() {
            return Err("wrote nothing that passed the checks".to_owned());
        }
        let dropped = count - draft.going_on.len();
        Ok((draft.going_on, dropped as u32))
    }

    /// The lookups that the model names.
    async fn choose(&mut self, options: &[Lookup], question: &str) -> Result<Vec<Lookup>, String> {
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Chosen {
            lookups: Vec<String>,
        }
        let prompt = prompt::choose(options, question).map_err(broken)?;
        let completion = self.ask(&prompt).await?;
        let chosen: Chosen = serde_json::from_str(super::draft::unfenced(&completion.text))
            .map_err(|_| "gave an answer that is not of the form asked for".to_owned())?;
        let named = |id: &String| {
            let place: usize = id.strip_prefix('L')?.parse().ok()?;
            options.get(place.checked_sub(1)?).cloned()
        };
        let mut found: Vec<Lookup> = Vec::new();
        for lookup in chosen.lookups.iter().filter_map(named) {
            if !found.contains(&lookup) && found.len() < MAX_LOOKUPS {
                found.push(lookup);
            }
        }
        Ok(found)
    }

    /// Everything that the answer depends on.
    fn key(&self, first: &Prompt) -> String {
        let mut hasher = blake3::Hasher::new();
        for part in [self.model.name(), prompt::VERSION, &first.system, &first.schema.to_string()] {
            hasher.update(part.as_bytes());
            hasher.update(&[0]);
        }
        for turn in &first.turns {
            hasher.update(turn.text.as_bytes());
        }
        hasher.update(&first.max_output_tokens.to_le_bytes());
        hasher.finalize().to_hex().to_string()
    }

    fn read(&self, completion: &Completion) -> (Option<Draft>, Vec<Violation>) {
        let draft =
            (completion.text.len() <= LONGEST_ANSWER).then(|| Draft::parse(&completion.text).ok()).flatten();
        let violations = match &draft {
            Some(draft) => check(draft, &self.pack),
            None => vec![Violation {
                place: Place::Verdict,
                rule: super::check::Rule::Length,
                advice: "the answer is not one JSON object of the schema".to_owned(),
            }],
        };
        (draft, violations)
    }

    /// Asks within budget and again when the trouble may pass.
    async fn ask(&mut self, prompt: &Prompt) -> Result<Completion, String> {
        let mut wait = BACKOFF;
        let mut tries = 0;
        loop {
            let failure = match self.ask_once(prompt).await? {
                Ok(completion) => return Ok(completion),
                Err(failure) => failure,
            };
            if !failure.is_passing() || tries == MAX_RETRIES {
                return Err(failure.to_string());
            }
            tries += 1;
            tokio::time::sleep(wait).await;
            wait *= 2;
        }
    }

    async fn ask_once(&mut self, prompt: &Prompt) -> Result<Result<Completion, Failure>, String> {
        let most = Usage { input: prompt.tokens(), output: u64::from(prompt.max_output_tokens) };
        let Settings { caps, prices, .. } = self.narrator.settings;
        let began = Instant::now();
        let reservation = {
            let mut state = self.narrator.state();
            let total = Total { tokens: most.input + most.output, cost: prices.cost(most) };
            let reservation = state.ledger.reserve(self.incident, &self.month, total, &caps)?;
            if !state.breaker.is_closed(began) {
                state.ledger.release(reservation);
                return Err("failed repeatedly and is left alone for a minute".to_owned());
            }
            reservation
        };
        self.pending = Some(Pending { narrator: self.narrator, reservation, most, began });
        let outcome = self.model.complete(prompt).await;
        self.narrator.state().breaker.note(outcome.is_ok(), Instant::now());
        // What was set aside is given back only when what was used is noted.
        let pending = self.pending.take();
        match &outcome {
            Ok(completion) => self.note(completion.usage, most, began, "answered"),
            // A call that was turned away costs nothing.
            Err(Failure::Busy(_) | Failure::Refused(_) | Failure::NotRecorded) => {}
            Err(failure) => self.note(None, most, began, &failure.to_string()),
        }
        drop(pending);
        Ok(outcome)
    }

    fn note(&mut self, usage: Option<Usage>, most: Usage, began: Instant, outcome: &str) {
        let used = usage.unwrap_or(most);
        let spent = Spent {
            incident: self.incident.to_owned(),
            purpose: self.purpose,
            month: self.month.clone(),
            model: plain(self.model.name(), 80),
            input: used.input,
            output: used.output,
            guessed: usage.is_none(),
            cost: self.narrator.settings.prices.cost(used),
            ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            outcome: outcome.to_owned(),
        };
        self.narrator.state().ledger.note(&spent);
        self.spent.push(spent);
    }

    fn note_timeout(&mut self) {
        if let Some(pending) = self.pending.take() {
            self.narrator.state().breaker.note(false, Instant::now());
            self.note(None, pending.most, pending.began, "did not answer in time");
        }
    }
}

fn broken(error: minijinja::Error) -> String {
    tracing::error!(error = %error, "a prompt of ours is broken");
    "could not be asked".to_owned()
}

/// The draft without the parts that break a rule, and how many those were. A verdict that is not the engine's takes what was
/// said of the cause with it.
fn without(draft: Draft, violations: &[Violation], pack: &Pack) -> (Draft, u32) {
    let bad: BTreeSet<Place> = violations.iter().map(|violation| violation.place).collect();
    let count = draft.going_on.len() + draft.cause.len() + draft.next_steps.len();
    let other_verdict = bad.contains(&Place::Verdict);
    let is_good = |place: Place| !bad.contains(&place);
    let kept = Draft {
        going_on: keep(draft.going_on, |place| is_good(Place::GoingOn(place))),
        cause: keep(draft.cause, |place| !other_verdict && is_good(Place::Cause(place))),
        next_steps: keep(draft.next_steps, |place| is_good(Place::Step(place))),
        verdict: if other_verdict { pack.verdict.clone() } else { draft.verdict },
    };
    let left = kept.going_on.len() + kept.cause.len() + kept.next_steps.len();
    (kept, (count - left) as u32)
}

fn keep<T>(items: Vec<T>, is_good: impl Fn(usize) -> bool) -> Vec<T> {
    items.into_iter().enumerate().filter(|(place, _)| is_good(*place)).map(|(_, item)| item).collect()
}

/// The report in the words of a draft that passed. What the draft does not tell, the template does: steps it left out, and the
/// cause when it will not follow the engine to one.
fn told(report: Report, pack: &Pack, kept: Kept, model: String) -> Report {
    let Kept { draft, dropped, .. } = kept;
    let sentence = |text: &str, cites: &[String]| Sentence::new(with_texts(text, pack), evidence_ids(cites));
    let doubts = draft.verdict == INCONCLUSIVE && pack.verdict != INCONCLUSIVE;
    let cause: Vec<Sentence> = if doubts || draft.cause.is_empty() {
        report.answer.cause.clone()
    } else {
        draft.cause.iter().map(|segment| sentence(&segment.text, &segment.cites)).collect()
    };
    let steps = report.answer.next_steps.iter().enumerate().map(|(place, known)| {
        let id = format!("S{}", place + 1);
        match draft.next_steps.iter().find(|step| step.step == id) {
            Some(step) => Step {
                kind: known.kind,
                text: sentence(&step.text, &step.cites),
                command: known.command.clone(),
            },
            None => known.clone(),
        }
    });
    let answer = Answer {
        going_on: draft.going_on.iter().map(|segment| sentence(&segment.text, &segment.cites)).collect(),
        cause,
        next_steps: steps.collect(),
    };
    let (citations, citations_checked) = template::count_citations(&answer, &report.diagnosis);
    let narrated =
        NarratedBy::Model { model, prompt: prompt::VERSION.to_owned(), dropped, masked: pack.masked };
    Report { answer, narrated, citations, citations_checked, ..report }
}

/// The sentence with outside texts in place of their marks, in quotation marks.
fn with_texts(text: &str, pack: &Pack) -> String {
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        filled.push_str(before);
        match after.split_once('}').and_then(|(mark, after)| Some((pack.untrusted_texts.get(mark)?, after))) {
            Some((outside, after)) => {
                filled.push('“');
                filled.push_str(&outside.replace(['“', '”'], "\""));
                filled.push('”');
                rest = after;
            }
            None => {
                filled.push('{');
                rest = after;
            }
        }
    }
    filled + rest
}

fn evidence_ids(cites: &[String]) -> Vec<EvidenceId> {
    let mut ids: Vec<EvidenceId> =
        cites.iter().filter_map(|cite| cite.strip_prefix('E')?.parse().ok().map(EvidenceId)).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}
