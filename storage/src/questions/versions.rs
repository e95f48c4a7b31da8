//! Which versions of which service were ever seen, and since when: what a deploy is recognised by.

use clickhouse::Row;
use domain::UnixNanos;
use serde::Deserialize;

use crate::{Error, Store};

/// Pairs returned, the latest first: a sender that makes up versions must not fill the memory of whoever asks.
const MAX_VERSIONS: usize = 20_000;

/// A version of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenVersion {
    /// Service.
    pub service: String,
    /// `service.version` or image tag, cut to 128 characters.
    pub version: String,
    /// When it was first seen.
    pub first_seen: UnixNanos,
}

#[derive(Row, Deserialize)]
struct VersionRow {
    service: String,
    version: String,
    first_seen: i64,
}

impl Store {
    /// Every version of every service, oldest first.
    pub async fn versions(&self) -> Result<Vec<SeenVersion>, Error> {
        let query = format!(
            "SELECT toString(ServiceName) AS service, Version AS version, toUnixTimestamp64Nano(min(Seen)) AS first_seen \
             FROM first_seen GROUP BY ServiceName, Version ORDER BY first_seen DESC, service, version LIMIT {MAX_VERSIONS}"
        );
        let rows = self.client().query(&query).fetch_all::<VersionRow>().await?;
        Ok(rows.into_iter().rev().map(seen_version).collect())
    }
}

fn seen_version(row: VersionRow) -> SeenVersion {
    SeenVersion { service: row.service, version: row.version, first_seen: UnixNanos(row.first_seen) }
}
