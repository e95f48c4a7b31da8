//! Changes made by people and pipelines, and derived from telemetry.

use clickhouse::Row;
use domain::{Change, ChangeKind, UnixNanos, Window};
use serde::Deserialize;

use super::sql;
use crate::{Error, Store};

/// Changes returned, latest first.
const MAX_CHANGES: usize = 500;

#[derive(Row, Deserialize)]
struct ChangeRow {
    at: i64,
    kind: String,
    service: String,
    version: String,
    previous: String,
    reference: String,
    detail: String,
    source: String,
}

impl Store {
    /// Changes inside `window`, oldest first.
    pub async fn changes(&self, window: Window) -> Result<Vec<Change>, Error> {
        let rows = self.client().query(&query(&window)).fetch_all::<ChangeRow>().await?;
        Ok(rows.into_iter().rev().map(change).collect())
    }
}

/// The SQL of [`Store::changes`], latest first.
pub fn query(window: &Window) -> String {
    format!(
        "SELECT toUnixTimestamp64Nano(Timestamp) AS at, toString(Kind) AS kind, toString(ServiceName) AS service, \
           Version AS version, Previous AS previous, Reference AS reference, Detail AS detail, toString(Source) AS source \
         FROM changes FINAL WHERE {} ORDER BY at DESC, service, reference LIMIT {MAX_CHANGES}",
        sql::within("Timestamp", window)
    )
}

fn change(row: ChangeRow) -> Change {
    Change {
        at: UnixNanos(row.at),
        kind: ChangeKind::parse(&row.kind),
        service: row.service,
        version: row.version,
        previous: row.previous,
        reference: row.reference,
        detail: row.detail,
        source: row.source,
    }
}
