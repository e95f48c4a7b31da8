//! Changes made by people and pipelines, and derived from telemetry.

use std::collections::BTreeMap;

use clickhouse::Row;
use domain::{Change, ChangeKind, UnixNanos, Window};
use serde::Deserialize;

use super::sql;
use crate::{Error, Store};

/// Changes returned, latest first.
const MAX_CHANGES: usize = 500;
/// Services whose last deploy is returned, those deployed latest: a sender that makes up services must not fill the memory
/// of whoever asks.
const MAX_DEPLOYED: usize = 20_000;

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

#[derive(Row, Deserialize)]
struct DeployedRow {
    service: String,
    at: i64,
}

impl Store {
    /// Changes inside `window`, oldest first.
    pub async fn changes(&self, window: Window) -> Result<Vec<Change>, Error> {
        let rows = self.client().query(&query(&window)).fetch_all::<ChangeRow>().await?;
        Ok(rows.into_iter().rev().map(change).collect())
    }

    /// When a version of each service was last deployed, rolled back or moved to inside `window`. However often one is
    /// deployed, it hides no other.
    pub async fn last_deploys(&self, window: Window) -> Result<BTreeMap<String, UnixNanos>, Error> {
        let rows = self.client().query(&last_deploys_query(&window)).fetch_all::<DeployedRow>().await?;
        Ok(rows.into_iter().map(|row| (row.service, UnixNanos(row.at))).collect())
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

/// Without `FINAL`: a change that was told twice does not change when the latest was.
fn last_deploys_query(window: &Window) -> String {
    let kinds = ChangeKind::DEPLOYS.map(ChangeKind::as_str);
    format!(
        "SELECT toString(ServiceName) AS service, toUnixTimestamp64Nano(max(Timestamp)) AS at FROM changes \
         WHERE {} AND Kind IN {} GROUP BY ServiceName ORDER BY at DESC, service LIMIT {MAX_DEPLOYED}",
        sql::within("Timestamp", window),
        sql::quote_list(kinds)
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
