//! HTTP/2 (RFC 9113) and gRPC over it.
//!
//! Joined midway, what earlier header blocks put into the compression table is unknown: such a request lacks its route or status.

use domain::UnixNanos;

use super::exchange::{Answer, Asked, Pending, Sink, Table};
use super::frames::{Frame, Frames, Measure};
use super::hpack::{Field, Hpack};
use super::{Chunk, Protocol, Role, Speaker, State, TraceParent, Transport, limits, route};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADER: usize = 9;
/// What nearly all implementations are content with; RFC 9113, 4.2 allows 2^24 - 1.
const FRAME_BYTES: u64 = 1 << 20;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const CONTINUATION: u8 = 9;
const LAST_TYPE: u8 = 0x10;

const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// One connection.
#[derive(Debug, Default)]
pub(super) struct Http2 {
    client: Way,
    server: Way,
    streams: Table<u32, Stream>,
}

#[derive(Debug, Default)]
struct Way {
    frames: Frames,
    hpack: Hpack,
    /// A header block that goes on in the next frame.
    block: Option<Block>,
}

#[derive(Debug)]
struct Block {
    stream: u32,
    bytes: Vec<u8>,
    ends: bool,
    whole: bool,
    started: UnixNanos,
}

#[derive(Debug, Default)]
struct Stream {
    asked: Asked,
    grpc: bool,
    status: Option<u16>,
    grpc_status: Option<u16>,
    begun: bool,
}

impl Pending for Stream {
    fn asked(&self) -> &Asked {
        &self.asked
    }

    fn asked_mut(&mut self) -> &mut Asked {
        &mut self.asked
    }

    fn into_asked(self) -> Asked {
        self.asked
    }

    fn is_begun(&self) -> bool {
        self.begun
    }
}

impl Http2 {
    pub fn new(_: Transport) -> Self {
        Self::default()
    }

    pub fn feed(&mut self, speaker: Speaker, chunk: &Chunk<'_>, sink: &mut Sink<'_>) -> Option<State> {
        // Streams overlap: a turn says nothing of where a frame starts.
        let chunk = Chunk { fresh: false, ..*chunk };
        let way = if speaker == Speaker::Client { &mut self.client } else { &mut self.server };
        way.frames.push(&chunk, measure);
        let mut blocks = Vec::new();
        while let Some(frame) = way.frames.next(measure) {
            way.read(&frame, &mut blocks);
        }
        let lost = way.frames.take_losses();
        if lost > 0 {
            way.block = None;
            way.hpack.forget();
        }
        sink.losses.desynchronised += lost;
        for event in blocks {
            self.event(speaker, event, chunk.time, sink);
        }
        if lost > 0 && speaker == Speaker::Server {
            self.settle(chunk.time, sink);
            self.streams.doubt();
        }
        None
    }

    fn event(&mut self, speaker: Speaker, event: Event, at: UnixNanos, sink: &mut Sink<'_>) {
        match (speaker, event) {
            (Speaker::Client, Event::Fields { stream, fields, started, .. }) => {
                // The second block of a stream is its trailers.
                if !self.streams.has(&stream)
                    && let Some(request) = read_request(&fields, started)
                {
                    self.streams.ask(stream, request, sink);
                }
            }
            (Speaker::Server, Event::Fields { stream, fields, ends, .. }) => {
                if let Some(pending) = self.streams.get(&stream) {
                    pending.begun = true;
                    read_answer(pending, &fields);
                } else if ends {
                    sink.losses.unmatched += 1;
                }
                if ends {
                    self.finish(stream, at, sink);
                }
            }
            (Speaker::Server, Event::End { stream }) => self.finish(stream, at, sink),
            (Speaker::Client, Event::End { .. }) => {}
            (speaker, Event::Reset { stream, code }) => {
                let Some(pending) = self.streams.take(&stream) else { return };
                mark(&pending, sink);
                match speaker {
                    // The client has lost patience, or is content with what it has.
                    Speaker::Client if pending.grpc || !pending.begun => sink.unanswered(pending.asked, at),
                    Speaker::Client => sink.answered(pending.asked, Answer::default(), at),
                    // No error: the answer is complete, the rest of the question is not wanted.
                    Speaker::Server if code == 0 && pending.begun => {
                        let answer = answer_of(&pending, sink.role);
                        sink.answered(pending.asked, answer, at);
                    }
                    Speaker::Server => {
                        sink.answered(pending.asked, Answer::failed(format!("RST_STREAM {code}"), ""), at);
                    }
                }
            }
        }
    }

