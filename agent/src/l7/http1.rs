//! HTTP/1.0 and 1.1 (RFC 9112).
//!
//! An exchange lasts until the last byte of its answer where that is seen, else until the last byte that was seen of it.

use domain::UnixNanos;
use memchr::memmem;

use super::exchange::{Answer, Asked, Line, Sink};
use super::frames::{Frame, Frames, Measure};
use super::{Chunk, Protocol, Role, Speaker, State, TraceParent, Transport, limits, route};

const METHODS: &[&str] = &[
    "GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "CONNECT", "TRACE", "PROPFIND", "REPORT",
    "PURGE", "MKCOL", "SEARCH",
];

/// One connection.
#[derive(Debug, Default)]
pub(super) struct Http1 {
    client: Side,
    server: Side,
    asked: Line,
    answering: Option<Answering>,
}

#[derive(Debug, Default)]
struct Side {
    frames: Frames,
    body: Body,
}

/// Where in a message the next bytes are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Body {
    /// At its head.
    #[default]
    None,
    /// In a body of chunks that tell their size.
    Chunks,
    /// In the lines behind the last chunk.
    Trailers,
}

#[derive(Debug)]
struct Answering {
    asked: Asked,
    answer: Answer,
    last: UnixNanos,
}

impl Http1 {
    pub fn new(_: Transport) -> Self {
        Self::default()
    }

    pub fn feed(&mut self, speaker: Speaker, chunk: &Chunk<'_>, sink: &mut Sink<'_>) -> Option<State> {
        match speaker {
            Speaker::Client => {
                if chunk.fresh {
                    self.settle(sink);
                }
                let after = self.asks(chunk, sink);
                sink.losses.desynchronised += self.client.frames.take_losses();
                after
            }
            Speaker::Server => {
                let after = self.answers(chunk, sink);
                let lost = self.server.frames.take_losses();
                sink.losses.desynchronised += lost;
                if lost > 0 && self.answering.is_none() {
                    self.asked.forget(sink);
                }
                after
            }
        }
    }

    fn asks(&mut self, chunk: &Chunk<'_>, sink: &mut Sink<'_>) -> Option<State> {
        self.client.push(chunk, measure_request);
        loop {
            let was = self.client.body;
            let Some(frame) = self.client.next(measure_request) else { break };
            if was != Body::None {
                continue;
            }
            let Some(head) = Head::read(&frame.bytes) else { continue };
            let Some(asked) = read_request(&frame, &head) else { continue };
            self.asked.ask(asked, sink);
            if frame.whole && (head.chunked || head.length.is_some()) {
                self.client.step_into_body(&head);
            }
        }
        None
    }

    fn answers(&mut self, chunk: &Chunk<'_>, sink: &mut Sink<'_>) -> Option<State> {
        if let Some(answering) = &mut self.answering {
            answering.last = chunk.time;
        }
        self.server.push(chunk, measure_answer);
        loop {
            let was = self.server.body;
            let Some(frame) = self.server.next(measure_answer) else { break };
            if was != Body::None {
                continue;
            }
            let Some(head) = Head::read(&frame.bytes).filter(|head| head.status.is_some()) else { continue };
            let status = head.status.unwrap_or_default();
            if status / 100 == 1 && status != 101 {
                continue;
            }
            self.settle(sink);
            let asked = self.asked.take(sink);
            let connected =
                asked.as_ref().is_some_and(|asked| asked.operation == "CONNECT") && status / 100 == 2;
            let switched = status == 101 || connected;
            // An answer to HEAD tells the length of a body that it does not have.
            let to_head = asked.as_ref().is_some_and(|asked| asked.operation == "HEAD");
            if !to_head && status != 204 && status != 304 && !switched && frame.whole {
                self.server.step_into_body(&head);
            }
            if let Some(asked) = asked {
                let failed = status >= if sink.role == Role::Client { 400 } else { 500 };
                let answer = Answer { status: status.to_string(), failed, error: String::new() };
                self.answering = Some(Answering { asked, answer, last: chunk.time });
            }
            if switched {
                self.settle(sink);
                return Some(State::Unknown);
            }
            if self.server.is_between() {
                self.settle(sink);
            }
        }
        if self.server.is_between() {
            self.settle(sink);
        }
        None
    }

