//! AMQP 0.9.1, as RabbitMQ speaks it: calls, publishing with and without confirmation, deliveries, and why a channel was closed.
//! <https://www.rabbitmq.com/amqp-0-9-1-reference>

use std::collections::BTreeMap;

use domain::UnixNanos;

use super::exchange::{Answer, Asked, Sink, Table};
use super::frames::{Frame, Frames, Measure};
use super::{Chunk, Protocol, Speaker, State, TraceParent, Transport, limits, route, shape};

const GREETING: &[u8] = b"AMQP\x00\x00\x09\x01";
const HEADER: usize = 7;
const FRAME_END: u8 = 0xce;
const FRAME_BYTES: u32 = 16 << 20;
const METHOD: u8 = 1;
const CONTENT: u8 = 2;
const BODY: u8 = 3;
const HEARTBEAT: u8 = 8;
/// Most confirmations that one acknowledgement of several stands for here.
const SEVERAL: u64 = limits::PENDING as u64;

/// One connection.
#[derive(Debug, Default)]
pub(super) struct Amqp {
    client: Frames,
    server: Frames,
    channels: BTreeMap<u16, Channel>,
    /// Calls, one on a channel at a time, with tag 0; and messages to be confirmed, by their tag.
    asked: Table<(u16, u64), Asked>,
}

#[derive(Debug, Default)]
struct Channel {
    /// The number of the next message to be confirmed; zero until confirmation is agreed on.
    tag: u64,
    /// A method whose message is still to come.
    client: Option<Asked>,
    server: Option<Asked>,
}

impl Amqp {
    pub fn new(_: Transport) -> Self {
        Self::default()
    }

    pub fn feed(&mut self, speaker: Speaker, chunk: &Chunk<'_>, sink: &mut Sink<'_>) -> Option<State> {
        // Publishers and consumers share a connection: a turn says nothing of where a frame starts.
        let chunk = Chunk { fresh: false, ..*chunk };
        let frames = if speaker == Speaker::Client { &mut self.client } else { &mut self.server };
        frames.push(&chunk, measure);
        let read: Vec<Frame> = std::iter::from_fn(|| frames.next(measure)).collect();
        let lost = frames.take_losses();
        sink.losses.desynchronised += lost;
        if lost > 0 && speaker == Speaker::Server {
            self.asked.doubt();
        }
        for frame in read {
            self.frame(speaker, &frame, chunk.time, sink);
        }
        None
    }

    fn frame(&mut self, speaker: Speaker, frame: &Frame, at: UnixNanos, sink: &mut Sink<'_>) {
        let bytes = frame.bytes.as_slice();
        if bytes.starts_with(b"AMQP") {
            if speaker == Speaker::Client {
                self.asked.ask((0, 0), named("connect", "", frame.started), sink);
            }
            return;
        }
        let (Some(channel), Some(payload)) = (short(bytes, 1), bytes.get(HEADER..)) else { return };
        match bytes[0] {
            METHOD => {
                let (Some(class), Some(method)) = (short(payload, 0), short(payload, 2)) else { return };
                let call = Call { channel, class, method, arguments: &payload[4..], frame };
                match speaker {
                    Speaker::Client => self.calls(&call, sink),
                    Speaker::Server => self.tells(&call, at, sink),
                }
            }
            CONTENT => self.content(speaker, channel, payload, sink),
            _ => {}
        }
    }

    fn calls(&mut self, call: &Call<'_>, sink: &mut Sink<'_>) {
        let started = call.frame.started;
        match (call.class, call.method) {
            (60, 40) => {
                let asked = named("basic.publish", &call.exchange_and_key(2), started);
                self.channel(call.channel).client = Some(asked);
            }
            (class, method) => {
                if let Some((operation, name_at)) = sync_call(class, method) {
                    let target = name_at.and_then(|at| text(call.arguments, at)).map(route::of_subject);
                    let asked = named(operation, &target.unwrap_or_default(), started);
                    self.asked.ask((call.channel, 0), asked, sink);
                }
            }
        }
    }