    /// Answers that have begun will not be seen to end.
    fn settle(&mut self, at: UnixNanos, sink: &mut Sink<'_>) {
        for pending in self.streams.take_all(|stream| stream.begun) {
            mark(&pending, sink);
            let answer = answer_of(&pending, sink.role);
            sink.answered(pending.asked, answer, at);
        }
    }

    fn finish(&mut self, stream: u32, at: UnixNanos, sink: &mut Sink<'_>) {
        if let Some(pending) = self.streams.take(&stream) {
            mark(&pending, sink);
            let answer = answer_of(&pending, sink.role);
            sink.answered(pending.asked, answer, at);
        }
    }

    pub fn tick(&mut self, now: UnixNanos, sink: &mut Sink<'_>) {
        self.streams.tick(now, sink);
    }

    pub fn close(&mut self, now: UnixNanos, sink: &mut Sink<'_>) {
        self.settle(now, sink);
        self.streams.close(now, sink);
    }
}

/// The language of an exchange is known with its first headers, that of the connection before.
fn mark(stream: &Stream, sink: &mut Sink<'_>) {
    sink.protocol = if stream.grpc { Protocol::Grpc } else { Protocol::Http2 };
}

enum Event {
    Fields { stream: u32, fields: Vec<Field>, ends: bool, started: UnixNanos },
    End { stream: u32 },
    Reset { stream: u32, code: u32 },
}

impl Way {
    fn read(&mut self, frame: &Frame, events: &mut Vec<Event>) {
        let bytes = frame.bytes.as_slice();
        if bytes.len() < HEADER || bytes.starts_with(PREFACE) {
            return;
        }
        let (kind, flags, stream) = (bytes[3], bytes[4], stream_of(bytes));
        let mut payload = &bytes[HEADER..];
        let mut whole = frame.whole;
        match kind {
            DATA if flags & END_STREAM != 0 => events.push(Event::End { stream }),
            HEADERS => {
                let padding = if flags & PADDED != 0 { payload.first().copied() } else { Some(0) };
                let skipped = usize::from(flags & PADDED != 0) + if flags & PRIORITY != 0 { 5 } else { 0 };
                payload = payload.get(skipped..).unwrap_or_default();
                match padding.map(usize::from) {
                    Some(padding) if whole && padding <= payload.len() => {
                        payload = &payload[..payload.len() - padding];
                    }
                    Some(0) => {}
                    _ => whole = false,
                }
                self.block = Some(Block {
                    stream,
                    bytes: payload.to_vec(),
                    ends: flags & END_STREAM != 0,
                    whole,
                    started: frame.started,
                });
            }
            CONTINUATION => match &mut self.block {
                Some(block) if block.stream == stream => {
                    let room = limits::MESSAGE_BYTES.saturating_sub(block.bytes.len());
                    // What follows a gap cannot be read.
                    let kept = if block.whole { payload.len().min(room) } else { 0 };
                    block.bytes.extend_from_slice(&payload[..kept]);
                    block.whole &= whole && kept == payload.len();
                }
                _ => self.hpack.forget(),
            },
            RST_STREAM => {
                let code = payload
                    .get(..4)
                    .map_or(0, |code| u32::from_be_bytes([code[0], code[1], code[2], code[3]]));
                events.push(Event::Reset { stream, code });
            }
            _ => {}
        }
        if matches!(kind, HEADERS | CONTINUATION)
            && flags & END_HEADERS != 0
            && let Some(Block { stream, bytes, ends, whole, started }) = self.block.take()
        {
            let fields = self.hpack.decode(&bytes, whole);
            events.push(Event::Fields { stream, fields, ends, started });
        }
    }
}

fn stream_of(bytes: &[u8]) -> u32 {
    u32::from_be_bytes([bytes[5], bytes[6], bytes[7], bytes[8]]) & 0x7fff_ffff
}

fn read_request(fields: &[Field], started: UnixNanos) -> Option<Stream> {
    let value =
        |name: &str| fields.iter().find(|field| field.is(name)).and_then(|field| field.value.as_deref());
    let method = value(":method").and_then(|method| METHODS.iter().find(|known| known.as_bytes() == method));
    let grpc = value("content-type").is_some_and(|kind| kind.starts_with(b"application/grpc"));
    let asked = Asked {
        operation: (*method?).to_owned(),
        target: value(":path")
            .map(|path| rpc(path).filter(|_| grpc).unwrap_or_else(|| route::of_path(path)))?,
        host: value(":authority").map(route::host).unwrap_or_default(),
        started,
        trace: value("traceparent").and_then(TraceParent::parse),
        ..Asked::default()
    };
    Some(Stream { asked, grpc, ..Stream::default() })
}

