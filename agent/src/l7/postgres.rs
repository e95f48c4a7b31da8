//! PostgreSQL, protocol 3: simple and extended queries, prepared statements, errors.
//! <https://www.postgresql.org/docs/current/protocol-message-formats.html>

use std::collections::{BTreeMap, VecDeque};

use domain::UnixNanos;

use super::exchange::{Answer, Asked, Sink};
use super::frames::{Frame, Frames, Measure};
use super::shape::{self, Dialect, Statement};
use super::{Chunk, Protocol, Speaker, State, Transport, limits};

const PROTOCOL_3: u32 = 196_608;
const CANCEL: u32 = 80_877_102;
const TLS: u32 = 80_877_103;
const GSS: u32 = 80_877_104;
const CLIENT_TYPES: &[u8] = b"BCDEFHPQSXcdfp";
const SERVER_TYPES: &[u8] = b"123ACDEGHIKNRSTVWZcdnstv";
/// A name longer than the server's own limit is a value.
const NAME_BYTES: usize = 64;

/// One connection.
#[derive(Debug, Default)]
pub(super) struct Postgres {
    client: Frames,
    server: Frames,
    /// The answer to a question for encryption is a single letter.
    tls_asked: bool,
    /// Ends with each `Sync`: an error skips the rest of it.
    group: u64,
    pending: VecDeque<Pending>,
    statements: BTreeMap<Vec<u8>, Statement>,
    portals: BTreeMap<Vec<u8>, Statement>,
    /// What this group parsed, while it executes nothing.
    parsed: Option<(Statement, UnixNanos)>,
}

#[derive(Debug)]
struct Pending {
    asked: Asked,
    group: u64,
    /// Answered when the server is ready again, not with the end of one command.
    until_ready: bool,
    /// The last of the answer, as far as it was seen.
    last: Option<UnixNanos>,
    error: Option<Answer>,
}

impl Postgres {
    pub fn new(_: Transport) -> Self {
        Self::default()
    }

    pub fn feed(&mut self, speaker: Speaker, chunk: &Chunk<'_>, sink: &mut Sink<'_>) -> Option<State> {
        match speaker {
            Speaker::Client => {
                if chunk.fresh {
                    self.settle(sink);
                }
                self.client.push(chunk, measure_client);
                while let Some(frame) = self.client.next(measure_client) {
                    self.asks(&frame, sink);
                }
                sink.losses.desynchronised += self.client.take_losses();
            }
            Speaker::Server => {
                if let Some(first) = self.pending.front_mut() {
                    first.last = Some(chunk.time);
                }
                let mut chunk = *chunk;
                if std::mem::take(&mut self.tls_asked)
                    && matches!(chunk.head.first(), Some(b'S' | b'N' | b'G'))
                {
                    chunk.head = &chunk.head[1..];
                    chunk.total -= 1;
                }
                self.server.push(&chunk, measure_server);
                while let Some(frame) = self.server.next(measure_server) {
                    self.answers(&frame, chunk.time, sink);
                }
                sink.losses.desynchronised += self.server.take_losses();
            }
        }
        None
    }

    fn asks(&mut self, frame: &Frame, sink: &mut Sink<'_>) {
        let bytes = frame.bytes.as_slice();
        let at = frame.started;
        let body = bytes.get(5..).unwrap_or_default();
        match bytes[0] {
            0 => match number(bytes, 4) {
                Some(TLS | GSS) => self.tls_asked = true,
                Some(PROTOCOL_3) => self.ask(named("CONNECT"), at, true, sink),
                _ => {}
            },
            b'Q' => {
                let whole = frame.whole && body.last() == Some(&0);
                let sql = body.strip_suffix(b"\0").unwrap_or(body);
                self.ask(shape::of_sql(sql, whole, Dialect::Postgres), at, true, sink);
            }
            b'P' => {
                let Some((name, rest)) = text(body) else { return };
                let (sql, whole) = text(rest).map_or((rest, false), |(sql, _)| (sql, true));
                let statement = shape::of_sql(sql, whole, Dialect::Postgres);
                self.parsed = Some((statement.clone(), at));
                remember(&mut self.statements, name, statement);
            }
            b'B' => {
                let Some((portal, rest)) = text(body) else { return };
                let Some((name, _)) = text(rest) else { return };
                let statement = self.statements.get(name).cloned().unwrap_or_else(|| named("EXECUTE"));
                remember(&mut self.portals, portal, statement);
            }
            b'E' => {
                let Some((portal, _)) = text(body) else { return };
                let statement = self.portals.get(portal).cloned().unwrap_or_else(|| named("EXECUTE"));
                // The question began where its parsing did.
                let since = self.parsed.take().map_or(at, |(_, since)| since);
                self.ask(statement, since, false, sink);
            }
            b'C' => {
                if let Some((b"S", rest)) = body.split_at_checked(1)
                    && let Some((name, _)) = text(rest)
                {
                    self.statements.remove(name);
                }
            }
            b'S' => {
                if let Some((statement, since)) = self.parsed.take() {
                    let prepared = Statement { operation: "PREPARE".to_owned(), ..statement };
                    self.ask(prepared, since, true, sink);
                }
                self.group += 1;
            }
            _ => {}
        }
    }

