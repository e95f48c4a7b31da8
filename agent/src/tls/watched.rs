//! The files that are watched, for as long as some process has them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, Metadata};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use aya::programs::uprobe::UProbeLink;

use super::search::{Asked, Read, Search};
use super::{Library, Probe, Seen, is_go, look};
use crate::kernel::Programs;
use crate::regular;

/// Where libraries of the system are.
const FOLDERS: [&str; 7] = [
    "/usr/lib",
    "/usr/lib64",
    "/lib",
    "/lib64",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/local/lib",
];
/// Files that are watched at a time.
const MOST_FILES: usize = 256;

/// A file as it is, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Content {
    device: u64,
    inode: u64,
    size: u64,
    /// When it was last written, in seconds and nanoseconds.
    written: (i64, i64),
}

impl Content {
    pub fn of(it: &Metadata) -> Self {
        let written = (it.mtime(), it.mtime_nsec());
        Self { device: it.dev(), inode: it.ino(), size: it.size(), written }
    }
}

/// What is known of one file, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// As the process that has it calls it.
    pub path: PathBuf,
    /// What it speaks TLS with, and why that is not seen, where it is not.
    pub libraries: Vec<(Library, Option<String>)>,
}

/// The files that are watched.
///
/// They are read by a thread of its own: the symbols of a large program take long. [`settle`](Self::settle) puts the probes.
pub struct TlsLibraries {
    root: PathBuf,
    watched: BTreeMap<Content, Watched>,
    /// Files without anything to watch, so that they are not read again.
    others: BTreeSet<Content>,
    /// Files that are being read, and who has them; none for the system.
    asked: BTreeMap<Content, BTreeSet<Option<u32>>>,
    search: Search,
}

struct Watched {
    path: PathBuf,
    /// Of the system: watched for as long as the agent runs.
    standing: bool,
    pids: BTreeSet<u32>,
    links: Vec<UProbeLink>,
}

impl Watched {
    /// Takes `pid` out; whether it was the last to have the file.
    fn is_last(&mut self, pid: u32) -> bool {
        self.pids.remove(&pid) && !self.standing && self.pids.is_empty()
    }
}

impl TlsLibraries {
    /// None yet; `root` is where the host's `/` is.
    pub fn new(root: PathBuf) -> Self {
        Self {
            root,
            watched: BTreeMap::new(),
            others: BTreeSet::new(),
            asked: BTreeMap::new(),
            search: Search::start(),
        }
    }

    /// Watches the libraries of the system, so that even the first connection of a short-lived program is seen.
    pub fn watch_system(&mut self) {
        for path in self.system() {
            self.watch(&path, None);
        }
    }

    /// Watches the program of process `pid` when it is one of Go.
    pub fn watch_start(&mut self, pid: u32) {
        let path = self.root.join(format!("proc/{pid}/exe"));
        // What it ran before, it has no more.
        let now = content(&path);
        self.let_go(|content, watched| Some(*content) != now && watched.is_last(pid));
        if file_is_go(&path) {
            self.watch(&path, Some(pid));
        }
    }

    /// The same for all that run.
    pub fn watch_running(&mut self) {
        for pid in self.running() {
            self.watch_start(pid);
        }
    }

    /// Watches whatever library process `pid` has mapped, or its own program when that has the functions built in.
    pub fn watch_process(&mut self, pid: u32) {
        for path in self.mapped(pid) {
            self.watch(&path, Some(pid));
        }
    }

    /// Puts probes on the files that were read since the last time.
    pub fn settle(&mut self, programs: &mut Programs) {
        while let Some(Read { file, path, content, seen }) = self.search.next() {
            let Some(pids) = self.asked.remove(&content) else { continue };
            let mut links = Vec::new();
            for Seen { library, outcome } in seen {
                match outcome.map_err(anyhow::Error::msg).and_then(|probes| place(programs, &file, &probes)) {
                    Ok(placed) => {
                        tracing::info!(path = %path.display(), ?library, probes = placed.len(), "watching TLS");
                        links.extend(placed);
                    }
                    Err(error) => {
                        let error = format!("{error:#}");
                        tracing::info!(path = %path.display(), ?library, error, "TLS that is not seen");
                    }
                }
            }
            if links.is_empty() {
                self.others.insert(content);
                continue;
            }
            let standing = pids.contains(&None);
            let pids = pids.into_iter().flatten().collect();
            self.watched.insert(content, Watched { path, standing, pids, links });
        }
    }

    /// Lets go of what only process `pid` had, of which the first thread has ended; others may still run.
    pub fn ended(&mut self, pid: u32) {
        let threads = std::fs::read_dir(self.root.join(format!("proc/{pid}/task"))).into_iter().flatten();
        if threads.flatten().any(|it| *it.file_name() != *pid.to_string()) {
            return;
        }
        self.let_go(|_, watched| watched.is_last(pid));
    }

    /// Lets go of files whose processes are gone, and of those that have changed since.
    pub fn sweep(&mut self) {
        let proc = self.root.join("proc");
        self.let_go(|known, watched| {
            watched.pids.retain(|pid| proc.join(pid.to_string()).exists());
            let stands = watched.standing && content(&watched.path).as_ref() == Some(known);
            !stands && watched.pids.is_empty()
        });
        if self.others.len() > 64 * MOST_FILES {
            self.others.clear();
        }
    }