    /// The answer at hand is complete.
    fn settle(&mut self, sink: &mut Sink<'_>) {
        if let Some(Answering { asked, answer, last }) = self.answering.take() {
            sink.answered(asked, answer, last);
        }
    }

    pub fn tick(&mut self, now: UnixNanos, sink: &mut Sink<'_>) {
        let silent = |answering: &Answering| {
            answering.last.plus(limits::SILENCE) <= now || answering.asked.started.plus(limits::ANSWER) <= now
        };
        if self.answering.as_ref().is_some_and(silent) {
            self.settle(sink);
        }
        self.asked.tick(now, sink);
    }

    pub fn close(&mut self, now: UnixNanos, sink: &mut Sink<'_>) {
        self.settle(sink);
        self.asked.close(now, sink);
    }
}

impl Side {
    fn push(&mut self, chunk: &Chunk<'_>, head: impl Fn(&[u8]) -> Measure) {
        let inside = self.body != Body::None;
        if inside && chunk.fresh && matches!(head(chunk.head), Measure::Bytes(_) | Measure::Open) {
            self.body = Body::None;
            self.frames = Frames::default();
        }
        self.frames.push(chunk, head);
        if self.frames.is_lost() {
            self.body = Body::None;
        }
    }

    /// What follows is the body that `head` announces; one without a length lasts as long as the connection.
    fn step_into_body(&mut self, head: &Head<'_>) {
        match head.length {
            _ if head.chunked => self.body = Body::Chunks,
            Some(length) => self.frames.step_over(length),
            None => self.frames.skip_all(),
        }
    }

    fn is_between(&self) -> bool {
        self.body == Body::None && (self.frames.between() || self.frames.is_lost())
    }

    /// The next head, or the next part of a body in chunks.
    fn next(&mut self, head: impl Fn(&[u8]) -> Measure) -> Option<Frame> {
        let frame = match self.body {
            Body::None => self.frames.next(head),
            Body::Chunks => self.frames.next(measure_chunk),
            Body::Trailers => self.frames.next(measure_line),
        };
        match (&frame, self.body) {
            (Some(frame), Body::Chunks)
                if frame.bytes.starts_with(b"0") && chunk_size(&frame.bytes) == Some(0) =>
            {
                self.body = Body::Trailers;
            }
            (Some(frame), Body::Trailers) if frame.bytes == b"\r\n" => self.body = Body::None,
            _ if self.frames.is_lost() => self.body = Body::None,
            _ => {}
        }
        frame
    }
}

/// A chunk: its size in hexadecimal and a line end, the data, a line end. The last has size 0 and only its line.
fn measure_chunk(bytes: &[u8]) -> Measure {
    let Some(line) = memmem::find(bytes, b"\r\n") else {
        return if bytes.len() > 256 { Measure::Invalid } else { Measure::More };
    };
    match chunk_size(bytes) {
        Some(0) => Measure::Bytes(line as u64 + 2),
        Some(size) => Measure::Bytes((line as u64 + 4).saturating_add(size)),
        None => Measure::Invalid,
    }
}

fn chunk_size(bytes: &[u8]) -> Option<u64> {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let digits = std::str::from_utf8(&bytes[..digits]).ok()?;
    u64::from_str_radix(digits, 16).ok()
}

fn measure_line(bytes: &[u8]) -> Measure {
    memmem::find(bytes, b"\r\n").map_or(Measure::More, |at| Measure::Bytes(at as u64 + 2))
}

/// Whether these bytes start a request, and how long it is.
fn measure_request(bytes: &[u8]) -> Measure {
    if !starts_request(bytes) {
        let short = bytes.len() < 8;
        let may_be = METHODS.iter().any(|method| method.as_bytes().starts_with(bytes));
        return if short && may_be { Measure::More } else { Measure::Invalid };
    }
    measure_head(bytes)
}

fn measure_answer(bytes: &[u8]) -> Measure {
    const START: &[u8] = b"HTTP/1.";
    if bytes.len() < 12 {
        let may_be = START.starts_with(&bytes[..bytes.len().min(START.len())])
            || (bytes.len() > START.len() && bytes.starts_with(START));
        return if may_be { Measure::More } else { Measure::Invalid };
    }
    if starts_answer(bytes) { measure_head(bytes) } else { Measure::Invalid }
}