    fn tells(&mut self, call: &Call<'_>, at: UnixNanos, sink: &mut Sink<'_>) {
        let channel = call.channel;
        match (call.class, call.method) {
            // The start of a channel or connection ends with its `open-ok`; what is before is its handshake.
            (10, 10 | 20 | 30 | 60 | 61) => {}
            (10 | 20, 50 | 40) if (call.class == 10) == (call.method == 50) => self.closes(call, at, sink),
            (60, 60) => {
                // Behind the consumer's tag, a number and a bit.
                let after = text(call.arguments, 0).map_or(0, |tag| tag.len() + 1 + 8 + 1);
                let asked = named("basic.deliver", &call.exchange_and_key(after), call.frame.started);
                self.channel(channel).server = Some(asked);
            }
            (60, 50) => {
                let (status, error) = call.reply();
                let after = 2 + text(call.arguments, 2).map_or(0, |reply| reply.len() + 1);
                let asked = named("basic.return", &call.exchange_and_key(after), at);
                sink.answered(asked, Answer::failed(status, error), at);
            }
            (60, 80 | 120) => {
                let Some(tag) = call.arguments.get(..8) else { return };
                let tag = tag.iter().fold(0_u64, |tag, byte| tag << 8 | u64::from(*byte));
                let several = call.arguments.get(8).is_some_and(|bits| bits & 1 == 1);
                let answer =
                    || if call.method == 80 { Answer::default() } else { Answer::failed("NACK", "") };
                let first = if several { tag.saturating_sub(SEVERAL).max(1) } else { tag.max(1) };
                for tag in first..=tag {
                    if let Some(asked) = self.asked.take(&(channel, tag)) {
                        sink.answered(asked, answer(), at);
                    }
                }
            }
            (class, method) => {
                if (class, method) == (85, 11) {
                    self.channel(channel).tag = 1;
                }
                let status = if (class, method) == (60, 72) { "EMPTY" } else { "" };
                if let Some(asked) = self.asked.take(&(channel, 0)) {
                    sink.answered(asked, Answer::ok(status), at);
                }
            }
        }
    }

    /// The server closes a channel or the connection: what it was asked last has failed.
    fn closes(&mut self, call: &Call<'_>, at: UnixNanos, sink: &mut Sink<'_>) {
        let (status, error) = call.reply();
        let operation = if call.class == 10 { "connection.close" } else { "channel.close" };
        let asked = self.asked.take(&(call.channel, 0)).unwrap_or_else(|| named(operation, "", at));
        sink.answered(asked, Answer::failed(status, error), at);
        self.channels.remove(&call.channel);
    }

    /// The header of a message: its properties may carry a trace.
    fn content(&mut self, speaker: Speaker, number: u16, payload: &[u8], sink: &mut Sink<'_>) {
        let Some(channel) = self.channels.get_mut(&number) else { return };
        let waiting = if speaker == Speaker::Client { &mut channel.client } else { &mut channel.server };
        let Some(mut asked) = waiting.take() else { return };
        asked.trace = payload.get(12..).and_then(read_trace);
        if speaker == Speaker::Client && channel.tag > 0 {
            let tag = channel.tag;
            channel.tag += 1;
            self.asked.ask((number, tag), asked, sink);
        } else {
            sink.told(asked);
        }
    }

    fn channel(&mut self, number: u16) -> &mut Channel {
        if self.channels.len() >= limits::NAMES && !self.channels.contains_key(&number) {
            self.channels.pop_first();
        }
        self.channels.entry(number).or_default()
    }

    pub fn tick(&mut self, now: UnixNanos, sink: &mut Sink<'_>) {
        self.asked.tick(now, sink);
    }

    pub fn close(&mut self, now: UnixNanos, sink: &mut Sink<'_>) {
        self.asked.close(now, sink);
    }
}

struct Call<'a> {
    channel: u16,
    class: u16,
    method: u16,
    arguments: &'a [u8],
    frame: &'a Frame,
}

impl Call<'_> {
    /// `exchange/key`, or the key alone for the exchange without a name, where it is a queue's.
    fn exchange_and_key(&self, at: usize) -> String {
        let Some(exchange) = text(self.arguments, at) else { return String::new() };
        let key = text(self.arguments, at + 1 + exchange.len()).unwrap_or_default();
        let (exchange, key) = (route::of_subject(exchange), route::of_subject(key));
        if exchange.is_empty() { key } else { format!("{exchange}/{key}") }
    }

    /// Code and text of a refusal. The text is the server's own and quotes the names that it is about.
    fn reply(&self) -> (String, String) {
        let code = short(self.arguments, 0).unwrap_or_default();
        let said = text(self.arguments, 2).unwrap_or_default();
        let said = said.split(|byte| *byte == b'-').next().unwrap_or_default();
        (code.to_string(), shape::of_error(said.trim_ascii(), true))
    }
}

fn named(operation: &str, target: &str, started: UnixNanos) -> Asked {
    Asked { operation: operation.to_owned(), target: target.to_owned(), started, ..Asked::default() }
}

