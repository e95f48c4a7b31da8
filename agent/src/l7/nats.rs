//! NATS: what is published and delivered, requests and their replies. Payloads are not read.
//! <https://docs.nats.io/reference/reference-protocols/nats-protocol>

use domain::UnixNanos;
use memchr::memmem;

use super::exchange::{Answer, Asked, Sink, Table};
use super::frames::{Frame, Frames, Measure};
use super::{Chunk, Protocol, Speaker, State, TraceParent, Transport, route, shape};

/// A line, but for the JSON of the greetings.
const LINE_BYTES: usize = 3072;
/// An inbox that is longer is not remembered.
const INBOX_BYTES: usize = 128;
const CLIENT: &[&str] = &["CONNECT", "PUB", "HPUB", "SUB", "UNSUB", "PING", "PONG"];
const SERVER: &[&str] = &["INFO", "MSG", "HMSG", "PING", "PONG", "+OK", "-ERR"];

/// One connection.
#[derive(Debug, Default)]
pub(super) struct Nats {
    client: Frames,
    server: Frames,
    /// Requests by the inbox that their reply goes to.
    asked: Table<Vec<u8>, Asked>,
}

impl Nats {
    pub fn new(_: Transport) -> Self {
        Self::default()
    }

    pub fn feed(&mut self, speaker: Speaker, chunk: &Chunk<'_>, sink: &mut Sink<'_>) -> Option<State> {
        // The two sides speak when they like: a turn says nothing of where a message starts.
        let chunk = Chunk { fresh: false, ..*chunk };
        match speaker {
            Speaker::Client => {
                self.client.push(&chunk, measure_client);
                while let Some(frame) = self.client.next(measure_client) {
                    self.says(&frame, sink);
                }
                sink.losses.desynchronised += self.client.take_losses();
            }
            Speaker::Server => {
                self.server.push(&chunk, measure_server);
                while let Some(frame) = self.server.next(measure_server) {
                    self.tells(&frame, chunk.time, sink);
                }
                let lost = self.server.take_losses();
                sink.losses.desynchronised += lost;
                if lost > 0 {
                    self.asked.doubt();
                }
            }
        }
        None
    }

    fn says(&mut self, frame: &Frame, sink: &mut Sink<'_>) {
        let Some(message) = Message::read(&frame.bytes) else { return };
        let asked = Asked {
            operation: message.verb.to_owned(),
            target: route::of_subject(message.subject),
            started: frame.started,
            trace: message.header("traceparent").and_then(TraceParent::parse),
            // A consumer that pulls asks to be kept waiting.
            waits: message.subject.starts_with(b"$JS.API.CONSUMER.MSG.NEXT."),
            ..Asked::default()
        };
        match (message.verb, message.reply) {
            ("PUB" | "HPUB", Some(reply)) if reply.len() <= INBOX_BYTES => {
                self.asked.ask(reply.to_vec(), Asked { operation: "request".to_owned(), ..asked }, sink);
            }
            ("PUB" | "HPUB", _) => sink.told(Asked { operation: "publish".to_owned(), ..asked }),
            ("SUB", _) => sink.told(Asked { operation: "subscribe".to_owned(), ..asked }),
            _ => {}
        }
    }

    fn tells(&mut self, frame: &Frame, at: UnixNanos, sink: &mut Sink<'_>) {
        let Some(message) = Message::read(&frame.bytes) else { return };
        match message.verb {
            "MSG" | "HMSG" => {
                if let Some(asked) = self.asked.take(&message.subject.to_vec()) {
                    let code = message.status();
                    let failed = code >= 400 && code != 404 && code != 408;
                    let status = if code == 0 { String::new() } else { code.to_string() };
                    sink.answered(asked, Answer { status, failed, error: String::new() }, at);
                    return;
                }
                if message.subject.starts_with(b"_INBOX.") {
                    sink.losses.unmatched += 1;
                    return;
                }
                sink.told(Asked {
                    operation: "deliver".to_owned(),
                    target: route::of_subject(message.subject),
                    started: frame.started,
                    trace: message.header("traceparent").and_then(TraceParent::parse),
                    ..Asked::default()
                });
            }
            "-ERR" => {
                let text = line(&frame.bytes).unwrap_or_default();
                let text = text.get(4..).unwrap_or_default().trim_ascii();
                // The text is quoted as a whole, and may quote a subject.
                let text = text.strip_prefix(b"'").unwrap_or(text);
                let text = text.strip_suffix(b"'").unwrap_or(text);
                let said = memmem::find(text, b" for ").map_or(text, |at| &text[..at]);
                let asked =
                    Asked { operation: "error".to_owned(), started: frame.started, ..Asked::default() };
                sink.answered(asked, Answer::failed("ERR", shape::of_error(said, frame.whole)), at);
            }
            _ => {}
        }
    }