/// Only the head: a body is stepped over.
fn measure_head(bytes: &[u8]) -> Measure {
    memmem::find(bytes, b"\r\n\r\n").map_or(Measure::Open, |end| Measure::Bytes(end as u64 + 4))
}

/// Whether these bytes start a request: a method, a space, and what can be a target.
pub(super) fn starts_request(bytes: &[u8]) -> bool {
    let Some(space) = bytes.iter().take(12).position(|byte| *byte == b' ') else { return false };
    let known = METHODS.iter().any(|method| method.as_bytes() == &bytes[..space]);
    let line = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes, |end| &bytes[..end]);
    let versioned = line.len() == bytes.len() || memmem::find(line, b" HTTP/1.").is_some();
    let target = bytes.get(space + 1).copied();
    let connect = &bytes[..space] == b"CONNECT";
    let aimed = target.is_some_and(|byte| {
        matches!(byte, b'/' | b'*' | b'h') || (connect && (byte.is_ascii_alphanumeric() || byte == b'['))
    });
    known && versioned && aimed
}

/// Whether these bytes start an answer.
pub(super) fn starts_answer(bytes: &[u8]) -> bool {
    read_status(bytes).is_some()
}

fn read_status(line: &[u8]) -> Option<u16> {
    let rest = line.strip_prefix(b"HTTP/1.")?;
    let [b'0' | b'1', b' ', code @ ..] = rest else { return None };
    let code = std::str::from_utf8(code.get(..3)?).ok()?;
    let end = rest.get(5).copied().unwrap_or(b' ');
    let code: u16 = code.parse().ok()?;
    ((100..600).contains(&code) && matches!(end, b' ' | b'\r' | b'\n')).then_some(code)
}

fn read_request(frame: &Frame, head: &Head<'_>) -> Option<Asked> {
    let mut words = head.line.split(|byte| *byte == b' ');
    let method = words.next()?;
    let path = words.next()?;
    let operation = METHODS.iter().find(|name| name.as_bytes() == method)?;
    let target = if *operation == "CONNECT" { String::new() } else { route::of_path(path) };
    // A path that was cut may end in half an id that looks like a word.
    let target = if words.next().is_none() && !frame.whole { cut_last(target) } else { target };
    Some(Asked {
        operation: (*operation).to_owned(),
        target,
        host: head.host.clone(),
        started: frame.started,
        trace: head.trace,
        ..Asked::default()
    })
}

fn cut_last(mut target: String) -> String {
    target.truncate(target.rfind('/').map_or(0, |at| at + 1));
    target.push('…');
    target
}

/// What matters of a head.
#[derive(Debug, Default)]
struct Head<'a> {
    line: &'a [u8],
    status: Option<u16>,
    length: Option<u64>,
    chunked: bool,
    host: String,
    trace: Option<TraceParent>,
}

impl<'a> Head<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut lines = bytes.split_inclusive(|byte| *byte == b'\n');
        let line = lines.next()?.trim_ascii_end();
        let mut head = Self { line, status: read_status(line), ..Self::default() };
        for line in lines {
            // A line without its end was cut, and its value with it.
            let Some(line) = line.strip_suffix(b"\n") else { break };
            let line = line.trim_ascii_end();
            if line.is_empty() {
                break;
            }
            let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
            let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
            if name.eq_ignore_ascii_case(b"content-length") {
                head.length = std::str::from_utf8(value).ok().and_then(|value| value.parse().ok());
            } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
                head.chunked = value.to_ascii_lowercase().ends_with(b"chunked");
            } else if name.eq_ignore_ascii_case(b"host") {
                head.host = route::host(value);
            } else if name.eq_ignore_ascii_case(b"traceparent") {
                head.trace = TraceParent::parse(value);
            }
        }
        Some(head)
    }
}

/// The protocol and who speaks, of bytes that start a message.
pub(super) fn detect(bytes: &[u8]) -> Option<(Protocol, Speaker)> {
    if starts_request(bytes) {
        Some((Protocol::Http1, Speaker::Client))
    } else if starts_answer(bytes) {
        Some((Protocol::Http1, Speaker::Server))
    } else {
        None
    }
}
