//! The worker of one channel: one message at a time, tried again with growing waits.

use std::sync::PoisonError;
use std::time::Duration;

use domain::Report;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    Job, Kind, LETTERS, Letter, MAX_LETTERS, MAX_WAIT, News, Notifier, Outgoing, Previous, SENT, Sent, TRIES,
    address, request, takes,
};
use crate::config::{Channel, Target};
use crate::{answer, signature};

/// Of what was not sent when the program ended. It may have arrived: the answer was not waited for.
const STOPPED: &str = "the program stopped before it was known to be sent";

/// What Slack says of a message that is no longer there.
const GONE: &str = "message_not_found";

/// Why a try failed, and whether another makes sense.
struct Failure {
    error: String,
    /// `None` when no other try makes sense; else the least wait that the receiver asks for.
    again: Option<Duration>,
}

impl Notifier {
    pub(super) async fn work(&self, index: usize, mut jobs: mpsc::Receiver<Job>, stop: &CancellationToken) {
        let channel = &self.shared.channels[index];
        loop {
            let job = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                job = jobs.recv() => job,
            };
            let Some(job) = job else { return };
            match job {
                Job::Incident(id) => {
                    if let Some(news) = self.news_of(channel, id).await {
                        self.tell(channel, news, stop).await;
                    }
                }
                Job::News(news) => self.tell(channel, *news, stop).await,
                Job::Letter(id) => {
                    let letter = self.letters().into_iter().find(|letter| letter.id == id);
                    if let Some(letter) = letter {
                        self.tell(channel, letter.news, stop).await;
                    }
                }
            }
        }
        while let Ok(job) = jobs.try_recv() {
            self.keep(channel, job, STOPPED).await;
        }
    }

    /// Leaves a letter of what is not going to be sent.
    pub(super) async fn keep(&self, channel: &Channel, job: Job, why: &str) {
        let news = match job {
            Job::Incident(id) => self.news_of(channel, id).await,
            Job::News(news) => Some(*news),
            // It is one already.
            Job::Letter(_) => None,
        };
        let told =
            |news: &News| self.sent(channel, &news.subject).is_some_and(|sent| sent.digest == news.digest());
        if let Some(news) = news.filter(|news| !told(news)) {
            self.leave_letter(channel, news, why.to_owned()).await;
        }
    }

    async fn news_of(&self, channel: &Channel, id: domain::IncidentId) -> Option<News> {
        let incident = self.shared.incidents.get(id)?;
        let known = self.sent(channel, &id.to_string()).is_some();
        // One that was told of is told to its end, though it may have become milder.
        let wanted = known || (incident.is_open() && takes(channel, incident.severity, &incident.service));
        if !wanted {
            return None;
        }
        let report = match self.shared.store.report_get(id.0, None).await {
            Ok(json) => json.and_then(|json| serde_json::from_str::<Report>(&json).ok()),
            Err(error) => {
                tracing::warn!(incident = %id, %error, "cannot read a report for its news");
                None
            }
        };
        Some(News::of_incident(&incident, report.as_ref(), &self.shared.pages_url))
    }

    /// Sends news, unless nothing changed since the last; a letter remains of what cannot be sent, or was not before `stop`.
    async fn tell(&self, channel: &Channel, news: News, stop: &CancellationToken) {
        let last = self.sent(channel, &news.subject).unwrap_or_default();
        let same = last.digest == news.digest();
        // Other words for the same change a message that can be changed; nobody is told anew.
        let in_place = !news.is_alert() && request::edits(&channel.target) && !last.previous.ts.is_empty();
        if same && !(in_place && last.wording != news.wording()) {
            return self.settle(channel, &news.subject).await;
        }
        // An alert that comes again is news: a message that is changed in its place, nobody hears.
        let again = !same && news.is_alert() && news.kind == Kind::Firing;
        let previous = if again { Previous::default() } else { last.previous };
        let sending = async {
            match self.send(&channel.target, &news, &previous).await {
                // Somebody deleted the message: what is news is told in a new one.
                Err(error) if error.ends_with(GONE) && !same => {
                    self.send(&channel.target, &news, &Previous::default()).await
                }
                sent => sent,
            }
        };
        let sent = tokio::select! {
            sent = sending => sent,
            () = stop.cancelled() => Err(STOPPED.to_owned()),
        };
        match sent {
            Ok(previous) => {
                let goes_on = news.is_incident() && news.kind == Kind::Firing;
                let sent = Sent { digest: news.digest(), wording: news.wording(), goes_on, previous };
                let key = format!("{}/{}", channel.name, news.subject);
                if let Ok(body) = serde_json::to_value(&sent)
                    && let Err(error) =
                        self.shared.store.journal_append(self.shared.clock.now(), SENT, &key, &body).await
                {
                    tracing::warn!(channel = channel.name, %error, "cannot note in the journal what was sent");
                }
                self.shared.sent.lock().unwrap_or_else(PoisonError::into_inner).insert(key, sent);
                // What could not be sent earlier is made up for.
                self.settle(channel, &news.subject).await;
            }
            // Nobody misses another wording.
            Err(error) if same => {
                tracing::debug!(channel = channel.name, error, "a message could not be reworded");
            }
            Err(error) => self.leave_letter(channel, news, error).await,
        }
    }

    async fn leave_letter(&self, channel: &Channel, news: News, error: String) {
        tracing::warn!(channel = channel.name, subject = news.subject, error, "news could not be sent");
        let at = self.shared.clock.now();
        let id = letter_id(channel, &news.subject);
        let letter = Letter { id, channel: channel.name.clone(), at, error, news, settled: false };
        self.note_letter(&letter).await;
        let mut letters = self.shared.letters.lock().unwrap_or_else(PoisonError::into_inner);
        letters.retain(|other| other.id != letter.id);
        if letters.len() == MAX_LETTERS {
            letters.pop_front();
        }
        letters.push_back(letter);
    }

    fn sent(&self, channel: &Channel, subject: &str) -> Option<Sent> {
        let sent = self.shared.sent.lock().unwrap_or_else(PoisonError::into_inner);
        sent.get(&format!("{}/{subject}", channel.name)).cloned()
    }

    /// Takes back the letter about a subject, if there is one.
    async fn settle(&self, channel: &Channel, subject: &str) {
        let id = letter_id(channel, subject);
        let letter = self.letters().into_iter().find(|letter| letter.id == id);
        let Some(letter) = letter else { return };
        self.note_letter(&Letter { settled: true, ..letter }).await;
        let mut letters = self.shared.letters.lock().unwrap_or_else(PoisonError::into_inner);
        letters.retain(|other| other.id != id);
    }

    async fn note_letter(&self, letter: &Letter) {
        let Ok(body) = serde_json::to_value(letter) else { return };
        if let Err(error) = self.shared.store.journal_append(letter.at, LETTERS, &letter.id, &body).await {
            tracing::warn!(%error, "cannot note in the journal what could not be sent");
        }
    }

    /// Sends all of it, in its order.
    async fn send(&self, target: &Target, news: &News, previous: &Previous) -> Result<Previous, String> {
        let mut posted = Previous::default();
        for step in 0..request::of(target, news, previous, self.shared.clock.now()).len() {
            posted = self.send_step(target, news, previous, step).await?;
        }
        Ok(posted)
    }

    /// Tries, and tries again.
    async fn send_step(
        &self,
        target: &Target,
        news: &News,
        previous: &Previous,
        step: usize,
    ) -> Result<Previous, String> {
        let mut wait = self.shared.first_wait;
        for attempt in 1.. {
            // Made anew: signatures carry the time.
            let outgoing = request::of(target, news, previous, self.shared.clock.now()).swap_remove(step);
            match self.attempt(target, news, outgoing).await {
                Ok(posted) => return Ok(posted),
                Err(Failure { error, again: None }) => return Err(error),
                Err(Failure { error, .. }) if attempt >= TRIES => {
                    return Err(format!("{error}, after {TRIES} tries"));
                }
                Err(Failure { again: Some(least), .. }) => {
                    tokio::time::sleep(wait.max(least).min(MAX_WAIT)).await;
                    wait *= 4;
                }
            }
        }
        Err("it was never tried".into())
    }

    async fn attempt(&self, target: &Target, news: &News, outgoing: Outgoing) -> Result<Previous, Failure> {
        let ended = |error: String| Failure { error, again: None };
        if !outgoing.private && !address::is_outside(&outgoing.url) {
            return Err(ended("the address is not https, or within a private network".into()));
        }
        let client = if outgoing.private { &self.shared.http } else { &self.shared.guarded };
        let request = client.request(outgoing.method, &outgoing.url);
        let mut request = request.header("content-type", "application/json").body(outgoing.body);
        for (name, value) in outgoing.headers {
            request = request.header(name, value);
        }
        // Addresses may be secrets: errors are told without them.
        let response = request.send().await.map_err(|error| {
            let timeout =
                if error.is_timeout() { "it did not answer in time" } else { "it cannot be reached" };
            Failure { error: timeout.into(), again: Some(Duration::ZERO) }
        })?;
        let status = response.status();
        let asked = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        if status.is_success() {
            return match target {
                Target::Slack { .. } => slack_answer(response).await,
                _ => Ok(request::posted(target, news)),
            };
        }
        let said = answer::excerpt(response).await;
        let error = format!("it answered {status}: {}", domain::text::plain(&said, 120));
        let again = status.as_u16() == 429 || status.is_server_error();
        Err(Failure { error, again: again.then(|| asked.map_or(Duration::ZERO, Duration::from_secs)) })
    }
}

fn letter_id(channel: &Channel, subject: &str) -> String {
    let tag = signature::hmac(b"letter", &[channel.name.as_bytes(), b"\0", subject.as_bytes()]);
    tag.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// Slack says "no" with a success.
async fn slack_answer(response: reqwest::Response) -> Result<Previous, Failure> {
    #[derive(Deserialize)]
    struct Answer {
        ok: bool,
        #[serde(default)]
        error: String,
        #[serde(flatten)]
        previous: Previous,
    }
    let said: Answer = answer::json(response, answer::MAX_BYTES)
        .await
        .map_err(|_| Failure { error: "its answer cannot be read".into(), again: Some(Duration::ZERO) })?;
    match said.ok {
        true => Ok(said.previous),
        false => {
            let again = matches!(
                said.error.as_str(),
                "ratelimited" | "internal_error" | "fatal_error" | "request_timeout"
            );
            let error = format!("it refused: {}", domain::text::plain(&said.error, 80));
            Err(Failure { error, again: again.then_some(Duration::ZERO) })
        }
    }
}
