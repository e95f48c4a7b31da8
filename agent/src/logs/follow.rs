//! One file, followed through appending, truncation and renaming.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use domain::UnixNanos;
use xxhash_rust::xxh3::xxh3_64;

use super::join::Open;
use super::line::Line;
use super::positions::{Key, Position, Print};
use super::{Counts, Entry, Source, limits, severity};
use crate::regular;

/// Bytes that a file is known by.
const PRINT_BYTES: u64 = 256;
const READ_BYTES: usize = 64 << 10;
/// How long a file that was renamed may not grow before it counts as complete.
const GRACE: Duration = Duration::from_secs(5);

/// A file that is open.
#[derive(Debug)]
pub(super) struct Followed {
    pub path: PathBuf,
    pub key: Key,
    file: File,
    print: Print,
    /// Up to where each stream has arrived.
    sent: [u64; 2],
    /// The same, once the batch that was handed out has arrived.
    next: [u64; 2],
    /// Where `buffer` starts.
    offset: u64,
    buffer: Vec<u8>,
    /// The rest of a line that is too long is passed over.
    skipping: bool,
    open: [Option<Open>; 2],
    ready: VecDeque<Entry>,
    /// Whether it no longer has the name that it is followed by: what is in it is all that there will be.
    pub gone: bool,
    /// Whether everything in it has been read.
    drained: bool,
    /// How long it was when last looked at, and when it last grew.
    length: u64,
    grown: UnixNanos,
    /// When it could not be read, until it can.
    pub failed: Option<UnixNanos>,
}

impl Followed {
    /// Opens `path`; `None` when it is no ordinary file.
    pub fn open(path: &Path) -> io::Result<Option<Self>> {
        let Some(file) = regular::open(path)? else { return Ok(None) };
        let metadata = file.metadata()?;
        Ok(Some(Self {
            path: path.to_owned(),
            key: (metadata.dev(), metadata.ino()),
            file,
            print: Print::default(),
            sent: [0; 2],
            next: [0; 2],
            offset: 0,
            buffer: Vec::new(),
            skipping: false,
            open: [None, None],
            ready: VecDeque::new(),
            gone: false,
            drained: false,
            length: 0,
            grown: UnixNanos::default(),
            failed: None,
        }))
    }

    /// Goes on where `position` tells, when that is of this very file.
    pub fn resume(&mut self, position: &Position) -> io::Result<bool> {
        let furthest = position.sent[0].max(position.sent[1]);
        let same = self.file.metadata()?.len() >= furthest && self.has(position.print)?;
        if same {
            self.print = position.print;
            self.sent = position.sent;
            self.rewind();
        }
        Ok(same)
    }

    /// Begins behind what is there, at the start of a line.
    pub fn start_at_end(&mut self) -> io::Result<()> {
        let length = self.file.metadata()?.len();
        self.update_print(length)?;
        self.sent = [length; 2];
        self.rewind();
        Ok(())
    }

    /// Whether a file that is gone has been read as far as it can be, and has arrived, so that it can be let go.
    pub fn is_over(&self) -> bool {
        let read = self.drained && self.buffer.is_empty() && self.open.iter().all(Option::is_none);
        self.gone && self.ready.is_empty() && (read || self.failed.is_some())
    }

    /// Reads what is new, and moves to `batch` what is complete, until that is full. Who fails is left alone for a while.
    pub fn poll(&mut self, now: UnixNanos, batch: &mut Vec<Entry>, bytes: &mut usize, counts: &mut Counts) {
        if self.failed.is_some_and(|at| at.plus(limits::RETRY) > now) {
            return;
        }
        match self.read_new(now, batch, bytes, counts) {
            Ok(()) => self.failed = None,
            Err(error) => {
                if self.failed.replace(now).is_none() {
                    tracing::warn!(path = %self.path.display(), %error, "cannot be read: it is tried again");
                }
                // What was read before that is handed out.
                self.mark();
            }
        }
    }

    fn read_new(
        &mut self,
        now: UnixNanos,
        batch: &mut Vec<Entry>,
        bytes: &mut usize,
        counts: &mut Counts,
    ) -> io::Result<()> {
        let length = self.file.metadata()?.len();
        if length != self.length {
            self.length = length;
            self.grown = now;
        } else if self.drained
            && self.ready.is_empty()
            && self.open.iter().all(Option::is_none)
            && !self.has_end(now)
        {
            return Ok(());
        }
        if length < self.offset + self.buffer.len() as u64 || !self.has(self.print)? {
            counts.truncated += 1;
            self.close_all();
            self.print = Print::default();
            self.sent = [0; 2];
            self.rewind_to(0);
        }
        self.update_print(length)?;
        loop {
            while let Some(entry) = self.ready.pop_front() {
                *bytes += entry.body.len();
                batch.push(entry);
            }
            if is_full(batch, *bytes) {
                self.drained = false;
                break;
            }
            if self.read_line(now, counts) {
                continue;
            }
            if !self.fill()? {
                self.drained = true;
                if self.has_end(now) && self.read_end(counts, now) {
                    continue;
                }
                self.close_late(now);
                if self.ready.is_empty() {
                    break;
                }
            }
        }
        self.mark();
        Ok(())
    }

    /// What was handed out has arrived.
    pub fn acknowledge(&mut self) -> bool {
        let moved = self.sent != self.next;
        self.sent = self.next;
        moved
    }

