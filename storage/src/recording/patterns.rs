//! The log patterns of a recording. The engine reads the files itself, so the messages pass through this process once,
//! each different one, to be given their patterns; the engine then joins these to the rows.

use std::sync::atomic::{AtomicU32, Ordering};

use clickhouse::Row;
use serde::{Deserialize, Serialize};

use super::execute;
use crate::Store;
use crate::append::write;
use crate::error::Error;

/// Messages whose patterns are written at once.
const PIECE: usize = 100_000;

/// A severity number that is one.
pub(super) const SEVERITY: &str = "toUInt8(least(greatest(SeverityNumber, 0), 24))";
/// What tells messages apart.
pub(super) const KEY: &str = "cityHash64(toUInt8(least(greatest(SeverityNumber, 0), 24)), toValidUTF8(Body))";

#[derive(Row, Deserialize)]
struct Message {
    key: u64,
    severity: u8,
    body: String,
}

#[derive(Row, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Found {
    key: u64,
    pattern: u64,
}

/// The pattern of each message among `rows`, as a table of `Key` and `Pattern`: to be dropped by who asked.
pub(super) async fn find(store: &Store, rows: &str) -> Result<String, Error> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let table =
        format!("recording_patterns_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let create = format!("CREATE TABLE {table} (Key UInt64, Pattern UInt64) ENGINE = Memory");
    execute(store.client(), &create).await?;
    match fill(store, rows, &table).await {
        Ok(()) => Ok(table),
        Err(error) => {
            forget(store, &table).await?;
            Err(error)
        }
    }
}

/// Drops the table.
pub(super) async fn forget(store: &Store, table: &str) -> Result<(), Error> {
    execute(store.client(), &format!("DROP TABLE IF EXISTS {table}")).await
}

async fn fill(store: &Store, rows: &str, table: &str) -> Result<(), Error> {
    // In order of time, so that the same recording is always learned from in the same way.
    let query = format!(
        "SELECT {KEY} AS key, any({SEVERITY}) AS severity, any(toValidUTF8(Body)) AS body FROM {rows} \
         GROUP BY key ORDER BY min(Timestamp), key"
    );
    let patterns = &store.inner.patterns;
    let (mut keys, mut found) = (Vec::new(), Vec::new());
    let mut messages = store.client().query_raw(&query).fetch::<Message>()?;
    while let Some(message) = messages.next().await? {
        keys.push(message.key);
        found.push(patterns.own_of(message.severity, &message.body));
    }
    // What was learned from the last message counts for the first.
    patterns.settled(&mut found);
    let client = store.writer();
    patterns.append(&client).await?;
    for (keys, found) in keys.chunks(PIECE).zip(found.chunks(PIECE)) {
        let rows = keys.iter().zip(found).map(|(key, pattern)| Found { key: *key, pattern: *pattern });
        write::<Found>(&client, table, rows).await?;
    }
    Ok(())
}
