//! DNS over UDP and TCP (RFC 1035, 7766).

use domain::UnixNanos;

use super::exchange::{Answer, Asked, Sink, Table};
use super::frames::{Frames, Measure};
use super::{Chunk, Protocol, Speaker, State, Transport};

const HEADER: usize = 12;
/// Bytes of a name in text.
const NAME_BYTES: usize = 253;
const LABEL_BYTES: usize = 63;

/// One socket. Questions are answered by number.
#[derive(Debug)]
pub(super) struct Dns {
    transport: Transport,
    client: Frames,
    server: Frames,
    asked: Table<u16, Asked>,
}

/// What matters of a message.
#[derive(Debug, PartialEq, Eq)]
struct Message {
    id: u16,
    is_answer: bool,
    code: u8,
    name: String,
    kind: &'static str,
}

impl Dns {
    pub fn new(transport: Transport) -> Self {
        Self { transport, client: Frames::default(), server: Frames::default(), asked: Table::default() }
    }

    pub fn feed(&mut self, speaker: Speaker, chunk: &Chunk<'_>, sink: &mut Sink<'_>) -> Option<State> {
        if self.transport == Transport::Udp {
            self.message(chunk.head, chunk.time, sink);
            return None;
        }
        let frames = if speaker == Speaker::Client { &mut self.client } else { &mut self.server };
        frames.push(chunk, measure);
        let mut messages = Vec::new();
        while let Some(frame) = frames.next(measure) {
            messages.push(frame.bytes);
        }
        sink.losses.desynchronised += frames.take_losses();
        for message in messages {
            self.message(&message[2..], chunk.time, sink);
        }
        None
    }

    fn message(&mut self, bytes: &[u8], at: UnixNanos, sink: &mut Sink<'_>) {
        let Some(message) = Message::read(bytes) else {
            sink.losses.desynchronised += 1;
            return;
        };
        if !message.is_answer {
            // One that is sent again began when it was first sent.
            if self.asked.get(&message.id).is_none_or(|asked| asked.target != message.name) {
                let operation = message.kind.to_owned();
                let asked = Asked { operation, target: message.name, started: at, ..Asked::default() };
                self.asked.ask(message.id, asked, sink);
            }
            return;
        }
        match self.asked.take(&message.id) {
            Some(asked) => sink.answered(asked, answer(message.code), at),
            None => sink.losses.unmatched += 1,
        }
    }

    pub fn tick(&mut self, now: UnixNanos, sink: &mut Sink<'_>) {
        self.asked.tick(now, sink);
    }

    pub fn close(&mut self, now: UnixNanos, sink: &mut Sink<'_>) {
        self.asked.close(now, sink);
    }
}

/// A name that does not exist is an answer like any other: a search list asks for several of them.
fn answer(code: u8) -> Answer {
    let name = match code {
        0 => "NOERROR",
        1 => "FORMERR",
        2 => "SERVFAIL",
        3 => "NXDOMAIN",
        4 => "NOTIMP",
        5 => "REFUSED",
        _ => "ERROR",
    };
    Answer { status: name.to_owned(), failed: !matches!(code, 0 | 3), error: String::new() }
}

impl Message {
    /// A standard query with one question, or the answer to one; it may be cut behind the question.
    fn read(bytes: &[u8]) -> Option<Self> {
        let header = bytes.get(..HEADER)?;
        let number = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        let (flags, questions) = (number(2), number(4));
        let is_answer = flags & 0x8000 != 0;
        if flags & 0x7800 != 0 || flags & 0x0040 != 0 || questions != 1 {
            return None;
        }
        if !is_answer && (number(6) != 0 || flags & 0x000f != 0) {
            return None;
        }
        let (name, rest) = read_name(&bytes[HEADER..])?;
        let [kind_high, kind_low, class_high, class_low, ..] = *rest else { return None };
        if !matches!(u16::from_be_bytes([class_high, class_low]) & 0x7fff, 1 | 255) {
            return None;
        }
        let kind = kind_name(u16::from_be_bytes([kind_high, kind_low]));
        Some(Self { id: number(0), is_answer, code: (flags & 0xf) as u8, name, kind })
    }
}

/// The name in small letters. That of an address, asked for in reverse, is one of many.
fn read_name(bytes: &[u8]) -> Option<(String, &[u8])> {
    let mut name = String::new();
    let mut rest = bytes;
    loop {
        let (&length, after) = rest.split_first()?;
        let length = usize::from(length);
        if length == 0 {
            rest = after;
            break;
        }
        if length > LABEL_BYTES || name.len() + length + 1 > NAME_BYTES + 1 {
            return None;
        }
        let (label, after) = after.split_at_checked(length)?;
        if !label.iter().all(u8::is_ascii_graphic) {
            return None;
        }
        if !name.is_empty() {
            name.push('.');
        }
        name.push_str(&String::from_utf8_lossy(label).to_ascii_lowercase());
        rest = after;
    }
    for reverse in ["in-addr.arpa", "ip6.arpa"] {
        if name.ends_with(reverse) {
            name = format!("{}.{reverse}", super::route::ID);
        }
    }
    Some((if name.is_empty() { ".".to_owned() } else { name }, rest))
}

const fn kind_name(kind: u16) -> &'static str {
    match kind {
        1 => "A",
        2 => "NS",
        5 => "CNAME",
        6 => "SOA",
        12 => "PTR",
        15 => "MX",
        16 => "TXT",
        28 => "AAAA",
        33 => "SRV",
        35 => "NAPTR",
        43 => "DS",
        48 => "DNSKEY",
        64 => "SVCB",
        65 => "HTTPS",
        255 => "ANY",
        257 => "CAA",
        _ => "OTHER",
    }
}

fn measure(bytes: &[u8]) -> Measure {
    let [high, low, ..] = *bytes else { return Measure::More };
    let length = u16::from_be_bytes([high, low]);
    if usize::from(length) <= HEADER { Measure::Invalid } else { Measure::Bytes(u64::from(length) + 2) }
}

/// A datagram that is a question or an answer to one.
pub(super) fn detect(bytes: &[u8]) -> Option<(Protocol, Speaker)> {
    let message = Message::read(bytes)?;
    let speaker = if message.is_answer { Speaker::Server } else { Speaker::Client };
    Some((Protocol::Dns, speaker))
}

/// The same behind its length.
pub(super) fn detect_stream(bytes: &[u8], missing: u64) -> Option<(Protocol, Speaker)> {
    let total = bytes.len() as u64 + missing;
    let measured = matches!(measure(bytes), Measure::Bytes(length) if length == total);
    measured.then(|| detect(&bytes[2..])).flatten()
}
