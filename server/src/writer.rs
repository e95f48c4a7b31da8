//! From accepted requests to stored rows: submissions are coalesced, stored, and only then acknowledged.
//!
//! Engines like few large inserts, senders send many small requests. The writer waits for the first submission, gathers
//! what arrives within [`LINGER`] or until [`MAX_ROWS`], and stores that at once, with at most [`MAX_WRITES`] such writes
//! under way; meanwhile the next group grows. Memory is bounded by `ingest`, which holds a reservation for every
//! submission until it is answered.
//!
//! Deliberately absent: any retry of a store that is down. The sender has the rows and is told to come back.

mod group;
mod versions;

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::Batch;
use ingest::{StoreFailed, Submission};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::metrics::WriterMetrics;
use group::Group;
pub use versions::{MAX_PAIRS, MAX_VERSIONS_PER_SERVICE, Sighting, Versions, version_of};

/// Rows after which a group is stored without waiting for more.
pub const MAX_ROWS: usize = 50_000;

/// How long the first submission of a group waits for company.
pub const LINGER: Duration = Duration::from_millis(100);

/// Writes under way at once: one that the engine works on, one being encoded.
pub const MAX_WRITES: usize = 2;

/// Why a batch was not stored.
#[derive(Debug)]
pub struct AppendFailed {
    /// Whether the rows themselves are to blame, as far as can be told: then others must not suffer with them.
    pub rows_to_blame: bool,
    /// What happened.
    pub message: String,
}

/// Stores what arrives until all senders are gone or `close` is cancelled, then what is left.
///
/// `append` stores a batch: all of it before it returns `Ok`.
pub async fn run<Append, Appending>(
    mut receiver: mpsc::Receiver<Submission>,
    close: CancellationToken,
    append: Append,
    versions: Versions,
    metrics: WriterMetrics,
) where
    Append: Fn(Arc<Batch>) -> Appending + Clone + Send + Sync + 'static,
    Appending: Future<Output = Result<(), AppendFailed>> + Send + 'static,
{
    let sink = Sink { append, versions: Arc::new(Mutex::new(versions)), metrics };
    let mut writes = JoinSet::new();
    while let Some(group) = gather(&mut receiver, &close, &mut writes).await {
        let sink = sink.clone();
        writes.spawn(async move { sink.write(group).await });
    }
    while writes.join_next().await.is_some() {}
}

/// The next group, once a write may begin; `None` when there will be no more.
async fn gather(
    receiver: &mut mpsc::Receiver<Submission>,
    close: &CancellationToken,
    writes: &mut JoinSet<()>,
) -> Option<Group> {
    let mut group = Group::default();
    group.push(first(receiver, close).await?);
    let deadline = Instant::now() + LINGER;
    let (mut due, mut closed) = (false, false);
    loop {
        while writes.try_join_next().is_some() {}
        let full = group.rows() >= MAX_ROWS;
        if (full || due || closed) && writes.len() < MAX_WRITES {
            return Some(group);
        }
        tokio::select! {
            biased;
            submission = receiver.recv(), if !full && !closed => match submission {
                Some(submission) => group.push(submission),
                None => closed = true,
            },
            () = tokio::time::sleep_until(deadline), if !due => due = true,
            Some(_) = writes.join_next(), if !writes.is_empty() => {}
        }
    }
}

/// The next submission, however long it takes. Once closed, only those that were sent before.
async fn first(receiver: &mut mpsc::Receiver<Submission>, close: &CancellationToken) -> Option<Submission> {
    tokio::select! {
        biased;
        submission = receiver.recv() => return submission,
        () = close.cancelled() => receiver.close(),
    }
    receiver.recv().await
}

/// Where groups go.
#[derive(Clone)]
struct Sink<Append> {
    append: Append,
    versions: Arc<Mutex<Versions>>,
    metrics: WriterMetrics,
}

