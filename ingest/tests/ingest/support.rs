//! A running intake with a store that the test plays.

use std::io::Write;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use domain::{Batch, Clock, UnixNanos};
use http::{Request, Response};
use http_body_util::BodyExt;
use ingest::{Ingest, Limits, StoreFailed, Submission, change_router, http_router};
use prometheus_client::registry::Registry;
use tower::ServiceExt;

/// The present in every test: 19 November 2026, 14:02:31.
pub const NOW: UnixNanos = UnixNanos::from_seconds(1_795_096_951);

struct FixedClock;

impl Clock for FixedClock {
    fn now(&self) -> UnixNanos {
        NOW
    }
}

/// How the store behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// Keeps everything.
    Works,
    /// Refuses everything.
    Fails,
    /// Drops the submission without a word.
    Dies,
    /// Never answers.
    Hangs,
}

/// An intake, its routes, and what was stored.
pub struct Harness {
    pub ingest: Arc<Ingest>,
    pub registry: Registry,
    app: Router,
    stored: Arc<Mutex<Batch>>,
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub content_type: String,
    pub retry_after: Option<String>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Harness {
    pub fn new() -> Self {
        Self::with(Limits::default(), Store::Works)
    }

    pub fn with(limits: Limits, store: Store) -> Self {
        let mut registry = Registry::default();
        let (ingest, mut submissions) = Ingest::new(limits, Arc::new(FixedClock), &mut registry);
        let ingest = Arc::new(ingest);
        let stored = Arc::new(Mutex::new(Batch::default()));
        let kept = Arc::clone(&stored);
        tokio::spawn(async move {
            let mut held = Vec::new();
            while let Some(Submission { batch, done }) = submissions.recv().await {
                match store {
                    Store::Works => {
                        kept.lock().unwrap().append(batch);
                        let _ = done.send(Ok(()));
                    }
                    Store::Fails => {
                        let _ = done.send(Err(StoreFailed("disk full".into())));
                    }
                    Store::Dies => drop(done),
                    Store::Hangs => held.push(done),
                }
            }
        });
        let app = http_router(Arc::clone(&ingest)).merge(change_router(Arc::clone(&ingest)));
        Self { ingest, registry, app, stored }
    }

    /// What was stored since the last look.
    pub fn take(&self) -> Batch {
        std::mem::take(&mut *self.stored.lock().unwrap())
    }

    pub async fn post(&self, path: &str, content_type: &str, body: impl Into<Body>) -> Answer {
        self.send(Request::post(path).header("content-type", content_type).body(body.into()).unwrap()).await
    }

    pub async fn post_gzip(&self, path: &str, content_type: &str, body: &[u8]) -> Answer {
        let request = Request::post(path)
            .header("content-type", content_type)
            .header("content-encoding", "gzip")
            .body(Body::from(gzip(body)));
        self.send(request.unwrap()).await
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        let response: Response<Body> = self.app.clone().oneshot(request).await.unwrap();
        let header =
            |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        Answer {
            status: response.status().as_u16(),
            content_type: header("content-type").unwrap_or_default(),
            retry_after: header("retry-after"),
            body: response.into_body().collect().await.unwrap().to_bytes().to_vec(),
        }
    }

    /// A line of the crate's own metrics.
    #[track_caller]
    pub fn check_metric(&self, line: &str) {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        assert!(text.lines().any(|found| found == line), "`{line}` not in:\n{text}");
    }
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