    /// What was handed out has not arrived: it is read again.
    pub fn rewind(&mut self) {
        self.ready.clear();
        self.open = [None, None];
        self.rewind_to(self.sent[0].min(self.sent[1]));
    }

    /// Where it stands, to be kept.
    pub fn position(&self, now: UnixNanos) -> Position {
        Position {
            device: self.key.0,
            inode: self.key.1,
            path: self.path.to_string_lossy().into_owned(),
            print: self.print,
            sent: self.sent,
            seen: now,
        }
    }

    fn rewind_to(&mut self, offset: u64) {
        self.offset = offset;
        self.buffer.clear();
        self.drained = false;
        // In the midst of a line that was there before, or was too long: the rest of it is passed over.
        let mut before = [b'\n'];
        let read = offset == 0 || self.file.read_exact_at(&mut before, offset - 1).is_ok();
        self.skipping = read && before[0] != b'\n';
        self.mark();
    }

    /// Whether nobody will write to it any more. Who still has a file open that was renamed is given time.
    fn has_end(&self, now: UnixNanos) -> bool {
        self.gone && self.grown.plus(GRACE) <= now
    }

    /// An event that is still open is read again; a stream without one has been read up to here.
    fn mark(&mut self) {
        for stream in 0..2 {
            let here = self.open[stream].as_ref().map_or(self.offset, |open| open.start);
            self.next[stream] = here.max(self.sent[stream]);
        }
    }

    /// Takes the next line from the buffer; `false` when there is none.
    fn read_line(&mut self, now: UnixNanos, counts: &mut Counts) -> bool {
        let (end, whole) = match memchr::memchr(b'\n', &self.buffer) {
            Some(end) => (end + 1, true),
            None if self.buffer.len() >= limits::EVENT_BYTES => (self.buffer.len(), false),
            None => return false,
        };
        self.take_line(end, whole, now, counts);
        true
    }

    /// A file may end without a line end.
    fn read_end(&mut self, counts: &mut Counts, now: UnixNanos) -> bool {
        let left = self.buffer.len();
        if left > 0 {
            self.take_line(left, true, now, counts);
        }
        left > 0
    }

    fn take_line(&mut self, end: usize, whole: bool, now: UnixNanos, counts: &mut Counts) {
        let start = self.offset;
        let bytes: Vec<u8> = self.buffer.drain(..end).collect();
        self.offset += end as u64;
        if self.skipping {
            self.skipping = !whole;
            return;
        }
        if !whole {
            counts.cut += 1;
            self.skipping = true;
        }
        let line = Line::read(bytes.strip_suffix(b"\n").unwrap_or(&bytes));
        let stream = usize::from(line.stderr);
        if self.offset <= self.sent[stream] {
            return;
        }
        let rest = match &mut self.open[stream] {
            Some(open) => open.join(line, now),
            None => Some(line),
        };
        let Some(line) = rest else { return };
        if let Some(open) = self.open[stream].take() {
            self.finish(open, stream);
        }
        if !line.text.trim().is_empty() {
            self.open[stream] = Some(Open::new(line, start, now));
        }
    }

    /// Whether more was there.
    fn fill(&mut self) -> io::Result<bool> {
        let have = self.buffer.len();
        self.buffer.resize(have + READ_BYTES, 0);
        let read = self.file.read_at(&mut self.buffer[have..], self.offset + have as u64);
        self.buffer.truncate(have + read.as_ref().copied().unwrap_or(0));
        Ok(read? > 0)
    }

    /// Closes events whose next line has not come in time.
    fn close_late(&mut self, now: UnixNanos) {
        for stream in 0..2 {
            let ended = self.has_end(now);
            let late = |open: &Open| ended || open.read.plus(limits::JOIN) <= now;
            if self.open[stream].as_ref().is_some_and(late)
                && let Some(open) = self.open[stream].take()
            {
                self.finish(open, stream);
            }
        }
    }

    fn close_all(&mut self) {
        for stream in 0..2 {
            if let Some(open) = self.open[stream].take() {
                self.finish(open, stream);
            }
        }
    }

    fn finish(&mut self, open: Open, stream: usize) {
        let source = Source { stderr: stream == 1, ..Source::of_path(&self.path) };
        self.ready.push_back(Entry {
            uid: format!(
                "{:x}-{:x}-{:x}-{:x}",
                self.key.0,
                self.key.1,
                open.start,
                xxh3_64(open.text.as_bytes())
            ),
            time: open.time.unwrap_or(open.read),
            severity: severity::of(&open.text),
            body: open.text,
            source,
        });
    }

    fn has(&self, print: Print) -> io::Result<bool> {
        let mut head = [0; PRINT_BYTES as usize];
        let head = &mut head[..usize::try_from(print.bytes.min(PRINT_BYTES)).unwrap_or_default()];
        match self.file.read_exact_at(head, 0) {
            Ok(()) => Ok(print.bytes == 0 || xxh3_64(head) == print.hash),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn update_print(&mut self, length: u64) -> io::Result<()> {
        let bytes = length.min(PRINT_BYTES);
        if bytes > self.print.bytes {
            let mut head = vec![0; usize::try_from(bytes).unwrap_or_default()];
            self.file.read_exact_at(&mut head, 0)?;
            self.print = Print { bytes, hash: xxh3_64(&head) };
        }
        Ok(())
    }
}

pub(super) fn is_full(batch: &[Entry], bytes: usize) -> bool {
    batch.len() >= limits::BATCH || bytes >= limits::BATCH_BYTES
}
