//! News of incidents, sent to where people are: once per change, updated rather than repeated, and never lost silently.
//!
//! Each channel has a worker of its own, so that a slow one holds up no other. What was sent last is noted in the journal,
//! so that a restart repeats nothing; what could not be sent becomes a letter that settings show. Deliberately absent: any
//! channel that the settings do not name.

pub mod address;
pub mod news;
pub mod request;
mod worker;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use domain::{Clock, IncidentId, UnixNanos};
use serde::{Deserialize, Serialize};
use storage::Store;
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;

use crate::config::Channel;
use crate::incidents::Incidents;
use crate::noise::Heard;
pub use news::{Kind, News};
pub use request::{Outgoing, Previous};

/// The journal's streams.
const SENT: &str = "notify-sent";
const LETTERS: &str = "notify-letters";

/// News that wait for one channel.
const MAX_WAITING: usize = 256;
/// Letters kept at hand, latest last.
const MAX_LETTERS: usize = 200;
/// Tries of one message.
pub const TRIES: u32 = 5;
/// The first wait between tries; each next one is four times as long.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// Longest wait that a receiver may ask for.
const MAX_WAIT: Duration = Duration::from_secs(120);

/// Something that could not be sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Letter {
    /// Which one; the same for everything about one subject to one channel, of which the latest is kept.
    pub id: String,
    /// The channel it was for.
    pub channel: String,
    /// When the last try failed.
    pub at: UnixNanos,
    /// Why.
    pub error: String,
    /// What it was.
    pub news: News,
    /// Whether it is settled: sent after all.
    pub settled: bool,
}

/// What was sent last of one subject to one channel.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Sent {
    digest: String,
    #[serde(default)]
    wording: String,
    /// Whether it was that something goes on, so that its end is still to be told.
    #[serde(default)]
    goes_on: bool,
    previous: Previous,
}

/// What a worker is told.
enum Job {
    /// Something happened to an incident.
    Incident(IncidentId),
    /// Send this.
    News(Box<News>),
    /// Try a letter again.
    Letter(String),
}

/// Sends news. Cheap to clone.
#[derive(Clone)]
pub struct Notifier {
    shared: Arc<Shared>,
}

struct Shared {
    channels: Vec<Channel>,
    queues: Vec<mpsc::Sender<Job>>,
    /// Taken when the workers start.
    jobs: Mutex<Vec<mpsc::Receiver<Job>>>,
    http: reqwest::Client,
    guarded: reqwest::Client,
    store: Store,
    incidents: Incidents,
    clock: Arc<dyn Clock>,
    pages_url: String,
    first_wait: Duration,
    sent: Mutex<BTreeMap<String, Sent>>,
    letters: Mutex<VecDeque<Letter>>,
}

impl Notifier {
    /// Recalls what was sent. `pages_url` is where links lead.
    pub async fn new(
        channels: &[Channel],
        store: Store,
        incidents: Incidents,
        clock: Arc<dyn Clock>,
        pages_url: &str,
    ) -> anyhow::Result<Self> {
        Self::with_first_wait(channels, store, incidents, clock, pages_url, FIRST_WAIT).await
    }