    fn ask(&mut self, statement: Statement, started: UnixNanos, until_ready: bool, sink: &mut Sink<'_>) {
        if self.pending.len() >= limits::PENDING {
            self.pending.pop_front();
            sink.losses.evicted += 1;
        }
        let Statement { operation, shape, trace } = statement;
        let asked = Asked { operation, target: shape, started, trace, ..Asked::default() };
        self.pending.push_back(Pending { asked, group: self.group, until_ready, last: None, error: None });
        self.group += u64::from(until_ready);
    }

    fn answers(&mut self, frame: &Frame, at: UnixNanos, sink: &mut Sink<'_>) {
        match frame.bytes[0] {
            b'C' | b'I' | b's' if self.pending.front().is_some_and(|first| !first.until_ready) => {
                self.finish(at, sink);
            }
            b'E' => {
                let answer = read_error(&frame.bytes, frame.whole);
                let Some(first) = self.pending.front_mut() else {
                    // The server ends the connection of its own accord: its shutdown, an administrator's command.
                    sink.losses.unmatched += 1;
                    return;
                };
                let (group, until_ready) = (first.group, first.until_ready);
                // One that could not connect will not be told that the server is ready.
                let connecting = first.asked.operation == "CONNECT";
                first.error.get_or_insert(answer);
                if !until_ready || connecting {
                    self.finish(at, sink);
                    self.pending.retain(|other| other.group != group);
                }
            }
            b'Z' if self.pending.front().is_some_and(|first| first.until_ready) => self.finish(at, sink),
            _ => {}
        }
    }

    fn finish(&mut self, at: UnixNanos, sink: &mut Sink<'_>) {
        let Some(first) = self.pending.pop_front() else { return };
        sink.answered(first.asked, first.error.unwrap_or_default(), at);
    }

    /// The client speaks again: what the server began to answer is answered, seen or not.
    fn settle(&mut self, sink: &mut Sink<'_>) {
        if let Some(last) = self.pending.front().and_then(|first| first.last) {
            self.finish(last, sink);
            if !self.server.between() {
                sink.losses.unseen += self.pending.len() as u64;
                self.pending.clear();
            }
        }
    }

    pub fn tick(&mut self, now: UnixNanos, sink: &mut Sink<'_>) {
        while let Some(first) = self.pending.front() {
            match first.last {
                Some(last) if last.plus(limits::ANSWER) <= now => self.finish(last, sink),
                None if first.asked.started.plus(limits::ANSWER) <= now => {
                    let Some(first) = self.pending.pop_front() else { return };
                    sink.unanswered(first.asked, now);
                }
                _ => return,
            }
        }
    }

    pub fn close(&mut self, now: UnixNanos, sink: &mut Sink<'_>) {
        self.settle(sink);
        for pending in self.pending.drain(..) {
            match pending.error {
                Some(answer) => sink.answered(pending.asked, answer, pending.last.unwrap_or(now)),
                None => sink.unanswered(pending.asked, now),
            }
        }
    }
}

fn named(operation: &str) -> Statement {
    Statement { operation: operation.to_owned(), ..Statement::default() }
}

