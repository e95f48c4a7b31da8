//! The acquirer: someone else's service, which authorises payments and sends no telemetry at all.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::random::Random;

/// How the acquirer behaves, shared with whoever may slow it down.
pub(crate) struct Acquirer {
    slow: AtomicBool,
    random: Mutex<Random>,
}

impl Acquirer {
    pub fn new(random: Random) -> Arc<Self> {
        Arc::new(Self { slow: AtomicBool::new(false), random: Mutex::new(random) })
    }

    pub fn become_slow(&self) {
        self.slow.store(true, Ordering::Relaxed);
    }

    pub fn router(self: &Arc<Self>) -> Router {
        Router::new().route("/authorizations", post(authorize)).with_state(Arc::clone(self))
    }

    /// How long the next answer takes, and its number.
    fn draw(&self) -> (Duration, u64) {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        let (low, high) = if self.slow.load(Ordering::Relaxed) { (1_500, 3_000) } else { (12, 30) };
        (Duration::from_millis(random.between(low, high)), random.next())
    }
}

async fn authorize(State(acquirer): State<Arc<Acquirer>>, Json(_): Json<Value>) -> Json<Value> {
    let (delay, number) = acquirer.draw();
    tokio::time::sleep(delay).await;
    Json(json!({ "authorization": format!("{number:016x}") }))
}
