//! Incidents: appended to the journal first, then folded into what stands, then announced.
//!
//! Deliberately absent: deciding that something is an incident (`detect`) and looking into it (`investigate`).

mod book;
pub mod grouping;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use domain::{Clock, Finding, Incident, IncidentEvent, IncidentId, UnixNanos};
use storage::Store;
use tokio::sync::broadcast;

use crate::metrics::IncidentMetrics;
use crate::pages::input::CheckProgress;
pub use book::{Book, MAX_INCIDENTS};

/// The journal's stream of incidents.
const STREAM: &str = "incidents";

/// Announcements that a slow listener may lag behind before it is told only that it missed some.
const MAX_ANNOUNCEMENTS: usize = 256;

/// The incidents of one store. Cheap to clone.
#[derive(Clone)]
pub struct Incidents {
    shared: Arc<Shared>,
}

struct Shared {
    store: Store,
    clock: Arc<dyn Clock>,
    metrics: IncidentMetrics,
    book: Mutex<Book>,
    /// Checks of running investigations.
    progress: Mutex<BTreeMap<IncidentId, Vec<CheckProgress>>>,
    /// Held from reading the book until the journal and the book have the event, so that both have one order.
    appending: tokio::sync::Mutex<()>,
    announcements: broadcast::Sender<IncidentId>,
}

impl Incidents {
    /// Reads the journal.
    pub async fn load(store: Store, clock: Arc<dyn Clock>, metrics: IncidentMetrics) -> anyhow::Result<Self> {
        let mut book = Book::default();
        for entry in store.journal_read(STREAM).await.context("cannot read the journal of incidents")? {
            let event = serde_json::from_value::<IncidentEvent>(entry.body);
            match (IncidentId::parse(&entry.key), event) {
                (Some(id), Ok(event)) => book.apply(id, entry.at, event),
                (_, event) => {
                    let error = event.err().map(|error| error.to_string());
                    tracing::warn!(
                        sequence = entry.sequence,
                        key = entry.key,
                        error,
                        "cannot read a journal entry"
                    );
                }
            }
        }
        metrics.open.set(i64::try_from(book.open().count()).unwrap_or(i64::MAX));
        let shared = Shared {
            store,
            clock,
            metrics,
            book: Mutex::new(book),
            progress: Mutex::default(),
            appending: tokio::sync::Mutex::default(),
            announcements: broadcast::Sender::new(MAX_ANNOUNCEMENTS),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// All incidents, oldest first.
    pub fn all(&self) -> Vec<Incident> {
        self.book().all().cloned().collect()
    }

    /// Those that are not over, oldest first.
    pub fn open(&self) -> Vec<Incident> {
        self.book().open().cloned().collect()
    }

    /// How many are not over.
    pub fn open_count(&self) -> usize {
        self.book().open().count()
    }

    /// The incident of that name.
    pub fn get(&self, id: IncidentId) -> Option<Incident> {
        self.book().get(id).cloned()
    }

    /// Opens an incident.
    pub async fn open_new(&self, finding: Finding) -> anyhow::Result<IncidentId> {
        let _order = self.shared.appending.lock().await;
        let id = self.book().next_id();
        self.append_in_order(id, IncidentEvent::Opened { finding }).await?;
        self.shared.metrics.opened.inc();
        Ok(id)
    }

    /// Notes what happened to an incident.
    pub async fn append(&self, id: IncidentId, event: IncidentEvent) -> anyhow::Result<()> {
        let _order = self.shared.appending.lock().await;
        self.append_in_order(id, event).await
    }

    async fn append_in_order(&self, id: IncidentId, event: IncidentEvent) -> anyhow::Result<()> {
        let at = self.shared.clock.now();
        let body = serde_json::to_value(&event).context("an incident's event does not serialise")?;
        let journal = self.shared.store.journal_append(at, STREAM, &id.to_string(), &body).await;
        journal.with_context(|| format!("cannot note in the journal what happened to {id}"))?;
        let open = {
            let mut book = self.book();
            book.apply(id, at, event);
            book.open().count()
        };
        self.shared.metrics.open.set(i64::try_from(open).unwrap_or(i64::MAX));
        self.announce(id);
        Ok(())
    }

    /// Hears the name of each incident that something happened to.
    pub fn subscribe(&self) -> broadcast::Receiver<IncidentId> {
        self.shared.announcements.subscribe()
    }

    /// The checks of the investigation that runs now; empty when none does.
    pub fn progress(&self, id: IncidentId) -> Vec<CheckProgress> {
        self.progresses().get(&id).cloned().unwrap_or_default()
    }

    /// Changes the checks of a running investigation.
    pub fn update_progress(&self, id: IncidentId, update: impl FnOnce(&mut Vec<CheckProgress>)) {
        update(self.progresses().entry(id).or_default());
        self.announce(id);
    }

    /// Forgets the checks of an investigation that ended.
    pub fn clear_progress(&self, id: IncidentId) {
        self.progresses().remove(&id);
        self.announce(id);
    }

    /// The present instant.
    pub fn now(&self) -> UnixNanos {
        self.shared.clock.now()
    }

    /// Tells those who listen that an incident looks different now.
    pub fn announce(&self, id: IncidentId) {
        // Nobody listening is no error.
        let _ = self.shared.announcements.send(id);
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // The book is replaced entry by entry: a panic elsewhere leaves it whole.
        self.shared.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn progresses(&self) -> MutexGuard<'_, BTreeMap<IncidentId, Vec<CheckProgress>>> {
        self.shared.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