    pub fn tick(&mut self, now: UnixNanos, sink: &mut Sink<'_>) {
        self.asked.tick(now, sink);
    }

    pub fn close(&mut self, now: UnixNanos, sink: &mut Sink<'_>) {
        self.asked.close(now, sink);
    }
}

#[derive(Debug)]
struct Message<'a> {
    verb: &'static str,
    subject: &'a [u8],
    reply: Option<&'a [u8]>,
    headers: &'a [u8],
}

impl<'a> Message<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let line = line(bytes)?;
        let verb = verb_of(line, CLIENT).or_else(|| verb_of(line, SERVER))?;
        let words: Vec<&[u8]> = words(line).skip(1).take(5).collect();
        // Behind the subject: who subscribed, for what is delivered; the inbox, where there is one; one size, or two with headers.
        let sizes = if verb.starts_with('H') { 2 } else { 1 };
        let before = if verb.ends_with("MSG") { 2 } else { 1 };
        let reply = (words.len() == before + 1 + sizes).then(|| words[before]);
        let headers = if sizes == 2 && words.len() > 1 {
            let length = size(words[words.len() - 2]).and_then(|length| usize::try_from(length).ok())?;
            let rest = bytes.get(line.len() + 2..).unwrap_or_default();
            &rest[..length.min(rest.len())]
        } else {
            &[]
        };
        Some(Self { verb, subject: words.first().copied().unwrap_or_default(), reply, headers })
    }

    fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers.split(|byte| *byte == b'\n').find_map(|line| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            line[..colon].eq_ignore_ascii_case(name.as_bytes()).then(|| line[colon + 1..].trim_ascii())
        })
    }

    /// `NATS/1.0 503`: nobody listens there. 404 and 408 tell that there was nothing to pull.
    fn status(&self) -> u16 {
        let code = self.headers.strip_prefix(b"NATS/1.0 ").and_then(|rest| rest.get(..3));
        code.and_then(|code| std::str::from_utf8(code).ok()?.parse().ok()).unwrap_or(0)
    }
}

fn line(bytes: &[u8]) -> Option<&[u8]> {
    memmem::find(bytes, b"\r\n").map(|end| &bytes[..end])
}

fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty())
}

fn size(word: &[u8]) -> Option<u64> {
    std::str::from_utf8(word).ok()?.parse::<u64>().ok().filter(|size| *size <= 1 << 30)
}

fn verb_of(line: &[u8], verbs: &[&'static str]) -> Option<&'static str> {
    let word = words(line).next()?;
    verbs.iter().find(|verb| word.eq_ignore_ascii_case(verb.as_bytes())).copied()
}

fn measure_client(bytes: &[u8]) -> Measure {
    measure(bytes, CLIENT)
}

fn measure_server(bytes: &[u8]) -> Measure {
    measure(bytes, SERVER)
}

fn measure(bytes: &[u8], verbs: &[&'static str]) -> Measure {
    let Some(line) = line(bytes) else {
        let start = &bytes[..bytes.len().min(8)];
        let may_be = verbs.iter().any(|verb| {
            let common = verb.len().min(start.len());
            start[..common].eq_ignore_ascii_case(&verb.as_bytes()[..common])
        });
        return if may_be && bytes.len() <= LINE_BYTES { Measure::More } else { Measure::Invalid };
    };
    let Some(verb) = verb_of(line, verbs) else { return Measure::Invalid };
    let length = line.len() as u64 + 2;
    let payload = match verb {
        "PUB" | "HPUB" | "MSG" | "HMSG" => words(line).last().and_then(size).map(|size| size + 2),
        _ => Some(0),
    };
    payload.map_or(Measure::Invalid, |payload| Measure::Bytes(length + payload))
}

/// A greeting, or a message whose size is told.
pub(super) fn detect(bytes: &[u8]) -> Option<(Protocol, Speaker)> {
    if bytes.starts_with(b"INFO {\"") {
        return Some((Protocol::Nats, Speaker::Server));
    }
    if bytes.starts_with(b"CONNECT {\"") {
        return Some((Protocol::Nats, Speaker::Client));
    }
    let found = |verbs: &[&'static str], count: std::ops::RangeInclusive<usize>| {
        let line = line(bytes)?;
        let verb = verb_of(line, verbs)?;
        let fits =
            count.contains(&words(line).count()) && line.iter().all(|byte| matches!(byte, b' '..=b'~'));
        (fits && matches!(measure(bytes, &[verb]), Measure::Bytes(_))).then_some(())
    };
    if found(&["PUB"], 3..=4).or_else(|| found(&["HPUB"], 4..=5)).is_some() {
        Some((Protocol::Nats, Speaker::Client))
    } else if found(&["MSG"], 4..=5).or_else(|| found(&["HMSG"], 5..=6)).is_some() {
        Some((Protocol::Nats, Speaker::Server))
    } else {
        None
    }
}
