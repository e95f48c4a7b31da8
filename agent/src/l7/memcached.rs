//! Memcached, the text protocol with its meta commands. Keys and values are not read; the binary protocol is not known.
//! <https://github.com/memcached/memcached/blob/master/doc/protocol.txt>

use domain::UnixNanos;

use super::exchange::{Answer, Asked, Line, Sink};
use super::frames::{Frames, Measure};
use super::shape;
use super::{Chunk, Protocol, Speaker, State, Transport};

/// A line of keys may be long; one that is longer is no command.
const LINE_BYTES: usize = 2048;
const STORING: &[&[u8]] = &[b"set", b"add", b"replace", b"append", b"prepend", b"cas"];
const FETCHING: &[&[u8]] = &[b"get", b"gets", b"gat", b"gats"];
const OTHER: &[&[u8]] = &[
    b"delete",
    b"incr",
    b"decr",
    b"touch",
    b"stats",
    b"version",
    b"flush_all",
    b"verbosity",
    b"quit",
    b"mg",
    b"md",
    b"ma",
    b"mn",
    b"ms",
];
/// First words of answers of one line.
const WORDS: &[&str] = &[
    "STORED",
    "NOT_STORED",
    "EXISTS",
    "NOT_FOUND",
    "DELETED",
    "TOUCHED",
    "OK",
    "VERSION",
    "RESET",
    "BUSY",
    "HD",
    "EN",
    "NF",
    "NS",
    "EX",
    "MN",
    "ME",
    "END",
];

/// One connection.
#[derive(Debug, Default)]
pub(super) struct Memcached {
    client: Frames,
    server: Frames,
    asked: Line,
    /// Whether the answer at hand has had a value.
    found: bool,
}

impl Memcached {
    pub fn new(_: Transport) -> Self {
        Self::default()
    }

    pub fn feed(&mut self, speaker: Speaker, chunk: &Chunk<'_>, sink: &mut Sink<'_>) -> Option<State> {
        match speaker {
            Speaker::Client => {
                self.client.push(chunk, measure_command);
                while let Some(frame) = self.client.next(measure_command) {
                    self.ask(&frame.bytes, frame.started, sink);
                }
                sink.losses.desynchronised += self.client.take_losses();
            }
            Speaker::Server => {
                if chunk.fresh && !self.server.between() && self.found && starts_answer(chunk.head) {
                    // The end of the answer before was not captured.
                    self.finish(Answer::ok("HIT"), chunk.time, sink);
                }
                self.server.push(chunk, measure_answer);
                while let Some(frame) = self.server.next(measure_answer) {
                    self.answer(&frame.bytes, chunk.time, sink);
                }
                let lost = self.server.take_losses();
                sink.losses.desynchronised += lost;
                if lost > 0 {
                    if self.found {
                        self.finish(Answer::ok("HIT"), chunk.time, sink);
                    }
                    self.asked.forget(sink);
                }
            }
        }
        None
    }

    fn ask(&mut self, bytes: &[u8], started: UnixNanos, sink: &mut Sink<'_>) {
        let line = line(bytes).unwrap_or(bytes);
        let mut words = line.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
        let Some(verb) = words.next().filter(|verb| is_verb(verb) && *verb != b"quit") else { return };
        let operation = String::from_utf8_lossy(verb).into_owned();
        let asked = Asked { operation, started, ..Asked::default() };
        // Quiet: answered only when there is something to tell.
        let quiet =
            if verb.len() == 2 { words.any(|word| word == b"q") } else { line.ends_with(b" noreply") };
        if quiet { sink.told(asked) } else { self.asked.ask(asked, sink) }
    }

    fn answer(&mut self, bytes: &[u8], at: UnixNanos, sink: &mut Sink<'_>) {
        let line = line(bytes).unwrap_or(bytes);
        let end = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
        let (word, rest) = line.split_at(end);
        let answer = match word {
            b"VALUE" => {
                self.found = true;
                return;
            }
            b"STAT" | b"ITEM" => {
                self.found = true;
                return;
            }
            b"VA" => Answer::ok("HIT"),
            b"ERROR" => Answer::failed("ERROR", ""),
            b"CLIENT_ERROR" => Answer::failed("CLIENT_ERROR", shape::of_error(rest, true)),
            b"SERVER_ERROR" => Answer::failed("SERVER_ERROR", shape::of_error(rest, true)),
            b"END" if self.found => Answer::ok("HIT"),
            b"END"
                if self.asked.first().is_some_and(|asked| FETCHING.contains(&asked.operation.as_bytes())) =>
            {
                Answer::ok("MISS")
            }
            _ => Answer::ok(WORDS.iter().find(|known| known.as_bytes() == word).copied().unwrap_or("")),
        };
        self.finish(answer, at, sink);
    }