    /// The same with another wait between tries.
    pub async fn with_first_wait(
        channels: &[Channel],
        store: Store,
        incidents: Incidents,
        clock: Arc<dyn Clock>,
        pages_url: &str,
        first_wait: Duration,
    ) -> anyhow::Result<Self> {
        for (index, channel) in channels.iter().enumerate() {
            let twice = channels[..index].iter().any(|other| other.name == channel.name);
            anyhow::ensure!(!twice, "two channels of `notify` are named {}", channel.name);
        }
        let mut sent = BTreeMap::new();
        for entry in store.journal_read(SENT).await.context("cannot read what was sent")? {
            if let Ok(body) = serde_json::from_value(entry.body) {
                sent.insert(entry.key, body);
            }
        }
        let mut letters: BTreeMap<String, Letter> = BTreeMap::new();
        for entry in store.journal_read(LETTERS).await.context("cannot read what could not be sent")? {
            if let Ok(letter) = serde_json::from_value(entry.body) {
                letters.insert(entry.key, letter);
            }
        }
        let mut letters: Vec<Letter> = letters.into_values().filter(|letter| !letter.settled).collect();
        letters.sort_by_key(|letter| letter.at);
        let from = letters.len().saturating_sub(MAX_LETTERS);
        let (queues, jobs) = channels.iter().map(|_| mpsc::channel(MAX_WAITING)).unzip();
        let shared = Shared {
            channels: channels.to_vec(),
            queues,
            jobs: Mutex::new(jobs),
            http: address::client(true)?,
            guarded: address::client(false)?,
            store,
            incidents,
            clock,
            pages_url: pages_url.to_owned(),
            first_wait,
            sent: Mutex::new(sent),
            letters: Mutex::new(letters.split_off(from).into()),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Hears of incidents and alerts until `stop`, and sends what channels ask for. What is on its way then, or waits, becomes
    /// a letter; so do alerts that were heard and not told of yet, for they do not come again. Incidents that are open are told of at
    /// the next start.
    pub async fn run(self, stop: CancellationToken, mut heard: broadcast::Receiver<Arc<Heard>>) {
        let jobs = std::mem::take(&mut *self.shared.jobs.lock().unwrap_or_else(PoisonError::into_inner));
        let changed = self.shared.incidents.subscribe();
        // Workers end when all that was heard is with them.
        let told = CancellationToken::new();
        let workers = jobs.into_iter().enumerate().map(|(index, jobs)| self.work(index, jobs, &told));
        let listen = async {
            stop.run_until_cancelled(self.listen(changed, &mut heard)).await;
            stop.cancelled().await;
            self.tell_of_rest(&mut heard).await;
            told.cancel();
        };
        tokio::join!(listen, futures::future::join_all(workers));
    }

    async fn listen(
        &self,
        mut changed: broadcast::Receiver<IncidentId>,
        heard: &mut broadcast::Receiver<Arc<Heard>>,
    ) {
        // What happened while the program did not run, or was not told before it ended. What did not change is not sent.
        self.tell_of_open().await;
        loop {
            tokio::select! {
                id = changed.recv() => match id {
                    Ok(id) => self.tell_all(|_| Some(Job::Incident(id))).await,
                    // Some were missed.
                    Err(broadcast::error::RecvError::Lagged(_)) => self.tell_of_open().await,
                    Err(broadcast::error::RecvError::Closed) => return,
                },
                alert = heard.recv() => match alert {
                    Ok(heard) => self.tell_of_alert(&heard).await,
                    Err(broadcast::error::RecvError::Lagged(missed)) => self.tell_of_missed(missed).await,
                    Err(broadcast::error::RecvError::Closed) => return,
                },
            }
        }
    }

    /// Tells of the alerts that were heard and not told of; as many as are there now.
    async fn tell_of_rest(&self, heard: &mut broadcast::Receiver<Arc<Heard>>) {
        for _ in 0..heard.len() {
            match heard.try_recv() {
                Ok(heard) => self.tell_of_alert(&heard).await,
                Err(broadcast::error::TryRecvError::Lagged(missed)) => self.tell_of_missed(missed).await,
                Err(_) => return,
            }
        }
    }

    async fn tell_of_alert(&self, heard: &Heard) {
        self.tell_all(|channel| {
            let alert = &heard.alert;
            let wanted = channel.alerts && !alert.objective && takes(channel, alert.severity, &alert.service);
            wanted.then(|| Job::News(Box::new(News::of_alert(heard, &self.shared.pages_url))))
        })
        .await;
    }

    async fn tell_of_missed(&self, missed: u64) {
        tracing::warn!(missed, "alerts came faster than they could be sent");
        let news = News::of_missed(missed, self.shared.clock.now(), &self.shared.pages_url);
        self.tell_all(|channel| channel.alerts.then(|| Job::News(Box::new(news.clone())))).await;
    }

    /// Tells of open incidents, and of those whose end was not told yet.
    async fn tell_of_open(&self) {
        let mut ids: BTreeSet<IncidentId> =
            self.shared.incidents.open().into_iter().map(|incident| incident.id).collect();
        {
            let sent = self.shared.sent.lock().unwrap_or_else(PoisonError::into_inner);
            let untold = sent.iter().filter(|(_, sent)| sent.goes_on);
            ids.extend(untold.filter_map(|(key, _)| IncidentId::parse(key.rsplit('/').next()?)));
        }
        for id in ids {
            self.tell_all(|_| Some(Job::Incident(id))).await;
        }
    }

    async fn tell_all(&self, job: impl Fn(&Channel) -> Option<Job>) {
        for (channel, queue) in self.shared.channels.iter().zip(&self.shared.queues) {
            if let Some(job) = job(channel)
                && let Err(full) = queue.try_send(job)
            {
                self.keep(channel, full.into_inner(), "too much waited to be sent").await;
            }
        }
    }

    /// Sends a test to a channel; `false` when there is none of that name.
    pub fn test(&self, name: &str) -> bool {
        let Some(index) = self.shared.channels.iter().position(|channel| channel.name == name) else {
            return false;
        };
        let news = News::test(self.shared.clock.now(), &self.shared.pages_url);
        self.shared.queues[index].try_send(Job::News(Box::new(news))).is_ok()
    }

    /// Tries a letter again; `false` when there is none of that name.
    pub fn retry(&self, id: &str) -> bool {
        let letter = self.letters().into_iter().find(|letter| letter.id == id);
        let index = letter.and_then(|letter| {
            self.shared.channels.iter().position(|channel| channel.name == letter.channel)
        });
        index.is_some_and(|index| self.shared.queues[index].try_send(Job::Letter(id.to_owned())).is_ok())
    }

    /// What could not be sent, latest first.
    pub fn letters(&self) -> Vec<Letter> {
        let letters = self.shared.letters.lock().unwrap_or_else(PoisonError::into_inner);
        letters.iter().rev().cloned().collect()
    }

    /// The channels.
    pub fn channels(&self) -> &[Channel] {
        &self.shared.channels
    }

    /// When something was last sent to each channel is not kept; how much was, is.
    pub fn sent_to(&self, name: &str) -> usize {
        let sent = self.shared.sent.lock().unwrap_or_else(PoisonError::into_inner);
        let prefix = format!("{name}/");
        sent.keys().filter(|key| key.starts_with(&prefix)).count()
    }
}

/// Whether a channel takes what is this severe, of this service.
fn takes(channel: &Channel, severity: domain::Severity, service: &str) -> bool {
    severity >= channel.severity && channel.services.as_ref().is_none_or(|glob| glob.is_match(service))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::config::{Secret, Target};

    #[tokio::test(flavor = "multi_thread")]
    async fn an_alert_that_was_heard_before_the_stop_is_not_lost() {
        let store = Store::scratch().await.unwrap();
        let clock = SystemClock::shared();
        let incidents = Incidents::load(store.clone(), clock.clone(), Default::default()).await.unwrap();
        let secret = || Secret::new("http://127.0.0.1:9/nobody");
        let channel = Channel {
            name: "hook".into(),
            severity: domain::Severity::Warning,
            services: None,
            alerts: true,
            target: Target::Webhook { url: secret(), secret: secret(), private: true },
        };
        let notifier =
            Notifier::new(&[channel], store.clone(), incidents, clock, "http://here").await.unwrap();
        let (hear, heard) = broadcast::channel(4);
        for service in ["cart", "mail"] {
            let alert = domain::Alert {
                source: domain::AlertSource::Alertmanager,
                rule: "Retries".into(),
                service: service.into(),
                severity: domain::Severity::Warning,
                host: String::new(),
                version: String::new(),
                pattern: "retrying".into(),
                text: "retrying".into(),
                numbers: Vec::new(),
                at: UnixNanos::from_seconds(1000),
                resolved: false,
                objective: false,
                foreign_id: String::new(),
                labels: BTreeMap::new(),
            };
            hear.send(Arc::new(Heard { alert, may_suppress: true })).unwrap();
        }
        let stop = CancellationToken::new();
        stop.cancel();
        notifier.clone().run(stop, heard).await;
        let mut kept: Vec<String> =
            notifier.letters().into_iter().map(|letter| letter.news.service).collect();
        kept.sort_unstable();
        assert_eq!(kept, ["cart", "mail"]);
        store.close().await.unwrap();
    }
}