fn remember(names: &mut BTreeMap<Vec<u8>, Statement>, name: &[u8], statement: Statement) {
    if name.len() > NAME_BYTES {
        return;
    }
    if names.len() >= limits::NAMES && !names.contains_key(name) {
        names.pop_first();
    }
    names.insert(name.to_vec(), statement);
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// A text that ends with a zero byte, and what follows.
fn text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memchr(0, bytes)?;
    Some((&bytes[..end], &bytes[end + 1..]))
}

fn measure_client(bytes: &[u8]) -> Measure {
    if bytes.first() == Some(&0) {
        let (Some(length), Some(code)) = (number(bytes, 0), number(bytes, 4)) else { return Measure::More };
        let known = matches!(code, PROTOCOL_3 | CANCEL | TLS | GSS);
        return if known && (8..=10_000).contains(&length) {
            Measure::Bytes(length.into())
        } else {
            Measure::Invalid
        };
    }
    measure(bytes, CLIENT_TYPES)
}

fn measure_server(bytes: &[u8]) -> Measure {
    measure(bytes, SERVER_TYPES)
}

/// A letter for the type, and the length of all but it.
fn measure(bytes: &[u8], types: &[u8]) -> Measure {
    if bytes.first().is_some_and(|first| !types.contains(first)) {
        return Measure::Invalid;
    }
    match number(bytes, 1) {
        Some(length @ 4..=0x4000_0000) => Measure::Bytes(u64::from(length) + 1),
        Some(_) => Measure::Invalid,
        None => Measure::More,
    }
}

/// SQLSTATE and message. What a function raises (class P0) may say anything, so only its code is kept.
fn read_error(bytes: &[u8], whole: bool) -> Answer {
    let mut answer = Answer { failed: true, ..Answer::default() };
    let mut rest = bytes.get(5..).unwrap_or_default();
    while let Some((&kind, field)) = rest.split_first() {
        let Some((value, after)) = text(field) else { break };
        match kind {
            b'C' if value.len() == 5 && value.iter().all(u8::is_ascii_alphanumeric) => {
                answer.status = String::from_utf8_lossy(value).to_ascii_uppercase();
            }
            b'M' => answer.error = shape::of_error(value, whole),
            _ => {}
        }
        rest = after;
    }
    if answer.status.starts_with("P0") || answer.status.is_empty() {
        answer.error.clear();
    }
    answer
}

/// A start of a connection; or messages that fill the bytes exactly and hold a statement or an end of one.
pub(super) fn detect(bytes: &[u8], missing: u64) -> Option<(Protocol, Speaker)> {
    if bytes.first() == Some(&0) {
        let total = bytes.len() as u64 + missing;
        let found = matches!(measure_client(bytes), Measure::Bytes(length) if length == total);
        return found.then_some((Protocol::Postgres, Speaker::Client));
    }
    for (speaker, types) in [(Speaker::Client, CLIENT_TYPES), (Speaker::Server, SERVER_TYPES)] {
        if missing == 0 && walk(bytes, types, speaker) {
            return Some((Protocol::Postgres, speaker));
        }
    }
    let cut_query = bytes.first() == Some(&b'Q')
        && matches!(measure_client(bytes), Measure::Bytes(length) if length == bytes.len() as u64 + missing)
        && shape::starts_sql(&bytes[5..]);
    cut_query.then_some((Protocol::Postgres, Speaker::Client))
}

fn walk(mut bytes: &[u8], types: &[u8], speaker: Speaker) -> bool {
    let mut telling = false;
    while !bytes.is_empty() {
        let Measure::Bytes(length) = measure(bytes, types) else { return false };
        let Some((message, rest)) =
            usize::try_from(length).ok().and_then(|length| bytes.split_at_checked(length))
        else {
            return false;
        };
        telling |= match (speaker, message) {
            (Speaker::Client, [b'Q', _, _, _, _, sql @ .., 0]) => shape::starts_sql(sql),
            (Speaker::Client, [b'P', _, _, _, _, rest @ ..]) => {
                text(rest).is_some_and(|(_, sql)| shape::starts_sql(sql))
            }
            (Speaker::Client, [b'S', 0, 0, 0, 4]) => true,
            (Speaker::Server, [b'Z', 0, 0, 0, 5, b'I' | b'T' | b'E']) => true,
            (Speaker::Server, [b'E', ..]) => !read_error(message, true).status.is_empty(),
            _ => false,
        };
        bytes = rest;
    }
    telling
}
