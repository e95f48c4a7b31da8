//! All files under some globs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use domain::UnixNanos;

use super::follow::{Followed, is_full};
use super::glob::Glob;
use super::positions::{self, Key, Position};
use super::{Entry, Settings, limits};

/// What went by, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Events that have arrived.
    pub sent: u64,
    /// Lines that were too long and have lost their end.
    pub cut: u64,
    /// Times that a file became shorter, or another.
    pub truncated: u64,
    /// Files that were not followed because [`limits::FILES`] others were.
    pub refused: u64,
    /// Files that could not be read.
    pub unreadable: u64,
}

/// Follows files. One batch is on its way at a time.
#[derive(Debug)]
pub struct Tail {
    globs: Vec<Glob>,
    place: PathBuf,
    root: PathBuf,
    files: BTreeMap<Key, Followed>,
    /// Places in files that are not open.
    kept: BTreeMap<Key, Position>,
    /// No agent was here before, and none of this one's scans: what is there is not new.
    first: bool,
    /// The file whose turn it is.
    turn: Option<Key>,
    on_its_way: u64,
    counts: Counts,
}

impl Tail {
    /// Reads what the agent before left. Fails on a pattern that is none, and on positions that cannot be read.
    pub fn open(settings: Settings) -> io::Result<Self> {
        let globs =
            settings.globs.iter().map(|glob| Glob::new(&settings.root, glob)).collect::<Result<_, _>>();
        let kept = positions::load(&settings.positions)?;
        Ok(Self {
            globs: globs.map_err(io::Error::other)?,
            first: kept.is_none() && !settings.from_start,
            place: settings.positions,
            root: settings.root,
            files: BTreeMap::new(),
            kept: kept.unwrap_or_default(),
            turn: None,
            on_its_way: 0,
            counts: Counts::default(),
        })
    }

    /// What went by.
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// How many files are open.
    pub fn files(&self) -> usize {
        self.files.len()
    }

    /// Looks which files there are. To be called before the first poll, and then now and again.
    pub fn scan(&mut self, now: UnixNanos) -> io::Result<()> {
        let mut here = BTreeSet::new();
        let mut added = self.first;
        let paths: Vec<PathBuf> = self.globs.iter().flat_map(Glob::files).collect();
        for path in paths {
            let Ok(metadata) = fs::metadata(&path) else { continue };
            let key = (metadata.dev(), metadata.ino());
            if !here.insert(key) {
                continue;
            }
            if let Some(file) = self.files.get_mut(&key) {
                // Renamed, but still to be followed.
                file.path = path;
                file.gone = false;
            } else {
                added |= self.add(&path)?;
            }
        }
        self.find_renamed(&here);
        for (key, file) in &mut self.files {
            file.gone = !here.contains(key);
        }
        self.first = false;
        if added {
            // Known by name from here on: also when it is renamed before the first of it has arrived.
            self.save(now)?;
        }
        self.kept.retain(|_, position| position.seen.plus(limits::MEMORY) > now);
        Ok(())
    }

    /// Whether it is followed now.
    fn add(&mut self, path: &Path) -> io::Result<bool> {
        if self.files.len() >= limits::FILES {
            self.counts.refused += 1;
            return Ok(false);
        }
        let Ok(Some(mut file)) = Followed::open(path) else {
            self.counts.unreadable += 1;
            return Ok(false);
        };
        let resumed = match self.kept.remove(&file.key) {
            Some(position) => file.resume(&position)?,
            None => false,
        };
        if !resumed && self.first {
            file.start_at_end()?;
        }
        self.files.insert(file.key, file);
        Ok(true)
    }

    /// A file that was renamed while no agent ran is found beside its old name, and read to its end.
    fn find_renamed(&mut self, here: &BTreeSet<Key>) {
        let folders: BTreeSet<PathBuf> = self
            .kept
            .iter()
            .filter(|(key, _)| !here.contains(key) && !self.files.contains_key(key))
            .filter_map(|(_, position)| Path::new(&position.path).parent().map(Path::to_owned))
            .collect();
        for entry in folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            let key = (metadata.dev(), metadata.ino());
            let Some(position) = self.kept.get(&key).cloned() else { continue };
            let unread = metadata.len() > position.sent[0].min(position.sent[1]);
            if let Ok(Some(mut file)) = Followed::open(&entry.path())
                && unread
                && self.files.len() < limits::FILES
                && file.resume(&position).unwrap_or(false)
            {
                // Its events are of the log that it was.
                file.path = PathBuf::from(&position.path);
                self.kept.remove(&key);
                self.files.insert(key, file);
            }
        }
    }

    /// A batch of what is new, perhaps empty. It has to be acknowledged or rewound before the next.
    pub fn poll(&mut self, now: UnixNanos) -> io::Result<Vec<Entry>> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        let mut keys: Vec<Key> = self.files.keys().copied().collect();
        // Where the last batch was full, so that no file waits for the others forever.
        let from = self.turn.map_or(0, |turn| keys.partition_point(|key| *key <= turn));
        let from = from.min(keys.len());
        keys.rotate_left(from);
        for key in keys {
            let Some(file) = self.files.get_mut(&key) else { continue };
            if file.poll(now, &mut batch, &mut bytes, &mut self.counts).is_err() {
                self.counts.unreadable += 1;
            }
            if is_full(&batch, bytes) {
                self.turn = Some(key);
                break;
            }
        }
        for path in batch.iter_mut().filter_map(|entry| entry.source.path.as_mut()) {
            if let Ok(within) = Path::new(path).strip_prefix(&self.root) {
                *path = format!("/{}", within.display());
            }
        }
        self.on_its_way = batch.len() as u64;
        if batch.is_empty() {
            self.let_go(now);
        }
        Ok(batch)
    }

    /// The batch has arrived: notes that on disk.
    pub fn acknowledge(&mut self, now: UnixNanos) -> io::Result<()> {
        self.counts.sent += std::mem::take(&mut self.on_its_way);
        let mut moved = false;
        for file in self.files.values_mut() {
            moved |= file.acknowledge();
        }
        if moved { self.save(now) } else { Ok(()) }
    }

    /// The batch has not arrived: it comes again.
    pub fn rewind(&mut self) {
        self.on_its_way = 0;
        for file in self.files.values_mut() {
            file.rewind();
        }
    }

    fn let_go(&mut self, now: UnixNanos) {
        let over: Vec<Key> =
            self.files.iter().filter(|(_, file)| file.is_over()).map(|(key, _)| *key).collect();
        for key in over {
            if let Some(file) = self.files.remove(&key) {
                self.kept.insert(key, file.position(now));
            }
        }
    }

    fn save(&self, now: UnixNanos) -> io::Result<()> {
        let open: Vec<Position> = self.files.values().map(|file| file.position(now)).collect();
        positions::save(&self.place, open.iter().chain(self.kept.values()))
    }
}
