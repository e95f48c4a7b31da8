//! The Slack app: `/why`, mentions and buttons, answered from the same reports as the pages.
//!
//! Requests are checked here ([`verify`]), understood ([`command`]), answered in Block Kit ([`blocks`]) through a client
//! that knows Slack's limits ([`client`]). Deliberately absent: a model. An answer is acknowledged at once and complete
//! without one.

pub mod blocks;
pub mod client;
pub mod command;
pub mod verify;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use domain::UnixNanos;

use crate::config;
pub use client::Client;
pub use command::Ask;
pub use verify::{Refused, Verifier};

/// Questions that one person may ask in a minute.
const MAX_QUESTIONS: usize = 10;
const MINUTE: Duration = Duration::from_secs(60);
/// People whose questions are counted; beyond, the count starts anew.
const MAX_PEOPLE: usize = 10_000;
/// Events remembered, so that one that Slack sends again is answered once.
const MAX_EVENTS: usize = 1000;

/// The app. Cheap to clone.
#[derive(Clone)]
pub struct Slack {
    shared: Arc<Shared>,
}

struct Shared {
    verifier: Verifier,
    client: Client,
    users: BTreeMap<String, String>,
    pages_url: String,
    asked: Mutex<BTreeMap<String, VecDeque<UnixNanos>>>,
    events: Mutex<VecDeque<String>>,
}

impl Slack {
    /// From the settings; `pages_url` is where links lead.
    pub fn new(settings: &config::Slack, pages_url: &str) -> anyhow::Result<Self> {
        let users = settings.users.iter().map(|user| (user.id.clone(), user.name.clone())).collect();
        let token = settings.bot_token.as_ref().map(|token| token.expose().to_owned());
        let shared = Shared {
            verifier: Verifier::new(settings.signing_secret.expose()),
            client: Client::new(&settings.api, token, settings.response_hosts.clone())?,
            users,
            pages_url: pages_url.to_owned(),
            asked: Mutex::default(),
            events: Mutex::default(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Whether a request is Slack's, and new.
    pub fn verify(
        &self,
        now: UnixNanos,
        timestamp: &str,
        signature: &str,
        body: &[u8],
    ) -> Result<(), Refused> {
        self.shared.verifier.check(now, timestamp, signature, body)
    }

    /// What posts.
    pub fn client(&self) -> &Client {
        &self.shared.client
    }

    /// Where links lead.
    pub fn pages_url(&self) -> &str {
        &self.shared.pages_url
    }

    /// The name of a person who may change something.
    pub fn person(&self, user_id: &str) -> Option<&str> {
        self.shared.users.get(user_id).map(String::as_str)
    }

    /// Whether a person may ask now; counts the question.
    pub fn may_ask(&self, user_id: &str, now: UnixNanos) -> bool {
        let mut people = self.shared.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if people.len() >= MAX_PEOPLE && !people.contains_key(user_id) {
            people.clear();
        }
        let asked = people.entry(user_id.to_owned()).or_default();
        while asked.front().is_some_and(|at| *at <= now.minus(MINUTE)) {
            asked.pop_front();
        }
        let may = asked.len() < MAX_QUESTIONS;
        if may {
            asked.push_back(now);
        }
        may
    }

    /// Whether an event is new. Slack sends one again when its answer was late.
    pub fn is_new_event(&self, id: &str) -> bool {
        let mut events = self.shared.events.lock().unwrap_or_else(PoisonError::into_inner);
        if events.iter().any(|known| known == id) {
            return false;
        }
        if events.len() == MAX_EVENTS {
            events.pop_front();
        }
        events.push_back(id.to_owned());
        true
    }
}
