//! The journal: what was decided, in the order in which it was, never changed afterwards.
//!
//! The present of incidents, alerts and settings is the fold of a stream. Deliberately absent: knowledge of what the
//! entries mean.

use clickhouse::Row;
use domain::UnixNanos;
use serde::Deserialize;
use tokio::sync::Mutex;

use crate::Store;
use crate::append::write;
use crate::error::Error;
use crate::rows::JournalRow;

/// One entry.
#[derive(Clone, Debug, PartialEq)]
pub struct JournalEntry {
    /// Grows with every entry of any stream.
    pub sequence: u64,
    /// When it was appended.
    pub at: UnixNanos,
    /// What it is about, as a kind: `incident`, `alert`.
    pub stream: String,
    /// What it is about, as a name.
    pub key: String,
    /// What happened.
    pub body: serde_json::Value,
}

/// Hands out sequence numbers; locked while an entry is written, so that entries become visible in their order.
///
/// One process writes a journal. Two of them on one server would give out the same numbers.
#[derive(Default)]
pub(crate) struct Writer(Mutex<Option<u64>>);

#[derive(Row, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StoredEntry {
    sequence: u64,
    timestamp: i64,
    stream: String,
    key: String,
    body: String,
}

impl Store {
    /// Appends an entry. When this returns, it is on the disk.
    pub async fn journal_append(
        &self,
        at: UnixNanos,
        stream: &str,
        key: &str,
        body: &serde_json::Value,
    ) -> Result<(), Error> {
        let body = body.to_string();
        let mut next = self.inner.journal.0.lock().await;
        // Left empty while writing: after a failure nobody knows whether the number was used.
        let sequence = match next.take() {
            Some(sequence) => sequence,
            None => {
                self.client().query_raw("SELECT max(Sequence) + 1 FROM journal").fetch_one::<u64>().await?
            }
        };
        let row = JournalRow { sequence, timestamp: at.0, stream, key, body: &body };
        write::<JournalRow<'_>>(&self.writer(), "journal", std::iter::once(row)).await?;
        *next = Some(sequence + 1);
        Ok(())
    }

    /// The entries of a stream, oldest first.
    pub async fn journal_read(&self, stream: &str) -> Result<Vec<JournalEntry>, Error> {
        let stored: Vec<StoredEntry> = self
            .client()
            .query("SELECT ?fields FROM journal WHERE Stream = ? ORDER BY Sequence")
            .bind(stream)
            .fetch_all()
            .await?;
        stored.into_iter().map(JournalEntry::try_from).collect()
    }
}

impl TryFrom<StoredEntry> for JournalEntry {
    type Error = Error;

    fn try_from(stored: StoredEntry) -> Result<Self, Error> {
        let body = serde_json::from_str(&stored.body).map_err(|error| Error::Damaged {
            table: "journal",
            reason: format!("entry {} is not JSON: {error}", stored.sequence),
        })?;
        Ok(Self {
            sequence: stored.sequence,
            at: UnixNanos(stored.timestamp),
            stream: stored.stream,
            key: stored.key,
            body,
        })
    }
}
