//! MySQL and MariaDB: queries, prepared statements, errors. The compressed protocol is not read.
//! <https://mariadb.com/kb/en/clientserver-protocol/>
//!
//! One command is under way at a time, so an answer lasts until the client speaks again.

use std::collections::BTreeMap;

use domain::UnixNanos;

use super::exchange::{Answer, Asked, Sink};
use super::frames::{Frame, Frames, Measure};
use super::shape::{self, Dialect, Statement};
use super::{Chunk, Protocol, Speaker, State, Transport, limits};

const HEADER: usize = 4;
const QUERY: u8 = 0x03;
const PREPARE: u8 = 0x16;
const EXECUTE: u8 = 0x17;

/// One connection.
#[derive(Debug, Default)]
pub(super) struct Mysql {
    client: Frames,
    server: Frames,
    /// Between the server's greeting and its word that the client may come in.
    login: bool,
    pending: Option<Pending>,
    statements: BTreeMap<u32, Statement>,
}

#[derive(Debug)]
struct Pending {
    asked: Asked,
    /// What to remember under the number that the server gives it.
    preparing: Option<Statement>,
    /// The answer as far as it was seen, and when its last byte was.
    answer: Option<(Answer, UnixNanos)>,
}

impl Mysql {
    pub fn new(_: Transport) -> Self {
        Self::default()
    }

    pub fn feed(&mut self, speaker: Speaker, chunk: &Chunk<'_>, sink: &mut Sink<'_>) -> Option<State> {
        match speaker {
            Speaker::Client => {
                if chunk.fresh {
                    self.settle(sink);
                }
                let (login, lost) = (self.login, self.client.is_lost());
                let measure = move |bytes: &[u8]| measure_client(bytes, login, lost);
                self.client.push(chunk, measure);
                while let Some(frame) = self.client.next(measure) {
                    self.asks(&frame, sink);
                }
                sink.losses.desynchronised += self.client.take_losses();
            }
            Speaker::Server => {
                let first = chunk.fresh || self.server.is_lost();
                let login = self.login;
                let measure = move |bytes: &[u8]| measure_server(bytes, first && !login);
                self.server.push(chunk, measure);
                let mut opening = first;
                while let Some(frame) = self.server.next(|bytes| measure_server(bytes, opening && !login)) {
                    opening = false;
                    self.answers(&frame, chunk.time, sink);
                }
                sink.losses.desynchronised += self.server.take_losses();
                if let Some(Pending { answer: Some((_, last)), .. }) = &mut self.pending {
                    *last = chunk.time;
                }
            }
        }
        None
    }

    fn asks(&mut self, frame: &Frame, sink: &mut Sink<'_>) {
        let Some((&command, body)) = frame.bytes.get(HEADER..).and_then(<[u8]>::split_first) else { return };
        let (sequence, started) = (frame.bytes[3], frame.started);
        if self.login {
            // Credentials: not looked at.
            if self.pending.is_none() {
                self.ask(named("CONNECT"), None, started, sink);
            }
            return;
        }
        if sequence != 0 {
            return;
        }
        match command {
            QUERY => {
                self.ask(shape::of_sql(query_text(body), frame.whole, Dialect::Mysql), None, started, sink);
            }
            PREPARE => {
                let statement = shape::of_sql(body, frame.whole, Dialect::Mysql);
                let prepare = Statement { operation: "PREPARE".to_owned(), ..statement.clone() };
                self.ask(prepare, Some(statement), started, sink);
            }
            EXECUTE => {
                let statement = number(body).and_then(|id| self.statements.get(&id)).cloned();
                self.ask(statement.unwrap_or_else(|| named("EXECUTE")), None, started, sink);
            }
            0x19 => {
                if let Some(id) = number(body) {
                    self.statements.remove(&id);
                }
            }
            _ => {
                if let Some(name) = command_name(command) {
                    self.ask(named(name), None, started, sink);
                }
            }
        }
    }

    fn ask(&mut self, is: Statement, preparing: Option<Statement>, started: UnixNanos, sink: &mut Sink<'_>) {
        if let Some(before) = self.pending.take() {
            sink.losses.unseen += 1;
            drop(before);
        }
        let Statement { operation, shape, trace } = is;
        let asked = Asked { operation, target: shape, started, trace, ..Asked::default() };
        self.pending = Some(Pending { asked, preparing, answer: None });
    }

    fn answers(&mut self, frame: &Frame, at: UnixNanos, sink: &mut Sink<'_>) {
        let Some(body) = frame.bytes.get(HEADER..) else { return };
        let sequence = frame.bytes[3];
        if is_greeting(&frame.bytes) {
            self.login = true;
            return;
        }
        if sequence == 0 && body.first() == Some(&0xff) && self.pending.is_none() {
            // Refused at the door: too many connections, a blocked host.
            let asked = Asked { operation: "CONNECT".to_owned(), started: at, ..Asked::default() };
            sink.answered(asked, read_error(body, frame.whole), at);
            return;
        }
        let Some(pending) = &mut self.pending else { return };
        let first = pending.answer.is_none();
        match body.first() {
            Some(0xff) => pending.answer = Some((read_error(body, frame.whole), at)),
            // More of the handshake: another method, a key.
            Some(0xfe | 0x01) if self.login => return,
            Some(0) if first => {
                if let (Some(statement), Some(id)) = (pending.preparing.take(), number(&body[1..])) {
                    if self.statements.len() >= limits::NAMES {
                        self.statements.pop_first();
                    }
                    self.statements.insert(id, statement);
                    pending.answer = Some((Answer::default(), at));
                    return;
                }
                pending.answer = Some((Answer::default(), at));
            }
            _ if first => {
                pending.answer = Some((Answer::default(), at));
                return;
            }
            _ => return,
        }
        self.login = false;
        self.settle(sink);
    }

