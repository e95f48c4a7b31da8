//! All files under some globs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use domain::UnixNanos;

use super::follow::{Followed, is_full};
use super::glob::Glob;
use super::positions::{self, Key, Position, Print};
use super::{Counts, Entry, Settings, limits};

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
    /// Whether places have moved that are not noted on disk yet.
    unsaved: bool,
    /// Files that could not be opened at the last scan.
    closed: BTreeSet<Key>,
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
            unsaved: false,
            closed: BTreeSet::new(),
            counts: Counts::default(),
        })
    }

    /// What went by.
    pub fn counts(&self) -> Counts {
        let failing = self.files.values().filter(|file| file.failed.is_some()).count();
        Counts {
            files: self.files.len() as u64,
            unreadable: (self.closed.len() + failing) as u64,
            ..self.counts
        }
    }

    /// How many files are open.
    pub fn files(&self) -> usize {
        self.files.len()
    }

    /// Looks which files there are. To be called before the first poll, and then now and again. Fails when the places cannot be noted:
    /// they are kept, and noted by the next scan that can.
    pub fn scan(&mut self, now: UnixNanos) -> io::Result<()> {
        let mut here = BTreeSet::new();
        self.counts.refused = 0;
        let closed_before = std::mem::take(&mut self.closed);
        // Known by name from here on: also when one is renamed before the first of it has arrived.
        self.unsaved |= self.first;
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
                continue;
            }
            // One that is gone again is no trouble.
            if let Err(error) = self.add(&path)
                && error.kind() != io::ErrorKind::NotFound
            {
                self.closed.insert(key);
                if !closed_before.contains(&key) {
                    tracing::warn!(path = %path.display(), %error, "cannot be opened: it is tried again");
                }
            }
            if !self.files.contains_key(&key) {
                self.set_aside(key, &path, metadata.len(), now);
            }
        }
        self.find_renamed(&here);
        for (key, file) in &mut self.files {
            file.gone = !here.contains(key);
        }
        self.first = false;
        self.kept.retain(|_, position| position.seen.plus(limits::MEMORY) > now);
        if self.unsaved { self.save(now) } else { Ok(()) }
    }

    /// Follows `path`, if there is room.
    fn add(&mut self, path: &Path) -> io::Result<()> {
        if self.files.len() >= limits::FILES {
            self.counts.refused += 1;
            return Ok(());
        }
        let Some(mut file) = Followed::open(path)? else { return Ok(()) };
        let resumed = match self.kept.get(&file.key) {
            Some(position) => file.resume(position)?,
            None => false,
        };
        if !resumed && self.first {
            file.start_at_end()?;
        }
        // Only now: the next scan starts from the same place if anything failed.
        self.kept.remove(&file.key);
        self.files.insert(file.key, file);
        self.unsaved = true;
        Ok(())
    }

    /// Remembers the place in a file that is there but cannot be followed yet. What was in it before the first agent is not new then
    /// either.
    fn set_aside(&mut self, key: Key, path: &Path, length: u64, now: UnixNanos) {
        if let Some(position) = self.kept.get_mut(&key) {
            position.seen = now;
        } else if self.first {
            let position = Position {
                device: key.0,
                inode: key.1,
                path: path.to_string_lossy().into_owned(),
                print: Print::default(),
                sent: [length; 2],
                seen: now,
            };
            self.kept.insert(key, position);
        }
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
            file.poll(now, &mut batch, &mut bytes, &mut self.counts);
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

    /// The batch has arrived: notes that on disk. When that fails, it is still known, and noted by the next scan that can.
    pub fn acknowledge(&mut self, now: UnixNanos) -> io::Result<()> {
        self.counts.sent += std::mem::take(&mut self.on_its_way);
        for file in self.files.values_mut() {
            self.unsaved |= file.acknowledge();
        }
        if self.unsaved { self.save(now) } else { Ok(()) }
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

    fn save(&mut self, now: UnixNanos) -> io::Result<()> {
        let open: Vec<Position> = self.files.values().map(|file| file.position(now)).collect();
        positions::save(&self.place, open.iter().chain(self.kept.values()))?;
        self.unsaved = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::Write as _;
    use std::os::unix::fs::symlink;

    use super::*;

    fn settings(folder: &Path, from_start: bool) -> Settings {
        Settings {
            root: "/".into(),
            globs: vec![format!("{}/*.log", folder.display())],
            positions: folder.join("state/positions"),
            from_start,
        }
    }

    fn append(path: &Path, text: &str) {
        let mut file = OpenOptions::new().create(true).append(true).open(path).expect("open");
        file.write_all(text.as_bytes()).expect("written");
    }

    const fn at(seconds: i64) -> UnixNanos {
        UnixNanos::from_seconds(1_795_096_951 + seconds)
    }

    /// What comes now and, after the next line was waited for, a little later.
    fn bodies(tail: &mut Tail, seconds: i64) -> Vec<String> {
        let mut entries = tail.poll(at(seconds)).expect("a batch");
        entries.extend(tail.poll(at(seconds + 2)).expect("a batch"));
        entries.into_iter().map(|entry| entry.body).collect()
    }

    #[test]
    fn a_disk_that_is_full_for_a_while_loses_and_doubles_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("a.log");
        let mut tail = Tail::open(settings(folder.path(), true)).expect("open");
        append(&log, "one\n");
        // Nothing can be put in the place of a folder.
        fs::create_dir_all(folder.path().join("state/positions")).expect("a folder");
        tail.scan(at(0)).expect_err("not noted");
        assert_eq!(bodies(&mut tail, 0), ["one"]);
        tail.acknowledge(at(2)).expect_err("not noted");
        append(&log, "two\n");
        tail.scan(at(4)).expect_err("not noted");
        assert_eq!(bodies(&mut tail, 4), ["two"]);
        tail.acknowledge(at(6)).expect_err("not noted");
        fs::remove_dir(folder.path().join("state/positions")).expect("gone");
        tail.scan(at(8)).expect("noted, though nothing is new");
        drop(tail);
        append(&log, "three\n");
        let mut tail = Tail::open(settings(folder.path(), true)).expect("open");
        tail.scan(at(10)).expect("noted");
        assert_eq!(bodies(&mut tail, 10), ["three"]);
    }

    #[test]
    fn a_file_that_cannot_be_read_holds_up_no_other() {
        let folder = tempfile::tempdir().expect("a folder");
        // The first page of a process's memory: to read it fails with EIO.
        symlink("/proc/self/mem", folder.path().join("a.log")).expect("a link");
        append(&folder.path().join("b.log"), "one\n");
        let mut tail = Tail::open(settings(folder.path(), true)).expect("open");
        tail.scan(at(0)).expect("noted");
        assert_eq!(bodies(&mut tail, 0), ["one"]);
        tail.acknowledge(at(2)).expect("noted");
        assert_eq!((tail.counts().files, tail.counts().unreadable), (2, 1));
        append(&folder.path().join("b.log"), "two\n");
        assert_eq!(bodies(&mut tail, 10), ["two"]);
        fs::remove_file(folder.path().join("a.log")).expect("gone");
        append(&folder.path().join("a.log"), "three\n");
        tail.acknowledge(at(12)).expect("noted");
        tail.scan(at(14)).expect("noted");
        assert_eq!(bodies(&mut tail, 14), ["three"]);
    }

    #[test]
    fn what_the_first_agent_cannot_follow_at_once_is_followed_from_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let number = |number: usize| folder.path().join(format!("{number:04}.log"));
        for one in 0..=limits::FILES {
            append(&number(one), "old\n");
        }
        let mut tail = Tail::open(settings(folder.path(), false)).expect("open");
        tail.scan(at(0)).expect("noted");
        assert_eq!((tail.counts().files, tail.counts().refused), (limits::FILES as u64, 1));
        append(&number(limits::FILES), "new\n");
        let days = 2 * limits::MEMORY.as_secs() as i64;
        for hour in 0..days / 3600 {
            tail.scan(at(hour * 3600)).expect("noted");
        }
        fs::remove_file(number(0)).expect("gone");
        tail.scan(at(days)).expect("noted");
        assert_eq!(bodies(&mut tail, days), [""; 0]);
        tail.poll(at(days + 10)).expect("a batch");
        tail.scan(at(days + 12)).expect("noted");
        assert_eq!(bodies(&mut tail, days + 12), ["new"]);
        assert_eq!(tail.counts().refused, 0);
    }
}