/// `/package.Service/Method`, whose names may have digits.
fn rpc(path: &[u8]) -> Option<String> {
    let path = std::str::from_utf8(path).ok()?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'/');
    let sound = path.len() <= 200 && path.bytes().all(plain) && path.matches('/').count() == 2;
    sound.then(|| path.to_owned())
}

fn read_answer(stream: &mut Stream, fields: &[Field]) {
    let number = |field: &Field| -> Option<u16> {
        std::str::from_utf8(field.value.as_deref()?).ok()?.parse().ok().filter(|code| *code < 1000)
    };
    for field in fields {
        if field.is(":status") {
            // An informational answer precedes the one that counts.
            stream.status = number(field).filter(|status| *status >= 200);
        } else if field.is("grpc-status") {
            stream.grpc_status = number(field);
        } else if field.is("content-type") {
            stream.grpc |= field.value.as_deref().is_some_and(|kind| kind.starts_with(b"application/grpc"));
        }
    }
}

fn answer_of(stream: &Stream, role: Role) -> Answer {
    if let (true, Some(code)) = (stream.grpc, stream.grpc_status) {
        // As OpenTelemetry counts them: what the client did wrong is no failure of the server.
        let failed = if role == Role::Client { code != 0 } else { matches!(code, 2 | 4 | 12 | 13 | 14 | 15) };
        return Answer { status: code.to_string(), failed, error: String::new() };
    }
    let Some(status) = stream.status else { return Answer::default() };
    let failed = status >= if role == Role::Client { 400 } else { 500 };
    let status = if stream.grpc && !failed { String::new() } else { status.to_string() };
    Answer { status, failed, error: String::new() }
}

fn measure(bytes: &[u8]) -> Measure {
    if bytes.starts_with(b"PRI") {
        let common = bytes.len().min(PREFACE.len());
        return match bytes[..common] == PREFACE[..common] {
            true if common < PREFACE.len() => Measure::More,
            true => Measure::Bytes(PREFACE.len() as u64),
            false => Measure::Invalid,
        };
    }
    if bytes.len() < HEADER {
        return Measure::More;
    }
    let length = u64::from(bytes[0]) << 16 | u64::from(bytes[1]) << 8 | u64::from(bytes[2]);
    let (kind, flags, stream) = (bytes[3], bytes[4], stream_of(bytes));
    let sound = match kind {
        DATA => stream > 0 && flags & !(END_STREAM | PADDED) == 0,
        HEADERS => stream > 0 && flags & !(END_STREAM | END_HEADERS | PADDED | PRIORITY) == 0 && length > 0,
        2 => stream > 0 && length == 5,
        RST_STREAM => stream > 0 && length == 4,
        4 => stream == 0 && length % 6 == 0,
        5 => stream > 0,
        6 => stream == 0 && length == 8,
        7 => stream == 0 && length >= 8,
        8 => length == 4,
        CONTINUATION => stream > 0 && flags & !END_HEADERS == 0,
        _ => kind <= LAST_TYPE,
    };
    let reserved = bytes[5] & 0x80 != 0;
    if sound && !reserved && length <= FRAME_BYTES {
        Measure::Bytes(length + HEADER as u64)
    } else {
        Measure::Invalid
    }
}

/// The preface; or frames of which one is a header block that starts as a request or an answer does.
pub(super) fn detect(bytes: &[u8]) -> Option<(Protocol, Speaker)> {
    if bytes.starts_with(&PREFACE[..16]) {
        return Some((Protocol::Http2, Speaker::Client));
    }
    let mut rest = bytes;
    for _ in 0..16 {
        let Measure::Bytes(length) = measure(rest) else { return None };
        if rest[3] == HEADERS && stream_of(rest) % 2 == 1 {
            let mut block = Way::default();
            let mut events = Vec::new();
            let end = usize::try_from(length).ok()?.min(rest.len());
            let frame =
                Frame { bytes: rest[..end].to_vec(), started: UnixNanos(0), whole: end as u64 == length };
            block.read(&frame, &mut events);
            let Some(Event::Fields { fields, .. }) = events.first() else { return None };
            let first = fields.first()?;
            // Both are in the static table.
            let method = first.value.as_deref();
            return match first.name.as_deref() {
                Some(b":method") if METHODS.iter().any(|known| Some(known.as_bytes()) == method) => {
                    Some((Protocol::Http2, Speaker::Client))
                }
                Some(b":status") if method.is_some_and(|status| status.len() == 3) => {
                    Some((Protocol::Http2, Speaker::Server))
                }
                _ => None,
            };
        }
        rest = rest.get(usize::try_from(length).ok()?..)?;
        if rest.is_empty() {
            return None;
        }
    }
    None
}

const METHODS: &[&str] = &["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "CONNECT", "TRACE"];