impl<Append, Appending> Sink<Append>
where
    Append: Fn(Arc<Batch>) -> Appending + Send + Sync,
    Appending: Future<Output = Result<(), AppendFailed>> + Send,
{
    /// Stores a group and answers its senders. Rows that the store refuses do not take others with them.
    async fn write(&self, group: Group) {
        let (group, outcome) = self.store(group).await;
        match outcome {
            Err(failed) if failed.rows_to_blame && group.submissions() > 1 => {
                self.metrics.split_groups.inc();
                tracing::warn!(
                    error = failed.message,
                    submissions = group.submissions(),
                    "a group is stored one by one"
                );
                for alone in group.split() {
                    let (alone, outcome) = self.store(alone).await;
                    self.answer(alone, outcome);
                }
            }
            outcome => self.answer(group, outcome),
        }
    }

    /// Stores a group together with the deploys that it tells of.
    async fn store(&self, mut group: Group) -> (Group, Result<(), AppendFailed>) {
        let sightings = self.versions().observe(group.batch());
        let rows = group.rows();
        let deploys = sightings.iter().filter_map(Sighting::change);
        group.batch_mut().changes.extend(deploys);
        let derived = group.rows() - rows;
        let started = Instant::now();
        let batch = Arc::new(std::mem::take(group.batch_mut()));
        let outcome = (self.append)(batch.clone()).await;
        let seconds = started.elapsed().as_secs_f64();
        match &outcome {
            Ok(()) => self.metrics.stored(&batch, derived, seconds),
            Err(_) => {
                self.versions().forget(&sightings);
                self.metrics.failed_writes.inc();
            }
        }
        *group.batch_mut() = Arc::unwrap_or_clone(batch);
        (group, outcome)
    }

    fn answer(&self, group: Group, outcome: Result<(), AppendFailed>) {
        if let Err(failed) = &outcome {
            tracing::error!(error = failed.message, rows = group.rows(), "rows were not stored");
        }
        group.answer(&outcome.map_err(|failed| StoreFailed(failed.message)));
    }

    fn versions(&self) -> MutexGuard<'_, Versions> {
        // A panic elsewhere leaves at worst a version that is taken for known.
        self.versions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use domain::{LogRecord, UnixNanos};
    use tokio::sync::oneshot;

    use super::*;

    type Answer = oneshot::Receiver<Result<(), StoreFailed>>;

    fn submission(bodies: &[&str]) -> (Submission, Answer) {
        let log = |body: &&str| LogRecord {
            body: (*body).into(),
            service: "cart".into(),
            at: UnixNanos::from_seconds(1),
            ..LogRecord::default()
        };
        let (done, answer) = oneshot::channel();
        (
            Submission { batch: Batch { logs: bodies.iter().map(log).collect(), ..Batch::default() }, done },
            answer,
        )
    }

    fn bodies(batch: &Batch) -> Vec<String> {
        batch.logs.iter().map(|log| log.body.clone()).collect()
    }

    /// A store that keeps what it is given, and fails on rows called `bad` or when it is `down`.
    #[derive(Clone, Default)]
    struct Fake {
        batches: Arc<Mutex<Vec<Vec<String>>>>,
        under_way: Arc<AtomicUsize>,
        most_under_way: Arc<AtomicUsize>,
        down: bool,
    }

    impl Fake {
        async fn append(self, batch: Arc<Batch>) -> Result<(), AppendFailed> {
            let under_way = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
            self.most_under_way.fetch_max(under_way, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_secs(1)).await;
            self.under_way.fetch_sub(1, Ordering::SeqCst);
            let bodies = bodies(&batch);
            if self.down {
                return Err(AppendFailed { rows_to_blame: false, message: "down".into() });
            }
            if bodies.iter().any(|body| body == "bad") {
                return Err(AppendFailed { rows_to_blame: true, message: "bad row".into() });
            }
            self.batches.lock().unwrap().push(bodies);
            Ok(())
        }

        fn batches(&self) -> Vec<Vec<String>> {
            self.batches.lock().unwrap().clone()
        }
    }

    fn start(fake: &Fake) -> mpsc::Sender<Submission> {
        start_closable(fake, CancellationToken::new())
    }

    fn start_closable(fake: &Fake, close: CancellationToken) -> mpsc::Sender<Submission> {
        let (sender, receiver) = mpsc::channel(1000);
        let fake = fake.clone();
        let append = move |batch| fake.clone().append(batch);
        tokio::spawn(run(receiver, close, append, Versions::default(), WriterMetrics::default()));
        sender
    }

    async fn send(sender: &mpsc::Sender<Submission>, groups: &[&[&str]]) -> Vec<Answer> {
        let mut answers = Vec::new();
        for bodies in groups {
            let (submission, answer) = submission(bodies);
            sender.send(submission).await.unwrap();
            answers.push(answer);
        }
        answers
    }

    #[tokio::test(start_paused = true)]
    async fn what_arrives_together_is_stored_together_and_then_acknowledged() {
        let fake = Fake::default();
        let sender = start(&fake);
        let mut answers = send(&sender, &[&["a", "b"], &["c"]]).await;
        tokio::time::sleep(LINGER * 2).await;
        assert!(answers[0].try_recv().is_err(), "not acknowledged before it is stored");
        for answer in answers {
            assert!(answer.await.unwrap().is_ok());
        }
        assert_eq!(fake.batches(), [["a", "b", "c"]]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_bad_submission_fails_alone() {
        let fake = Fake::default();
        let sender = start(&fake);
        let outcomes = futures::future::join_all(send(&sender, &[&["a"], &["bad", "b"], &["c"]]).await).await;
        let stored: Vec<bool> = outcomes.into_iter().map(|outcome| outcome.unwrap().is_ok()).collect();
        assert_eq!(stored, [true, false, true]);
        assert_eq!(fake.batches(), [["a"], ["c"]]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_is_down_is_not_asked_again() {
        let fake = Fake { down: true, ..Fake::default() };
        let sender = start(&fake);
        let began = Instant::now();
        let outcomes = futures::future::join_all(send(&sender, &[&["a"], &["b"]]).await).await;
        assert!(outcomes.into_iter().all(|outcome| outcome.unwrap().is_err()));
        assert!(began.elapsed() < Duration::from_secs(2), "one write for both");
    }

    #[tokio::test(start_paused = true)]
    async fn few_writes_at_once_and_the_next_group_grows_meanwhile() {
        let fake = Fake::default();
        let sender = start(&fake);
        let mut answers = Vec::new();
        for _ in 0..10 {
            answers.extend(send(&sender, &[&["a"]]).await);
            tokio::time::sleep(LINGER * 2).await;
        }
        futures::future::join_all(answers).await;
        assert_eq!(fake.most_under_way.load(Ordering::SeqCst), MAX_WRITES);
        assert!(fake.batches().len() < 8, "{:?}", fake.batches());
    }

    #[tokio::test(start_paused = true)]
    async fn the_rest_is_stored_when_the_senders_are_gone() {
        let fake = Fake::default();
        let sender = start(&fake);
        let mut answers = send(&sender, &[&["a"]]).await;
        drop(sender);
        assert!(answers.remove(0).await.unwrap().is_ok());
        assert_eq!(fake.batches(), [["a"]]);
    }

    #[tokio::test(start_paused = true)]
    async fn closing_stores_what_was_sent_and_takes_no_more() {
        let fake = Fake::default();
        let close = CancellationToken::new();
        let sender = start_closable(&fake, close.clone());
        let mut answers = send(&sender, &[&["a"]]).await;
        close.cancel();
        assert!(answers.remove(0).await.unwrap().is_ok());
        tokio::time::sleep(LINGER).await;
        assert!(sender.send(submission(&["b"]).0).await.is_err());
        assert_eq!(fake.batches(), [["a"]]);
    }
}