    fn settle(&mut self, sink: &mut Sink<'_>) {
        if self.pending.as_ref().is_some_and(|pending| pending.answer.is_some())
            && let Some(Pending { asked, answer: Some((answer, last)), .. }) = self.pending.take()
        {
            sink.answered(asked, answer, last);
        }
    }

    pub fn tick(&mut self, now: UnixNanos, sink: &mut Sink<'_>) {
        let Some(pending) = &self.pending else { return };
        match &pending.answer {
            Some((_, last)) if last.plus(limits::SILENCE) <= now => self.settle(sink),
            None if pending.asked.started.plus(limits::ANSWER) <= now => self.close(now, sink),
            _ => {}
        }
    }

    pub fn close(&mut self, now: UnixNanos, sink: &mut Sink<'_>) {
        self.settle(sink);
        if let Some(pending) = self.pending.take() {
            sink.unanswered(pending.asked, now);
        }
    }
}

fn named(operation: &str) -> Statement {
    Statement { operation: operation.to_owned(), ..Statement::default() }
}

/// Commands beside queries that are answered.
const fn command_name(command: u8) -> Option<&'static str> {
    Some(match command {
        0x02 => "USE",
        0x04 => "FIELDS",
        0x09 => "STATISTICS",
        0x0e => "PING",
        0x11 => "CONNECT",
        0x1a | 0x1f => "RESET",
        0x1b => "SET",
        0x1c => "FETCH",
        _ => return None,
    })
}

/// The statement of a query. With query attributes (MySQL 8), two counts stand before it; without parameters they are 0 and 1.
fn query_text(body: &[u8]) -> &[u8] {
    body.strip_prefix(&[0, 1]).unwrap_or(body)
}

fn number(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?))
}

fn length(bytes: &[u8]) -> Option<u64> {
    let [low, middle, high, _, ..] = bytes else { return None };
    Some(u64::from(*low) | u64::from(*middle) << 8 | u64::from(*high) << 16)
}

fn measure_client(bytes: &[u8], login: bool, strict: bool) -> Measure {
    let Some(length) = length(bytes) else { return Measure::More };
    let Some(command) = bytes.get(HEADER) else {
        // A header that was read on its own.
        return if bytes[3] == 0 || !strict { Measure::More } else { Measure::Invalid };
    };
    let known = matches!(*command, 0x01..=0x1f | 0xfa | 0xfe) && bytes[3] == 0 && length > 0;
    if known || login || (!strict && bytes[3] > 0) { Measure::Bytes(length + 4) } else { Measure::Invalid }
}

/// The first packet of an answer has number 1.
fn measure_server(bytes: &[u8], first: bool) -> Measure {
    match length(bytes) {
        None => Measure::More,
        Some(_) if first && bytes[3] > 1 => Measure::Invalid,
        Some(length) => Measure::Bytes(length + 4),
    }
}

/// Code and message. What a procedure signals (45000) may say anything, so only its code is kept.
fn read_error(body: &[u8], whole: bool) -> Answer {
    let Some(code) = body.get(1..3) else { return Answer::failed("", "") };
    let code = u16::from_le_bytes([code[0], code[1]]);
    let text = body.get(3..).unwrap_or_default();
    let (state, text) = match text.split_first() {
        Some((b'#', rest)) if rest.len() >= 5 => rest.split_at(5),
        _ => (&b""[..], text),
    };
    let raised = state == b"45000" || code == 1644;
    let error = if raised { String::new() } else { shape::of_error(text, whole) };
    Answer::failed(code.to_string(), error)
}

/// Protocol version 10, and the version of the server as text.
fn is_greeting(bytes: &[u8]) -> bool {
    let [_, _, _, 0, 10, version @ ..] = bytes else { return false };
    let end = memchr::memchr(0, version).unwrap_or(0);
    end >= 3 && version[0].is_ascii_digit() && version[..end].iter().all(u8::is_ascii_graphic)
}

/// A greeting, or a query that fills the bytes exactly.
pub(super) fn detect(bytes: &[u8], missing: u64) -> Option<(Protocol, Speaker)> {
    let total = length(bytes)? + 4;
    if total != bytes.len() as u64 + missing {
        return None;
    }
    if is_greeting(bytes) {
        return Some((Protocol::Mysql, Speaker::Server));
    }
    let [_, _, _, 0, QUERY | PREPARE, text @ ..] = bytes else { return None };
    shape::starts_sql(query_text(text)).then_some((Protocol::Mysql, Speaker::Client))
}
