//! Service levels per minute, from the aggregates that a materialized view keeps: raw spans are never scanned.

use std::collections::BTreeMap;

use clickhouse::Row;
use domain::{UnixNanos, Window};
use serde::{Deserialize, Serialize};

use super::sql;
use crate::{Error, Store};

/// Buckets per doubling of latency: each is 19% wider than the last.
const BUCKETS_PER_OCTAVE: f64 = 4.0;

/// A minute of the requests a service, or one of its endpoints, received.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SliMinute {
    /// Service.
    pub service: String,
    /// Endpoint; empty when all are meant.
    pub endpoint: String,
    /// Start of the minute.
    pub minute: UnixNanos,
    /// Requests.
    pub requests: u64,
    /// Failed ones.
    pub errors: u64,
    /// Requests by latency bucket.
    pub latency: Latency,
}

/// A latency histogram: bucket `b` holds `2^(b/4)` to `2^((b+1)/4)` microseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency(pub BTreeMap<i16, u64>);

impl Latency {
    /// Requests.
    pub fn count(&self) -> u64 {
        self.0.values().sum()
    }

    /// Requests slower than a threshold; the bucket that holds it is split evenly.
    pub fn slower_than(&self, threshold_ms: f64) -> f64 {
        let place = BUCKETS_PER_OCTAVE * (threshold_ms * 1000.0).max(1.0).log2();
        self.0
            .iter()
            .map(|(bucket, count)| *count as f64 * (f64::from(*bucket) + 1.0 - place).clamp(0.0, 1.0))
            .sum()
    }

    /// The latency that a share `q` of requests stays under, in seconds; `None` without requests.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let wanted = q.clamp(0.0, 1.0) * self.count() as f64;
        let mut passed = 0.0;
        for (bucket, count) in &self.0 {
            let count = *count as f64;
            if passed + count >= wanted && count > 0.0 {
                let place = f64::from(*bucket) + (wanted - passed) / count;
                return Some((place / BUCKETS_PER_OCTAVE).exp2() / 1e6);
            }
            passed += count;
        }
        None
    }

    /// Adds another histogram.
    pub fn merge(&mut self, other: &Self) {
        for (bucket, count) in &other.0 {
            *self.0.entry(*bucket).or_default() += count;
        }
    }
}

#[derive(Row, Deserialize)]
struct SliRow {
    service: String,
    endpoint: String,
    minute: u32,
    buckets: Vec<(i16, u64)>,
    errors: u64,
}

/// What counts as a request: what a service answers or consumes.
const IS_REQUEST: &str = "SpanKind IN ('Server', 'Consumer')";

impl Store {
    /// Minutes of every service that receives requests, oldest first.
    pub async fn sli_minutes(&self, window: Window) -> Result<Vec<SliMinute>, Error> {
        self.sli("''", "1", &window).await
    }

    /// Minutes of one service, by endpoint.
    pub async fn sli_minutes_by_endpoint(
        &self,
        service: &str,
        window: Window,
    ) -> Result<Vec<SliMinute>, Error> {
        self.sli("SpanName", &format!("ServiceName = {}", sql::quote(service)), &window).await
    }

    async fn sli(&self, endpoint: &str, which: &str, window: &Window) -> Result<Vec<SliMinute>, Error> {
        let query = format!(
            "SELECT service, endpoint, minute, arraySort(groupArray((bucket, requests))) AS buckets, sum(failed) AS errors FROM \
               (SELECT toString(ServiceName) AS service, toString({endpoint}) AS endpoint, toUnixTimestamp(Minute) AS minute, \
                  Bucket AS bucket, toUInt64(sum(Requests)) AS requests, toUInt64(sum(Errors)) AS failed \
                FROM span_minutes WHERE {IS_REQUEST} AND {which} AND {} GROUP BY service, endpoint, minute, bucket) \
             GROUP BY service, endpoint, minute ORDER BY service, endpoint, minute LIMIT 500000",
            sql::within_minutes("Minute", window)
        );
        let rows = self.client().query(&query).fetch_all::<SliRow>().await?;
        Ok(rows.into_iter().map(sli_minute).collect())
    }
}

fn sli_minute(row: SliRow) -> SliMinute {
    let latency = Latency(row.buckets.into_iter().collect());
    SliMinute {
        service: row.service,
        endpoint: row.endpoint,
        minute: UnixNanos::from_seconds(i64::from(row.minute)),
        requests: latency.count(),
        errors: row.errors,
        latency,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_and_quantiles_agree_within_a_bucket() {
        // 100 requests of about 0.1 s, 10 of about 1 s.
        let bucket = |seconds: f64| (4.0 * (seconds * 1e6).log2()).floor() as i16;
        let latency = Latency([(bucket(0.1), 100), (bucket(1.0), 10)].into());
        assert_eq!(latency.slower_than(500.0), 10.0);
        assert_eq!(latency.slower_than(5_000.0), 0.0);
        let p50 = latency.quantile(0.5).unwrap();
        assert!((0.08..0.125).contains(&p50), "{p50}");
        assert_eq!(Latency::default().quantile(0.5), None);
    }
}
