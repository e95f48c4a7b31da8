//! Conversations in, exchanges out.

mod fixtures;
mod http1;

use std::fmt::Write as _;

use domain::UnixNanos;

use super::{Conversation, Data, Direction, Request, Role, State, Transport};

/// One step of a conversation.
pub(super) struct Step {
    direction: Direction,
    millis: i64,
    bytes: Vec<u8>,
    captured: usize,
}

/// Written at `millis`.
pub(super) fn out(millis: i64, bytes: impl AsRef<[u8]>) -> Step {
    let bytes = bytes.as_ref().to_vec();
    Step { direction: Direction::Out, millis, captured: bytes.len(), bytes }
}

/// Read at `millis`.
pub(super) fn read(millis: i64, bytes: impl AsRef<[u8]>) -> Step {
    Step { direction: Direction::In, ..out(millis, bytes) }
}

impl Step {
    /// Only the first `captured` bytes are seen.
    pub(super) fn cut(self, captured: usize) -> Self {
        Self { captured, ..self }
    }
}

/// What a conversation over TCP yields, one line each, and its last words.
pub(super) fn run(steps: &[Step]) -> String {
    let mut conversation = Conversation::new(Transport::Tcp, None);
    let mut out = Vec::new();
    let mut last = UnixNanos(0);
    for step in steps {
        last = UnixNanos::from_millis(step.millis);
        let head = &step.bytes[..step.captured.min(step.bytes.len())];
        let data = Data { direction: step.direction, time: last, head, total: step.bytes.len() as u64 };
        conversation.feed(&data, &mut out);
    }
    let open = out.len();
    conversation.close(last.plus(std::time::Duration::from_secs(1)), &mut out);
    let mut text = String::new();
    for (index, request) in out.iter().enumerate() {
        if index == open {
            text.push_str("-- closed\n");
        }
        text.push_str(&line(request));
        text.push('\n');
    }
    let losses = conversation.losses();
    if losses != super::Losses::default() {
        let _ = writeln!(text, "{losses:?}");
    }
    if !matches!(conversation.state(), State::Speaks(_)) {
        let _ = writeln!(text, "{:?}", conversation.state());
    }
    text
}

/// An exchange on a line: who, what, how it ended.
pub(super) fn line(request: &Request) -> String {
    let part = match request.role {
        Role::Client => "->",
        Role::Server => "<-",
    };
    let mut text = format!(
        "{part} {} {} {} | {:?} {} {}ms",
        request.protocol.name(),
        request.operation,
        request.target,
        request.outcome,
        request.status,
        request.duration.as_millis()
    );
    if !request.host.is_empty() {
        let _ = write!(text, " @{}", request.host);
    }
    if !request.error.is_empty() {
        let _ = write!(text, " {:?}", request.error);
    }
    if request.waits {
        text.push_str(" waits");
    }
    if let Some(trace) = request.trace {
        let _ = write!(text, " in {:x}/{:x}", trace.trace_id, trace.span_id);
    }
    text
}

pub(super) fn check(steps: &[Step], expected: &str) {
    let expected: String = expected.lines().map(|line| format!("{}\n", line.trim())).collect();
    let expected = expected.trim_start_matches('\n').trim_end().to_owned();
    assert_eq!(run(steps).trim_end(), expected);
}
