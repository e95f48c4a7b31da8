//! Attribute values that separate bad requests from good ones.

use clickhouse::Row;
use domain::Window;
use serde::{Deserialize, Serialize};

use super::sql;
use crate::{Error, Store};

/// Values returned, most telling first.
const MAX_VALUES: usize = 200;
/// Longer values are ids or text, not categories.
const MAX_VALUE_BYTES: usize = 80;

/// How many bad and good requests have a value.
#[derive(Clone, Debug, Row, Serialize, Deserialize)]
pub struct AttributeValue {
    /// Attribute.
    pub key: String,
    /// Value.
    pub value: String,
    /// Bad requests with it.
    pub bad: u64,
    /// Good requests with it.
    pub good: u64,
}

/// The values, and what they are shares of.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct AttributeValues {
    /// Values, most telling first.
    pub values: Vec<AttributeValue>,
    /// Bad requests.
    pub bad: u64,
    /// Good requests.
    pub good: u64,
    /// The SQL that gave them.
    pub query: String,
}

impl Store {
    /// Compares the failed or slow requests of a service with its others, inside `window`.
    pub async fn attribute_values(
        &self,
        service: &str,
        window: Window,
        slow_ms: f64,
    ) -> Result<AttributeValues, Error> {
        let requests = format!(
            "SELECT (StatusCode = 'Error' OR Duration > {}) AS is_bad, \
               arrayConcat(arrayZip(mapKeys(SpanAttributes), mapValues(SpanAttributes)), \
                 arrayZip(mapKeys(ResourceAttributes), mapValues(ResourceAttributes))) AS pairs \
             FROM otel_traces WHERE ServiceName = {} AND SpanKind IN ('Server', 'Consumer') AND {}",
            (slow_ms * 1e6) as u64,
            sql::quote(service),
            sql::within("Timestamp", &window)
        );
        let totals = format!("SELECT countIf(is_bad) AS bad, countIf(NOT is_bad) AS good FROM ({requests})");
        let query = format!(
            "SELECT toString(pair.1) AS key, toString(pair.2) AS value, countIf(is_bad) AS bad, countIf(NOT is_bad) AS good \
             FROM ({requests}) ARRAY JOIN pairs AS pair WHERE length(pair.2) <= {MAX_VALUE_BYTES} AND pair.2 != '' \
             GROUP BY key, value HAVING bad + good > 1 \
             ORDER BY abs(bad / greatest(sum(bad) OVER (PARTITION BY key), 1) - good / greatest(sum(good) OVER (PARTITION BY key), 1)) DESC, \
               key, value LIMIT {MAX_VALUES}"
        );
        let ((bad, good), values) = tokio::try_join!(
            async { self.client().query(&totals).fetch_one::<(u64, u64)>().await },
            async { self.client().query(&query).fetch_all::<AttributeValue>().await },
        )?;
        Ok(AttributeValues { values, bad, good, query })
    }
}
