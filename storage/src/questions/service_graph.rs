//! Who calls whom, from both ends of calls: a materialized view keeps one narrow row per end, paired here.

use clickhouse::Row;
use domain::Window;
use serde::{Deserialize, Serialize};

use super::sql;
use crate::{Error, Store};

/// Calls from one service to another.
#[derive(Clone, Debug, PartialEq, Row, Serialize, Deserialize)]
pub struct ServiceEdge {
    /// Who calls.
    pub caller: String,
    /// Who answers.
    pub callee: String,
    /// Calls seen from both ends.
    pub calls: u64,
    /// Calls that the caller saw fail.
    pub errors: u64,
    /// Mean time the caller waited beyond what the callee took, milliseconds: network and queues.
    pub gap_ms: f64,
}

impl Store {
    /// The edges of a window, busiest first.
    pub async fn service_graph(&self, window: Window) -> Result<Vec<ServiceEdge>, Error> {
        let query = format!(
            "SELECT caller, callee, count() AS calls, countIf(failed) AS errors, \
               avg(greatest(waited - took, 0)) / 1e6 AS gap_ms FROM \
             (SELECT max(toString(Caller)) AS caller, max(toString(Callee)) AS callee, maxIf(Failed, Caller != '') AS failed, \
                toFloat64(maxIf(DurationNs, Caller != '')) AS waited, toFloat64(maxIf(DurationNs, Callee != '')) AS took \
              FROM call_ends WHERE {} GROUP BY CallKey) \
             WHERE caller != '' AND callee != '' AND caller != callee \
             GROUP BY caller, callee ORDER BY calls DESC, caller, callee LIMIT 5000",
            sql::within_minutes("Minute", &window)
        );
        Ok(self.client().query(&query).fetch_all().await?)
    }
}