    fn let_go(&mut self, mut is_done: impl FnMut(&Content, &mut Watched) -> bool) {
        let mut gone = Vec::new();
        self.watched.retain(|content, watched| {
            let done = is_done(content, watched);
            if done {
                gone.append(&mut watched.links);
            }
            !done
        });
        // The kernel takes its time to be sure that no probe runs any more.
        self.search.release(gone);
    }

    /// How many files are watched.
    pub fn len(&self) -> usize {
        self.watched.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.watched.is_empty()
    }

    /// What is on this machine: the libraries of the system, and whatever the running programs have mapped. Nothing is watched.
    pub fn survey(&self) -> Vec<Report> {
        let mut known = BTreeSet::new();
        let mut reports = Vec::new();
        let running = self.running().into_iter().flat_map(|pid| self.mapped(pid));
        for path in self.system().into_iter().chain(running) {
            let Some(content) = content(&path) else { continue };
            if !known.insert(content) {
                continue;
            }
            let seen = seen(&path).unwrap_or_default();
            if !seen.is_empty() {
                let libraries = seen.into_iter().map(|it| (it.library, it.outcome.err())).collect();
                reports.push(Report { path: self.as_called(&path), libraries });
            }
        }
        reports
    }

    fn system(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for folder in FOLDERS {
            let folder = self.root.join(folder.trim_start_matches('/'));
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                if entry.file_name().to_string_lossy().starts_with("libssl.so") {
                    found.push(entry.path());
                }
            }
        }
        found
    }

    fn running(&self) -> Vec<u32> {
        let entries = std::fs::read_dir(self.root.join("proc")).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().to_string_lossy().parse().ok()).collect()
    }

    /// Files that process `pid` runs code of, its own program among them.
    fn mapped(&self, pid: u32) -> Vec<PathBuf> {
        let folder = self.root.join(format!("proc/{pid}"));
        let maps = std::fs::read_to_string(folder.join("maps")).unwrap_or_default();
        let mut seen = BTreeSet::new();
        for line in maps.lines() {
            // address, permissions, offset, device, inode, path
            let mut fields = line.split_whitespace();
            let executable = fields.nth(1).is_some_and(|it| it.contains('x'));
            if let Some(path) = fields.nth(3).filter(|it| executable && it.starts_with('/')) {
                seen.insert(path);
            }
        }
        seen.into_iter().map(|path| folder.join("root").join(path.trim_start_matches('/'))).collect()
    }

    /// A path of `/proc/PID/root` as the process has it.
    fn as_called(&self, path: &Path) -> PathBuf {
        let Ok(inner) = path.strip_prefix(self.root.join("proc")) else { return path.to_owned() };
        let mut parts = inner.components();
        match (parts.next(), parts.next()) {
            (Some(_), Some(root)) if root.as_os_str() == "root" => Path::new("/").join(parts),
            _ => path.to_owned(),
        }
    }

    fn watch(&mut self, path: &Path, pid: Option<u32>) {
        let Ok(Some(file)) = regular::open(path) else { return };
        let Some(content) = file.metadata().ok().map(|it| Content::of(&it)) else { return };
        if let Some(watched) = self.watched.get_mut(&content) {
            watched.pids.extend(pid);
        } else if let Some(pids) = self.asked.get_mut(&content) {
            pids.insert(pid);
        } else if !self.others.contains(&content)
            && self.watched.len() + self.asked.len() < MOST_FILES
            && self.search.ask(Asked { file, path: path.to_owned(), content })
        {
            self.asked.insert(content, BTreeSet::from([pid]));
        }
    }
}

/// All of the probes, or none. On the file that was read, whatever its path leads to by now.
fn place(programs: &mut Programs, file: &File, probes: &[Probe]) -> Result<Vec<UProbeLink>> {
    let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    probes.iter().map(|probe| programs.probe(probe.program, &path, probe.place)).collect()
}

fn content(path: &Path) -> Option<Content> {
    std::fs::metadata(path).ok().map(|it| Content::of(&it))
}

fn seen(path: &Path) -> Result<Vec<Seen>> {
    Ok(look(&regular::open(path)?.context("not a regular file")?))
}

fn file_is_go(path: &Path) -> bool {
    regular::open(path).ok().flatten().is_some_and(|file| is_go(&file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_of_a_library() {
        let Some(path) = ["/usr/lib/x86_64-linux-gnu/libssl.so.3", "/usr/lib64/libssl.so.3"]
            .iter()
            .find(|it| Path::new(it).exists())
        else {
            eprintln!("skipped: there is no OpenSSL 3 here");
            return;
        };
        let found = seen(Path::new(path)).expect("a file");
        let [Seen { library: Library::OpenSsl, outcome: Ok(probes) }] = found.as_slice() else {
            panic!("{found:?}")
        };
        assert_eq!(probes.len(), 8);
        assert!(seen(Path::new("/etc/passwd")).expect("a file").is_empty());
    }
}
