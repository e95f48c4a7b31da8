//! One way of a connection, cut into messages, from heads of what went by.
//!
//! A protocol says how long the message is that starts with given bytes ([`Measure`]); this keeps what is needed of it, steps over
//! what was not captured, and when the start of the next message is lost, waits for a chunk that starts like one.

use domain::UnixNanos;

use super::{Chunk, limits};

/// How long the message is that these bytes start with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Measure {
    /// That takes more bytes to tell.
    More,
    /// As `More`, and when no more come the bytes are of use as they are.
    Open,
    /// So many bytes, at least one.
    Bytes(u64),
    /// This is no message.
    Invalid,
}

/// A message, or its head.
#[derive(Debug)]
pub(super) struct Frame {
    pub bytes: Vec<u8>,
    /// When its first byte was seen.
    pub started: UnixNanos,
    /// Whether all of it is there.
    pub whole: bool,
}

/// One way of a connection.
#[derive(Debug, Default)]
pub(super) struct Frames {
    buffer: Vec<u8>,
    /// When the first byte of `buffer` was seen.
    since: UnixNanos,
    now: UnixNanos,
    /// Bytes at the end of `buffer` that came with the last chunk.
    recent: usize,
    /// Bytes to step over before the next message.
    skip: u64,
    /// Bytes of the last chunk, behind those in `buffer`, that were not captured.
    missing: u64,
    lost: bool,
    losses: u64,
}

impl Frames {
    /// Takes a chunk. `starts` tells whether bytes can be the start of a message: used when a turn begins in the midst of one.
    pub fn push(&mut self, chunk: &Chunk<'_>, starts: impl Fn(&[u8]) -> Measure) {
        let mut head = chunk.head;
        self.now = chunk.time;
        self.missing = chunk.total.saturating_sub(head.len() as u64);
        let open = self.skip > 0 || !self.buffer.is_empty();
        if chunk.fresh && open && !matches!(starts(head), Measure::Invalid | Measure::More) {
            self.buffer.clear();
            self.skip = 0;
        }
        if self.skip > 0 {
            let stepped = self.skip.min(chunk.total);
            self.skip -= stepped;
            let seen = usize::try_from(stepped).unwrap_or(usize::MAX).min(head.len());
            head = &head[seen..];
            self.missing -= (stepped - seen as u64).min(self.missing);
        }
        if self.lost {
            self.buffer.clear();
        }
        if self.buffer.is_empty() {
            self.since = chunk.time;
        }
        self.buffer.extend_from_slice(head);
        self.recent = head.len();
    }

    /// The next message, of the length that `measure` tells.
    pub fn next(&mut self, measure: impl Fn(&[u8]) -> Measure) -> Option<Frame> {
        if self.buffer.is_empty() {
            if self.missing > 0 {
                self.lose();
            }
            return None;
        }
        let have = self.buffer.len() as u64;
        let full = self.missing > 0 || self.buffer.len() >= limits::MESSAGE_BYTES;
        match measure(&self.buffer) {
            Measure::Invalid => {
                self.lose();
                None
            }
            Measure::More if full => {
                self.lose();
                None
            }
            Measure::Open if full => {
                let frame = self.take(have);
                self.lost = true;
                self.missing = 0;
                Some(Frame { whole: false, ..frame })
            }
            Measure::More | Measure::Open => None,
            Measure::Bytes(length) => {
                self.lost = false;
                let length = length.max(1);
                if length <= have {
                    return Some(self.take(length));
                }
                if !full {
                    return None;
                }
                let frame = self.take(have);
                let rest = length - have;
                self.skip = rest.saturating_sub(self.missing);
                if rest < self.missing {
                    self.lose();
                }
                self.missing = 0;
                Some(Frame { whole: false, ..frame })
            }
        }
    }

    /// Whether nothing is left of a message that was begun.
    pub fn between(&self) -> bool {
        self.skip == 0 && self.buffer.is_empty()
    }

    /// Whether the start of the next message is not known.
    pub const fn is_lost(&self) -> bool {
        self.lost
    }

    /// Everything until the connection ends belongs to the message.
    pub fn skip_all(&mut self) {
        self.buffer.clear();
        self.missing = 0;
        self.skip = u64::MAX;
    }

    /// The next `bytes` belong to a message that was read as far as it matters.
    pub fn step_over(&mut self, bytes: u64) {
        let seen = usize::try_from(bytes).unwrap_or(usize::MAX).min(self.buffer.len());
        if seen > 0 {
            self.take(seen as u64);
        }
        let rest = bytes - seen as u64;
        if rest == 0 {
            return;
        }
        self.skip = rest.saturating_sub(self.missing);
        if rest < self.missing {
            self.lose();
        }
        self.missing = 0;
    }

    /// How often the start of the next message was lost, since last asked.
    pub fn take_losses(&mut self) -> u64 {
        std::mem::take(&mut self.losses)
    }

    fn lose(&mut self) {
        self.losses += u64::from(!self.lost);
        self.lost = true;
        self.buffer.clear();
        self.skip = 0;
        self.missing = 0;
    }

    fn take(&mut self, length: u64) -> Frame {
        let length = usize::try_from(length).unwrap_or(usize::MAX).min(self.buffer.len());
        let rest = self.buffer.split_off(length);
        let bytes = std::mem::replace(&mut self.buffer, rest);
        let started = self.since;
        if self.buffer.len() <= self.recent {
            self.since = self.now;
        }
        Frame { bytes, started, whole: true }
    }
}