/// Methods of the client that the server answers, and where in their arguments the name is of what they are about.
const fn sync_call(class: u16, method: u16) -> Option<(&'static str, Option<usize>)> {
    Some(match (class, method) {
        (10, 50) => ("connection.close", None),
        (20, 10) => ("channel.open", None),
        (20, 40) => ("channel.close", None),
        (40, 10) => ("exchange.declare", Some(2)),
        (40, 20) => ("exchange.delete", Some(2)),
        (50, 10) => ("queue.declare", Some(2)),
        (50, 20) => ("queue.bind", Some(2)),
        (50, 30) => ("queue.purge", Some(2)),
        (50, 40) => ("queue.delete", Some(2)),
        (50, 50) => ("queue.unbind", Some(2)),
        (60, 10) => ("basic.qos", None),
        (60, 20) => ("basic.consume", Some(2)),
        (60, 30) => ("basic.cancel", None),
        (60, 70) => ("basic.get", Some(2)),
        (60, 110) => ("basic.recover", None),
        (85, 10) => ("confirm.select", None),
        (90, 10) => ("tx.select", None),
        (90, 20) => ("tx.commit", None),
        (90, 30) => ("tx.rollback", None),
        _ => return None,
    })
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// A short string: its length in one byte.
fn text(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let length = usize::from(*bytes.get(at)?);
    bytes.get(at + 1..at + 1 + length)
}

/// `traceparent` among the headers of a message. Properties stand in the order of their flags: type, encoding, headers.
fn read_trace(properties: &[u8]) -> Option<TraceParent> {
    const KEY: &[u8] = b"\x0btraceparentS";
    let flags = short(properties, 0)?;
    let mut at = 2;
    for bit in [15, 14] {
        if flags >> bit & 1 == 1 {
            at += 1 + text(properties, at)?.len();
        }
    }
    (flags >> 13 & 1 == 1).then_some(())?;
    let table = properties.get(at..)?;
    let found = memchr::memmem::find(table, KEY)? + KEY.len();
    let length = table.get(found..found + 4)?;
    let length = usize::try_from(u32::from_be_bytes(length.try_into().ok()?)).ok()?;
    TraceParent::parse(table.get(found + 4..found.checked_add(4 + length.min(64))?)?)
}

fn measure(bytes: &[u8]) -> Measure {
    if bytes.starts_with(b"AMQP") {
        return if bytes.len() < GREETING.len() {
            Measure::More
        } else {
            Measure::Bytes(GREETING.len() as u64)
        };
    }
    if !matches!(bytes[0], METHOD | CONTENT | BODY | HEARTBEAT | b'A') {
        return Measure::Invalid;
    }
    let Some(size) = bytes.get(3..HEADER) else { return Measure::More };
    let size = u32::from_be_bytes([size[0], size[1], size[2], size[3]]);
    let length = HEADER + size as usize + 1;
    let ended = bytes.get(length - 1).is_none_or(|end| *end == FRAME_END);
    let class = short(bytes, HEADER).unwrap_or(10);
    let classed = match bytes[0] {
        METHOD => size >= 4 && matches!(class, 10 | 20 | 40 | 50 | 60 | 85 | 90),
        CONTENT => size >= 14 && class == 60,
        HEARTBEAT => size == 0,
        _ => true,
    };
    if size <= FRAME_BYTES && ended && classed { Measure::Bytes(length as u64) } else { Measure::Invalid }
}

/// The greeting; or a method of either side, with the mark at its end.
pub(super) fn detect(bytes: &[u8]) -> Option<(Protocol, Speaker)> {
    if bytes.starts_with(GREETING) {
        return Some((Protocol::Amqp, Speaker::Client));
    }
    let Measure::Bytes(length) = (if bytes.is_empty() { Measure::Invalid } else { measure(bytes) }) else {
        return None;
    };
    let whole = usize::try_from(length).ok()? <= bytes.len();
    let (class, method) = (short(bytes, HEADER)?, short(bytes, HEADER + 2)?);
    if bytes[0] != METHOD || !whole {
        return None;
    }
    let speaker = match (class, method) {
        (60, 40) => Speaker::Client,
        (60, 60 | 71 | 72) | (10, 10) => Speaker::Server,
        (class, method) if sync_call(class, method).is_some() && !matches!(method, 40 | 50) => {
            Speaker::Client
        }
        _ => return None,
    };
    Some((Protocol::Amqp, speaker))
}
