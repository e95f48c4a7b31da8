//! Requests and the answers they wait for: in order ([`Line`]) or by number ([`Table`]).

use std::collections::{BTreeMap, VecDeque};

use domain::UnixNanos;

use super::{Losses, Outcome, Protocol, Request, Role, TraceParent, limits};

/// Where exchanges go.
pub(super) struct Sink<'a> {
    pub protocol: Protocol,
    pub role: Role,
    pub out: &'a mut Vec<Request>,
    pub losses: &'a mut Losses,
}

/// A request as far as it was asked. Its texts hold no values.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    pub operation: String,
    pub target: String,
    pub host: String,
    pub started: UnixNanos,
    pub waits: bool,
    /// Something of the answers was not captured since, and this may have been answered there.
    pub doubtful: bool,
    pub trace: Option<TraceParent>,
}

/// The answer to it.
#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    pub status: String,
    pub failed: bool,
    pub error: String,
}

impl Answer {
    pub fn ok(status: impl Into<String>) -> Self {
        Self { status: status.into(), ..Self::default() }
    }

    pub fn failed(status: impl Into<String>, error: impl Into<String>) -> Self {
        Self { status: status.into(), failed: true, error: error.into() }
    }
}

impl Sink<'_> {
    /// An exchange is complete at `ended`.
    pub fn answered(&mut self, asked: Asked, answer: Answer, ended: UnixNanos) {
        let outcome = if answer.failed { Outcome::Failed } else { Outcome::Ok };
        self.push(asked, answer, outcome, ended);
    }

    /// No answer came until `ended`. Who waits for nothing in particular has not been left without an answer.
    pub fn unanswered(&mut self, asked: Asked, ended: UnixNanos) {
        if asked.doubtful {
            self.losses.unseen += 1;
        } else if !asked.waits {
            self.push(asked, Answer::default(), Outcome::Unanswered, ended);
        }
    }

    /// A message that expects no answer.
    pub fn told(&mut self, asked: Asked) {
        let ended = asked.started;
        self.answered(asked, Answer::default(), ended);
    }

    fn push(&mut self, asked: Asked, answer: Answer, outcome: Outcome, ended: UnixNanos) {
        let nanos = ended.0.saturating_sub(asked.started.0).max(0);
        self.out.push(Request {
            protocol: self.protocol,
            role: self.role,
            operation: bounded(asked.operation, limits::TARGET_BYTES),
            target: bounded(asked.target, limits::TARGET_BYTES),
            host: bounded(asked.host, limits::TARGET_BYTES),
            status: answer.status,
            outcome,
            error: bounded(answer.error, limits::ERROR_BYTES),
            started: asked.started,
            duration: std::time::Duration::from_nanos(nanos.unsigned_abs()),
            waits: asked.waits,
            trace: asked.trace,
        });
    }
}

/// `text` cut to at most `bytes` at a boundary between characters.
pub(super) fn bounded(mut text: String, bytes: usize) -> String {
    if text.len() > bytes {
        text.truncate(text.floor_char_boundary(bytes));
    }
    text
}

fn overdue(asked: &Asked, now: UnixNanos) -> bool {
    asked.started.plus(limits::ANSWER) <= now
}

/// Requests answered in the order in which they were asked.
#[derive(Debug, Default)]
pub(super) struct Line(VecDeque<Asked>);

impl Line {
    pub fn ask(&mut self, asked: Asked, sink: &mut Sink<'_>) {
        if self.0.len() >= limits::PENDING {
            self.0.pop_front();
            sink.losses.evicted += 1;
        }
        self.0.push_back(asked);
    }

    pub fn first(&self) -> Option<&Asked> {
        self.0.front()
    }

    /// The request that an answer is for.
    pub fn take(&mut self, sink: &mut Sink<'_>) -> Option<Asked> {
        let asked = self.0.pop_front();
        if asked.is_none() {
            sink.losses.unmatched += 1;
        }
        asked
    }

    pub fn answer(&mut self, answer: Answer, at: UnixNanos, sink: &mut Sink<'_>) {
        if let Some(asked) = self.take(sink) {
            sink.answered(asked, answer, at);
        }
    }

    /// Answers have gone by unseen, and which is next is not known.
    pub fn forget(&mut self, sink: &mut Sink<'_>) {
        sink.losses.unseen += self.0.len() as u64;
        self.0.clear();
    }

    pub fn tick(&mut self, now: UnixNanos, sink: &mut Sink<'_>) {
        while self.0.front().is_some_and(|asked| overdue(asked, now) && !asked.waits) {
            let asked = self.0.pop_front().unwrap_or_default();
            sink.unanswered(asked, now);
        }
    }

    pub fn close(&mut self, now: UnixNanos, sink: &mut Sink<'_>) {
        for asked in self.0.drain(..) {
            sink.unanswered(asked, now);
        }
    }
}

/// Requests answered by number.
#[derive(Debug)]
pub(super) struct Table<K, V> {
    pending: BTreeMap<K, V>,
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self { pending: BTreeMap::new() }
    }
}

/// What a [`Table`] holds.
pub(super) trait Pending {
    fn asked(&self) -> &Asked;

    fn asked_mut(&mut self) -> &mut Asked;

    fn into_asked(self) -> Asked;

    /// Whether an answer has begun, so that its end may take as long as it takes.
    fn is_begun(&self) -> bool {
        false
    }
}

impl<K: Ord + Clone, V: Pending> Table<K, V> {
    pub fn ask(&mut self, key: K, asked: V, sink: &mut Sink<'_>) {
        if self.pending.len() >= limits::PENDING && !self.pending.contains_key(&key) {
            let oldest = self.pending.iter().min_by_key(|(_, asked)| asked.asked().started);
            if let Some(key) = oldest.map(|(key, _)| key.clone()) {
                self.pending.remove(&key);
                sink.losses.evicted += 1;
            }
        }
        self.pending.insert(key, asked);
    }

    pub fn get(&mut self, key: &K) -> Option<&mut V> {
        self.pending.get_mut(key)
    }

    pub fn has(&self, key: &K) -> bool {
        self.pending.contains_key(key)
    }

    /// Some answers were not captured.
    pub fn doubt(&mut self) {
        for pending in self.pending.values_mut() {
            pending.asked_mut().doubtful = true;
        }
    }

    /// Takes all that `is_wanted`.
    pub fn take_all(&mut self, is_wanted: impl Fn(&V) -> bool) -> Vec<V> {
        let keys: Vec<K> =
            self.pending.iter().filter(|(_, asked)| is_wanted(asked)).map(|(key, _)| key.clone()).collect();
        keys.iter().filter_map(|key| self.pending.remove(key)).collect()
    }

    pub fn take(&mut self, key: &K) -> Option<V> {
        self.pending.remove(key)
    }

    pub fn tick(&mut self, now: UnixNanos, sink: &mut Sink<'_>) {
        for asked in self.take_all(|asked| overdue(asked.asked(), now) && !asked.is_begun()) {
            sink.unanswered(asked.into_asked(), now);
        }
    }

    pub fn close(&mut self, now: UnixNanos, sink: &mut Sink<'_>) {
        for asked in std::mem::take(&mut self.pending).into_values() {
            sink.unanswered(asked.into_asked(), now);
        }
    }
}

impl Pending for Asked {
    fn asked(&self) -> &Asked {
        self
    }

    fn asked_mut(&mut self) -> &mut Asked {
        self
    }

    fn into_asked(self) -> Asked {
        self
    }
}
