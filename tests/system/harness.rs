//! The server under test.
//!
//! A process has one engine on one folder, so these tests take turns: a server holds the turn until it has stopped.

use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use domain::{Clock as _, Incident, UnixNanos};
use futures::FutureExt as _;
use server::clock::SystemClock;
use server::config::{Config, Span};
use server::serve::{self, Running};
use system_tests::load::{self, Outcome, Signal};
use tempfile::TempDir;
use tokio::sync::{Mutex, MutexGuard};

static TURN: Mutex<()> = Mutex::const_new(());

/// The right to run the engine, for a test that needs no server.
pub struct Turn {
    _guard: MutexGuard<'static, ()>,
}

impl Turn {
    /// Waits for it.
    pub async fn take() -> Self {
        Self { _guard: TURN.lock().await }
    }
}

/// Longest that anything is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);

/// A running server with a data folder of its own.
pub struct TestServer {
    /// `None` only while it is stopped.
    running: Option<Running>,
    data: TempDir,
    http: reqwest::Client,
}

/// Settings for a server on `data`: free ports, and a detector that looks often.
pub fn config(data: &Path) -> Config {
    let mut config = Config::default();
    let free = ([127, 0, 0, 1], 0).into();
    config.listen.pages = free;
    config.listen.grpc = free;
    config.listen.http = free;
    config.storage.data = data.to_owned();
    config.detection.every = Span(Duration::from_millis(500));
    config
}

/// Runs `test` against a server on an empty folder, and stops the server in order whatever becomes of the test.
pub async fn serve(test: impl AsyncFnOnce(&mut TestServer)) {
    serve_with(|_| (), test).await;
}

/// The same with other settings.
pub async fn serve_with(change: impl Fn(&mut Config), test: impl AsyncFnOnce(&mut TestServer)) {
    let _turn = Turn::take().await;
    let data = tempfile::tempdir().expect("a temporary folder");
    let mut server =
        TestServer { running: Some(start(data.path(), change).await), data, http: reqwest::Client::new() };
    let outcome = AssertUnwindSafe(test(&mut server)).catch_unwind().await;
    server.stop().await;
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

async fn start(data: &Path, change: impl Fn(&mut Config)) -> Running {
    let mut config = config(data);
    change(&mut config);
    serve::start(config, SystemClock::shared()).await.expect("the server starts")
}

impl TestServer {
    /// Stops it in order, and starts it again on the same folder.
    pub async fn restart(&mut self) {
        self.restart_with(|_| ()).await;
    }

    /// The same with other settings.
    pub async fn restart_with(&mut self, change: impl Fn(&mut Config)) {
        self.stop().await;
        self.running = Some(start(self.data.path(), change).await);
    }

    /// Stops it in order, lets `meanwhile` happen, and starts it again on the same folder.
    pub async fn away_during(&mut self, change: impl Fn(&mut Config), meanwhile: impl AsyncFnOnce()) {
        self.stop().await;
        meanwhile().await;
        self.running = Some(start(self.data.path(), change).await);
    }

    async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.shutdown().await.expect("an orderly stop");
        }
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("it runs during the test")
    }

    /// The folder with its data.
    pub fn data(&self) -> &Path {
        self.data.path()
    }

    /// Its store.
    pub fn store(&self) -> &storage::Store {
        self.running().store()
    }

    /// Its incidents.
    pub fn incidents(&self) -> Vec<Incident> {
        self.running().incidents().all()
    }

    /// Address of a page or of the API.
    pub fn page(&self, path: &str) -> String {
        format!("{}{path}", self.running().addresses().pages_url())
    }

    /// Address of OTLP over gRPC.
    pub fn grpc(&self) -> String {
        self.running().addresses().grpc_url()
    }

    /// Address of OTLP over HTTP.
    pub fn otlp(&self, path: &str) -> String {
        format!("{}{path}", self.running().addresses().http_url())
    }

    /// A client that keeps connections.
    pub fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// Status and body of a page.
    pub async fn get(&self, path: &str) -> (u16, String) {
        let answer = self.http.get(self.page(path)).send().await.expect("an answer");
        let status = answer.status().as_u16();
        (status, answer.text().await.expect("a body"))
    }

    /// Status and body of the answer to a body of this content type.
    pub async fn post(&self, url: &str, content_type: &str, body: impl Into<reqwest::Body>) -> (u16, String) {
        let request = self.http.post(url).header("content-type", content_type).body(body);
        let answer = request.send().await.expect("an answer");
        let status = answer.status().as_u16();
        (status, answer.text().await.expect("a body"))
    }

    /// Sends one encoded request over gRPC.
    pub async fn send(&self, signal: Signal, request: Bytes) -> Outcome {
        let channel = load::connect(&self.running().addresses().grpc_url()).expect("an endpoint");
        load::send(&channel, signal, request).await
    }

    /// Waits until `look` finds something.
    pub async fn until<T>(&self, what: &str, look: impl AsyncFn(&Self) -> Option<T>) -> T {
        let found = self.patiently(look).await;
        found.unwrap_or_else(|| panic!("no {what} after {} s", PATIENCE.as_secs()))
    }

    /// Waits until `look` finds something; nothing when it has not for long.
    pub async fn patiently<T>(&self, look: impl AsyncFn(&Self) -> Option<T>) -> Option<T> {
        let waiting = tokio::time::timeout(PATIENCE, async {
            loop {
                if let Some(found) = look(self).await {
                    return found;
                }
                tokio::time::sleep(POLL).await;
            }
        });
        waiting.await.ok()
    }
}

/// The present instant.
pub fn now() -> UnixNanos {
    SystemClock.now()
}

/// A folder of the public data sets, which are not part of this repository; `None`, and a word about it, where they are
/// absent.
pub fn shared_data(folder: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data").join(folder);
    if path.is_dir() {
        return Some(path);
    }
    eprintln!("skipped: the public data set {folder} is not at ../shared/data");
    None
}
