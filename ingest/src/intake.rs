//! The one way in: bytes are decoded, rows handed to whoever stores them, and the sender answered when they are stored.

use std::sync::Arc;

use bytes::Bytes;
use domain::{Batch, Clock, UnixNanos};
use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, oneshot};

use crate::body::gunzip;
use crate::budget::{Budget, Reservation};
use crate::decode::{Decoded, Encoding, decode};
use crate::limits::{Limits, MAX_WAITING_SUBMISSIONS, OFFLOAD_BYTES};
use crate::metrics::Metrics;
use crate::refusal::Refusal;
use crate::tally::{Partial, Signal};

/// Rows that wait to be stored, and the sender who waits for that.
#[derive(Debug)]
pub struct Submission {
    /// Never empty.
    pub batch: Batch,
    /// Where to say that all of it is stored, or that it is not. Dropping it says that it is not.
    pub done: oneshot::Sender<Result<(), StoreFailed>>,
}

/// The store could not take a batch. The reason is for the log of whoever stores; senders are told to try again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("failed to store a batch: {0}")]
pub struct StoreFailed(pub String);

/// Takes telemetry in. Shared by every listener.
pub struct Ingest {
    pub(crate) limits: Arc<Limits>,
    pub(crate) metrics: Metrics,
    clock: Arc<dyn Clock>,
    budget: Budget,
    submissions: mpsc::Sender<Submission>,
}

/// The body of an OTLP request, as it came.
pub(crate) struct Body {
    pub(crate) bytes: Bytes,
    pub(crate) encoding: Encoding,
    pub(crate) gzip: bool,
}

impl Ingest {
    /// Registers the metrics, and makes the channel whose receiver stores: one [`Submission`] after the other, or
    /// several merged into one batch, but answering each only once its rows are stored.
    pub fn new(
        limits: Limits,
        clock: Arc<dyn Clock>,
        registry: &mut Registry,
    ) -> (Self, mpsc::Receiver<Submission>) {
        let metrics = Metrics::new(registry);
        let budget = Budget::new(limits.max_inflight_bytes, metrics.inflight_bytes.clone());
        let (submissions, receiver) = mpsc::channel(MAX_WAITING_SUBMISSIONS);
        (Self { limits: Arc::new(limits), metrics, clock, budget, submissions }, receiver)
    }

    /// The present instant.
    pub(crate) fn now(&self) -> UnixNanos {
        self.clock.now()
    }

    /// Room for one more request, to be grown as its bytes arrive.
    pub(crate) fn reserve(&self) -> Reservation {
        self.budget.open()
    }

    /// Decodes and stores an OTLP request. Returns when it is stored, with what was not taken of it.
    pub(crate) async fn export(
        &self,
        signal: Signal,
        body: Body,
        reservation: Arc<Reservation>,
    ) -> Result<Option<Partial>, Refusal> {
        let Decoded { batch, tally } = self.decode(signal, body, Arc::clone(&reservation)).await?;
        self.store(batch, reservation).await?;
        self.metrics.stored(signal, &tally);
        Ok(tally.partial(signal))
    }

    async fn decode(
        &self,
        signal: Signal,
        body: Body,
        reservation: Arc<Reservation>,
    ) -> Result<Decoded, Refusal> {
        /// What telemetry usually shrinks to.
        const GZIP_RATIO: usize = 8;
        let (limits, now) = (Arc::clone(&self.limits), self.now());
        let size = body.bytes.len() * if body.gzip { GZIP_RATIO } else { 1 };
        let work = move || {
            if body.gzip {
                let unpacked = gunzip(&body.bytes, limits.max_body_bytes, &reservation)?;
                decode(signal, body.encoding, &unpacked, &limits, now)
            } else {
                decode(signal, body.encoding, &body.bytes, &limits, now)
            }
        };
        if size > OFFLOAD_BYTES {
            // It fails only when the runtime is shutting down: the sender may try again.
            tokio::task::spawn_blocking(work).await.unwrap_or(Err(Refusal::Unavailable))
        } else {
            work()
        }
    }

    /// Hands rows over and waits until they are stored.
    pub(crate) async fn store(&self, batch: Batch, reservation: Arc<Reservation>) -> Result<(), Refusal> {
        if batch.is_empty() {
            return Ok(());
        }
        let (done, stored) = oneshot::channel();
        self.submissions.try_send(Submission { batch, done }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Refusal::Busy,
            mpsc::error::TrySendError::Closed(_) => Refusal::Unavailable,
        })?;
        // A task of its own, so that the bytes count as in flight until the store is done with them, even when the
        // sender hangs up or the wait below ends first.
        let outcome = tokio::spawn(async move {
            let outcome = stored.await;
            drop(reservation);
            outcome
        });
        match tokio::time::timeout(self.limits.store_timeout, outcome).await {
            Ok(Ok(Ok(Ok(())))) => Ok(()),
            // Refused by the store, dropped by it, shutting down, or too slow.
            _ => Err(Refusal::Unavailable),
        }
    }
}