    fn finish(&mut self, answer: Answer, at: UnixNanos, sink: &mut Sink<'_>) {
        self.found = false;
        self.asked.answer(answer, at, sink);
    }

    pub fn tick(&mut self, now: UnixNanos, sink: &mut Sink<'_>) {
        self.asked.tick(now, sink);
    }

    pub fn close(&mut self, now: UnixNanos, sink: &mut Sink<'_>) {
        self.asked.close(now, sink);
    }
}

fn line(bytes: &[u8]) -> Option<&[u8]> {
    memchr::memmem::find(bytes, b"\r\n").map(|end| &bytes[..end])
}

fn is_verb(word: &[u8]) -> bool {
    STORING.contains(&word) || FETCHING.contains(&word) || OTHER.contains(&word)
}

fn size(word: Option<&[u8]>) -> Option<u64> {
    std::str::from_utf8(word?).ok()?.parse::<u64>().ok().filter(|size| *size <= 1 << 30)
}

fn measure_command(bytes: &[u8]) -> Measure {
    let verb = bytes.iter().take(10).position(|byte| matches!(byte, b' ' | b'\r'));
    match verb {
        Some(end) if is_verb(&bytes[..end]) => {}
        None if bytes.len() < 10 && bytes.iter().all(|byte| byte.is_ascii_lowercase() || *byte == b'_') => {
            return Measure::More;
        }
        _ => return Measure::Invalid,
    }
    let Some(line) = line(bytes) else {
        return if bytes.len() > LINE_BYTES { Measure::Invalid } else { Measure::Open };
    };
    let length = line.len() as u64 + 2;
    let mut words = line.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    let verb = words.next().unwrap_or_default();
    let data = if STORING.contains(&verb) {
        // Key, flags, time, then the size.
        size(words.nth(3)).map(|size| size + 2)
    } else if verb == b"ms" {
        size(words.nth(1)).map(|size| size + 2)
    } else {
        Some(0)
    };
    data.map_or(Measure::Invalid, |data| Measure::Bytes(length + data))
}

fn starts_answer(bytes: &[u8]) -> bool {
    let end = bytes.iter().position(|byte| matches!(byte, b' ' | b'\r')).unwrap_or(bytes.len());
    let word = &bytes[..end];
    let known = WORDS.iter().any(|known| known.as_bytes() == word);
    let number = !word.is_empty() && word.len() <= 20 && word.iter().all(u8::is_ascii_digit);
    let telling: [&[u8]; 7] = [b"VALUE", b"STAT", b"ITEM", b"VA", b"ERROR", b"CLIENT_ERROR", b"SERVER_ERROR"];
    known || number || telling.contains(&word)
}

fn measure_answer(bytes: &[u8]) -> Measure {
    let Some(line) = line(bytes) else {
        return if bytes.len() > LINE_BYTES { Measure::Invalid } else { Measure::More };
    };
    if !starts_answer(line) {
        return Measure::Invalid;
    }
    let length = line.len() as u64 + 2;
    let mut words = line.split(|byte| *byte == b' ');
    let data = match words.next() {
        // Key, flags, size.
        Some(b"VALUE") => size(words.nth(2)).map(|size| size + 2),
        Some(b"VA") => size(words.next()).map(|size| size + 2),
        _ => Some(0),
    };
    data.map_or(Measure::Invalid, |data| Measure::Bytes(length + data))
}

/// A command with as many words as it takes, or an answer that no other protocol gives.
pub(super) fn detect(bytes: &[u8]) -> Option<(Protocol, Speaker)> {
    let line = line(bytes)?;
    let mut words = line.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    let verb = words.next()?;
    let count = words.count();
    let complete = match verb {
        b"stats" | b"version" => true,
        b"mn" => count == 0,
        _ if STORING.contains(&verb) => (4..=6).contains(&count),
        b"gat" | b"gats" => count >= 2,
        b"incr" | b"decr" | b"touch" => (2..=3).contains(&count),
        _ => count >= 1,
    };
    let plain = line.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
    let measured = matches!(measure_command(bytes), Measure::Bytes(_));
    (is_verb(verb) && complete && plain && measured).then_some((Protocol::Memcached, Speaker::Client))
}
