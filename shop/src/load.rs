//! The visitors: an open-loop load, which keeps arriving however slowly the shop answers.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::call::{HttpClient, http_client};
use crate::directory::Directory;
use crate::event::ShopEvent;
use crate::random::Random;
use crate::services::{CUSTOMERS, PAGE, PRODUCTS};

/// Visitors are patient, but not for ever.
const VISITOR_LIMIT: Duration = Duration::from_secs(10);
/// Requests outstanding before further visitors are turned away and counted as failed.
const OUTSTANDING_LIMIT: usize = 2_000;
/// How long requests in flight may take to finish when the load stops.
const DRAIN_LIMIT: Duration = Duration::from_millis(300);

/// What a stream of visitors does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mix {
    /// Half browse, a quarter look at their cart, a quarter check out.
    Usual,
    /// All browse.
    Browse,
}

/// Sends visitors and counts how they fare.
pub(crate) struct Load {
    directory: Arc<Directory>,
    client: HttpClient,
    outstanding: Arc<Semaphore>,
    tally: Mutex<Tally>,
}

#[derive(Default)]
struct Tally {
    ok: u64,
    failed: u64,
    latencies_ms: Vec<f64>,
}

impl Load {
    pub fn new(directory: Arc<Directory>) -> Arc<Self> {
        Arc::new(Self {
            directory,
            client: http_client(),
            outstanding: Arc::new(Semaphore::new(OUTSTANDING_LIMIT)),
            tally: Mutex::default(),
        })
    }

    /// Sends `rate` visitors per second, at random moments, until cancelled; then lets those under way finish.
    pub async fn generate(
        self: Arc<Self>,
        mix: Mix,
        rate: f64,
        mut random: Random,
        cancel: CancellationToken,
    ) {
        let mut under_way = JoinSet::new();
        let mut next = Instant::now();
        loop {
            next += Duration::from_secs_f64(random.exponential(1.0 / rate));
            tokio::select! {
                () = cancel.cancelled() => break,
                () = tokio::time::sleep_until(next) => {}
            }
            while under_way.try_join_next().is_some() {}
            let visit = Visit::draw(mix, &mut random);
            match Arc::clone(&self.outstanding).try_acquire_owned() {
                Ok(permit) => {
                    let load = Arc::clone(&self);
                    under_way.spawn(async move {
                        load.visit(visit).await;
                        drop(permit);
                    });
                }
                Err(_) => self.count(false, None),
            }
        }
        let finish = async { while under_way.join_next().await.is_some() {} };
        // Whoever is still under way when time is up is dropped with the set.
        let _ = tokio::time::timeout(DRAIN_LIMIT, finish).await;
    }

    /// The visits since the last report.
    pub fn report(&self, period: Duration) -> ShopEvent {
        let mut tally = std::mem::take(&mut *self.tally.lock().unwrap_or_else(PoisonError::into_inner));
        ShopEvent::Load {
            rps: (tally.ok + tally.failed) as f64 / period.as_secs_f64(),
            ok: tally.ok,
            failed: tally.failed,
            p95_ms: percentile(&mut tally.latencies_ms, 0.95),
        }
    }

    async fn visit(&self, visit: Visit) {
        let started = Instant::now();
        let answered = tokio::time::timeout(VISITOR_LIMIT, self.request(visit)).await.unwrap_or(false);
        self.count(answered, Some(started.elapsed()));
    }

    async fn request(&self, visit: Visit) -> bool {
        let Some(gateway) = self.directory.get("gateway") else { return false };
        let request = Request::builder()
            .method(visit.method)
            .uri(format!("http://{gateway}{}", visit.path))
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(visit.body)));
        let Ok(request) = request else { return false };
        let Ok(response) = self.client.request(request).await else { return false };
        let success = response.status().is_success();
        // Reading to the end gives the connection back.
        response.into_body().collect().await.is_ok() && success
    }

    fn count(&self, ok: bool, latency: Option<Duration>) {
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        if ok {
            tally.ok += 1;
        } else {
            tally.failed += 1;
        }
        tally.latencies_ms.extend(latency.map(|latency| latency.as_secs_f64() * 1e3));
    }
}

struct Visit {
    method: Method,
    path: String,
    body: String,
}

impl Visit {
    fn draw(mix: Mix, random: &mut Random) -> Self {
        let (choice, customer) = (random.unit(), random.between(0, CUSTOMERS));
        let page = random.between(0, PRODUCTS.div_ceil(PAGE));
        match mix {
            Mix::Browse => Self::get(format!("/products?page={page}")),
            Mix::Usual if choice < 0.5 => Self::get(format!("/products?page={page}")),
            Mix::Usual if choice < 0.75 => Self::get(format!("/cart/{customer}")),
            Mix::Usual => Self {
                method: Method::POST,
                path: "/checkout".to_owned(),
                body: format!("{{\"customer\":{customer}}}"),
            },
        }
    }

    fn get(path: String) -> Self {
        Self { method: Method::GET, path, body: String::new() }
    }
}

/// Nearest rank; 0 when there is nothing to rank.
fn percentile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let rank = (values.len() as f64 * share).ceil() as usize;
    values.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::percentile;

    #[test]
    fn percentile_is_the_nearest_rank() {
        assert_eq!(percentile(&mut [], 0.95), 0.0);
        assert_eq!(percentile(&mut [7.0], 0.95), 7.0);
        let mut hundred: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(percentile(&mut hundred, 0.95), 95.0);
    }
}
