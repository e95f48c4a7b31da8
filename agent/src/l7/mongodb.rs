//! MongoDB: `OP_MSG`, the `OP_QUERY` that old drivers greet with, and the envelope of compressed messages, whose inside is not read.
//! <https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/>
//!
//! Of a command only its name and collection are kept; of an error only its name.

use domain::UnixNanos;

use super::exchange::{Answer, Asked, Sink, Table};
use super::frames::{Frame, Frames, Measure};
use super::{Chunk, Protocol, Speaker, State, Transport};

const HEADER: usize = 16;
const REPLY: u32 = 1;
const QUERY: u32 = 2004;
const COMPRESSED: u32 = 2012;
const MSG: u32 = 2013;
/// The sender expects no answer.
const MORE_TO_COME: u32 = 2;

/// One connection.
#[derive(Debug, Default)]
pub(super) struct Mongodb {
    client: Frames,
    server: Frames,
    asked: Table<u32, Asked>,
}

impl Mongodb {
    pub fn new(_: Transport) -> Self {
        Self::default()
    }

    pub fn feed(&mut self, speaker: Speaker, chunk: &Chunk<'_>, sink: &mut Sink<'_>) -> Option<State> {
        match speaker {
            Speaker::Client => {
                self.client.push(chunk, measure);
                while let Some(frame) = self.client.next(measure) {
                    self.asks(&frame, sink);
                }
                sink.losses.desynchronised += self.client.take_losses();
            }
            Speaker::Server => {
                self.server.push(chunk, measure);
                while let Some(frame) = self.server.next(measure) {
                    self.answers(&frame, chunk.time, sink);
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

    fn asks(&mut self, frame: &Frame, sink: &mut Sink<'_>) {
        let bytes = frame.bytes.as_slice();
        let (Some(id), Some(code)) = (number(bytes, 4), number(bytes, 12)) else { return };
        let mut asked = Asked { started: frame.started, ..Asked::default() };
        if code == COMPRESSED {
            asked.operation = "compressed".to_owned();
        } else if let Some(document) = document(bytes) {
            let command = Command::read(document);
            asked.operation = command.name.to_owned();
            asked.target = command.collection;
            asked.waits = command.waits;
        } else {
            asked.operation = "command".to_owned();
        }
        let unanswered = code == MSG && number(bytes, HEADER).is_some_and(|flags| flags & MORE_TO_COME != 0);
        if unanswered { sink.told(asked) } else { self.asked.ask(id, asked, sink) }
    }

    fn answers(&mut self, frame: &Frame, at: UnixNanos, sink: &mut Sink<'_>) {
        let bytes = frame.bytes.as_slice();
        let Some(id) = number(bytes, 8) else { return };
        let Some(asked) = self.asked.take(&id) else {
            sink.losses.unmatched += 1;
            return;
        };
        let answer = document(bytes).map(read_answer).unwrap_or_default();
        sink.answered(asked, answer, at);
    }

    pub fn tick(&mut self, now: UnixNanos, sink: &mut Sink<'_>) {
        self.asked.tick(now, sink);
    }

    pub fn close(&mut self, now: UnixNanos, sink: &mut Sink<'_>) {
        self.asked.close(now, sink);
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn measure(bytes: &[u8]) -> Measure {
    let (Some(length), Some(code)) = (number(bytes, 0), number(bytes, 12)) else { return Measure::More };
    let known = matches!(code, REPLY | QUERY | COMPRESSED | MSG);
    if known && (HEADER as u32 + 4..=48_000_000).contains(&length) {
        Measure::Bytes(length.into())
    } else {
        Measure::Invalid
    }
}

/// The document that holds the command, or the answer to it.
fn document(bytes: &[u8]) -> Option<&[u8]> {
    match number(bytes, 12)? {
        MSG => {
            let mut rest = bytes.get(HEADER + 4..)?;
            loop {
                let (&kind, section) = rest.split_first()?;
                if kind == 0 {
                    return Some(section);
                }
                // Documents that belong to the command, of a size that is told.
                rest = section.get(usize::try_from(number(section, 0)?).ok()?.max(4)..)?;
            }
        }
        QUERY => {
            let rest = bytes.get(HEADER + 4..)?;
            let name = memchr::memchr(0, rest)?;
            rest.get(name + 9..)
        }
        REPLY => bytes.get(HEADER + 20..),
        _ => None,
    }
}

/// The elements of a BSON document, as far as they are there. <https://bsonspec.org/spec.html>
struct Elements<'a>(&'a [u8]);

#[derive(Clone, Copy)]
struct Element<'a> {
    kind: u8,
    name: &'a [u8],
    value: &'a [u8],
}

impl<'a> Elements<'a> {
    fn of(document: &'a [u8]) -> Self {
        Self(document.get(4..).unwrap_or_default())
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Element<'a>;

    fn next(&mut self) -> Option<Element<'a>> {
        let (&kind, rest) = self.0.split_first().filter(|(kind, _)| **kind != 0)?;
        let end = memchr::memchr(0, rest)?;
        let (name, value) = (&rest[..end], &rest[end + 1..]);
        let sized = |extra: usize| Some(usize::try_from(number(value, 0)?).ok()?.saturating_add(extra));
        let length = match kind {
            0x01 | 0x09 | 0x11 | 0x12 => 8,
            0x02 | 0x0d | 0x0e => sized(4)?,
            0x03 | 0x04 | 0x0f => sized(0)?,
            0x05 => sized(5)?,
            0x07 => 12,
            0x08 => 1,
            0x06 | 0x0a | 0x7f | 0xff => 0,
            0x10 => 4,
            0x13 => 16,
            _ => return None,
        };
        let value_end = length.min(value.len());
        self.0 = value.get(length..).unwrap_or_default();
        Some(Element { kind, name, value: &value[..value_end] })
    }
}

impl<'a> Element<'a> {
    fn text(&self) -> Option<&'a [u8]> {
        let length = usize::try_from(number(self.value, 0)?).ok()?;
        (self.kind == 0x02).then(|| self.value.get(4..4 + length.checked_sub(1)?)).flatten()
    }

    fn is_zero(&self) -> bool {
        self.value.iter().all(|byte| *byte == 0)
    }
}

struct Command {
    name: &'static str,
    collection: String,
    waits: bool,
}

impl Command {
    fn read(document: &[u8]) -> Self {
        let mut elements = Elements::of(document);
        let first = elements.next();
        let name =
            first.and_then(|first| COMMANDS.iter().find(|known| known.as_bytes() == first.name).copied());
        let mut command = Self { name: name.unwrap_or("command"), collection: String::new(), waits: false };
        let mut collection = first.filter(|_| name.is_some()).and_then(|first| first.text());
        for element in elements.take(32) {
            match element.name {
                b"collection" if command.name == "getMore" => collection = element.text(),
                // A cursor that waits for more to come; a greeting that waits for news.
                b"maxTimeMS" if command.name == "getMore" => command.waits = true,
                b"maxAwaitTimeMS" => command.waits = true,
                _ => {}
            }
        }
        command.collection = collection.map(collection_name).unwrap_or_default();
        command
    }
}

/// A collection, unless it is named like a value.
fn collection_name(name: &[u8]) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-' | b'$');
    if name.len() > 64 || !name.iter().all(plain) {
        return String::new();
    }
    super::route::of_subject(name)
}

fn read_answer(document: &[u8]) -> Answer {
    let mut answer = Answer::default();
    for element in Elements::of(document).take(64) {
        match element.name {
            b"ok" => answer.failed |= element.is_zero(),
            b"code" if element.kind == 0x10 && answer.status.is_empty() => {
                answer.status = number(element.value, 0).unwrap_or_default().to_string();
            }
            b"codeName" => {
                if let Some(name) = element
                    .text()
                    .filter(|name| name.len() <= 48 && name.iter().all(u8::is_ascii_alphanumeric))
                {
                    answer.status = String::from_utf8_lossy(name).into_owned();
                }
            }
            b"writeErrors" if element.value.len() > 5 => {
                answer.failed = true;
                answer.status = "WriteError".to_owned();
            }
            _ => {}
        }
    }
    answer
}

/// A message of known kind that fills the bytes exactly, whose document begins as one does.
pub(super) fn detect(bytes: &[u8], missing: u64) -> Option<(Protocol, Speaker)> {
    let total = bytes.len() as u64 + missing;
    if !matches!(measure(bytes), Measure::Bytes(length) if length == total) {
        return None;
    }
    let (request, response_to, code) = (number(bytes, 4)?, number(bytes, 8)?, number(bytes, 12)?);
    let sound = match code {
        COMPRESSED => {
            matches!(bytes.get(24), Some(0..=3)) && matches!(number(bytes, 16), Some(MSG | QUERY | REPLY))
        }
        _ => document(bytes).is_some_and(|document| Elements::of(document).next().is_some()),
    };
    let speaker = if response_to == 0 { Speaker::Client } else { Speaker::Server };
    (sound && request != response_to).then_some((Protocol::Mongodb, speaker))
}

const COMMANDS: &[&str] = &[
    "abortTransaction",
    "aggregate",
    "authenticate",
    "buildInfo",
    "bulkWrite",
    "collMod",
    "collStats",
    "commitTransaction",
    "connectionStatus",
    "count",
    "create",
    "createIndexes",
    "createUser",
    "currentOp",
    "dbStats",
    "delete",
    "distinct",
    "drop",
    "dropDatabase",
    "dropIndexes",
    "dropUser",
    "endSessions",
    "explain",
    "find",
    "findAndModify",
    "findandmodify",
    "getLastError",
    "getMore",
    "getParameter",
    "hello",
    "hostInfo",
    "insert",
    "isMaster",
    "ismaster",
    "killCursors",
    "killOp",
    "killSessions",
    "listCollections",
    "listCommands",
    "listDatabases",
    "listIndexes",
    "logout",
    "mapReduce",
    "ping",
    "profile",
    "refreshSessions",
    "renameCollection",
    "replSetGetStatus",
    "replSetHeartbeat",
    "replSetUpdatePosition",
    "saslContinue",
    "saslStart",
    "serverStatus",
    "setParameter",
    "startSession",
    "top",
    "update",
    "usersInfo",
    "validate",
];
