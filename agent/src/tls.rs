//! Watching TLS libraries: found where they usually are, and in every process that is seen to speak TLS.
//!
//! A probe sits on a file, and so in every process that has it mapped, now or later. Nothing is written to a program: the kernel
//! puts the probes, and takes them away when the links are dropped or this process ends.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use aya::programs::uprobe::UProbeLink;
use object::read::elf::ProgramHeader as _;
use object::{Endianness, Object as _, ObjectSymbol as _, ReadCache};

use crate::kernel::{OPENSSL_DOORS, Programs};
use crate::regular;

/// Where libraries of the system are.
const FOLDERS: [&str; 8] = [
    "/usr/lib",
    "/usr/lib64",
    "/lib",
    "/lib64",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/local/lib",
];
/// Files that are watched at a time.
const MOST_FILES: usize = 256;

/// A file, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Inode {
    device: u64,
    number: u64,
}

/// The files that are watched.
pub struct TlsLibraries {
    root: PathBuf,
    watched: BTreeMap<Inode, Watched>,
    /// Files without the functions, so that they are not read again.
    others: BTreeSet<Inode>,
}

struct Watched {
    /// Of the system: watched for as long as the agent runs.
    standing: bool,
    pids: BTreeSet<u32>,
    _links: Vec<UProbeLink>,
}

impl TlsLibraries {
    /// None yet; `root` is where the host's `/` is.
    pub fn new(root: PathBuf) -> Self {
        Self { root, watched: BTreeMap::new(), others: BTreeSet::new() }
    }

    /// Watches the libraries of the system, so that even the first connection of a short-lived program is seen.
    pub fn watch_system(&mut self, programs: &mut Programs) {
        for folder in FOLDERS {
            let folder = self.root.join(folder.trim_start_matches('/'));
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                if entry.file_name().to_string_lossy().starts_with("libssl.so") {
                    self.watch(programs, &entry.path(), None);
                }
            }
        }
    }

    /// Watches whatever library process `pid` has mapped, or its own program when that has the functions built in.
    pub fn watch_process(&mut self, programs: &mut Programs, pid: u32) {
        let folder = self.root.join(format!("proc/{pid}"));
        let maps = std::fs::read_to_string(folder.join("maps")).unwrap_or_default();
        let mut seen = BTreeSet::new();
        for line in maps.lines() {
            // address, permissions, offset, device, inode, path
            let mut fields = line.split_whitespace();
            let executable = fields.nth(1).is_some_and(|it| it.contains('x'));
            let Some(path) = fields.nth(3).filter(|it| executable && it.starts_with('/')) else { continue };
            if seen.insert(path) {
                self.watch(programs, &folder.join("root").join(path.trim_start_matches('/')), Some(pid));
            }
        }
    }

    /// Lets go of files whose processes are gone.
    pub fn sweep(&mut self) {
        let proc = self.root.join("proc");
        self.watched.retain(|_, watched| {
            watched.pids.retain(|pid| proc.join(pid.to_string()).exists());
            watched.standing || !watched.pids.is_empty()
        });
        if self.others.len() > 64 * MOST_FILES {
            self.others.clear();
        }
    }

    /// How many files are watched.
    pub fn len(&self) -> usize {
        self.watched.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.watched.is_empty()
    }

    fn watch(&mut self, programs: &mut Programs, path: &Path, pid: Option<u32>) {
        let Ok(metadata) = std::fs::metadata(path) else { return };
        let inode = Inode { device: metadata.dev(), number: metadata.ino() };
        if let Some(watched) = self.watched.get_mut(&inode) {
            watched.pids.extend(pid);
            return;
        }
        if self.others.contains(&inode) || self.watched.len() >= MOST_FILES {
            return;
        }
        match doors(path).and_then(|doors| open(programs, path, &doors)) {
            Ok(links) if links.is_empty() => {
                self.others.insert(inode);
            }
            Ok(links) => {
                tracing::info!(path = %path.display(), "watching TLS");
                let watched =
                    Watched { standing: pid.is_none(), pids: pid.into_iter().collect(), _links: links };
                self.watched.insert(inode, watched);
            }
            Err(error) => {
                tracing::debug!(path = %path.display(), error = format!("{error:#}"), "not a library that can be watched");
                self.others.insert(inode);
            }
        }
    }
}

fn open(
    programs: &mut Programs,
    path: &Path,
    doors: &[(crate::kernel::TlsDoor, u64)],
) -> Result<Vec<UProbeLink>> {
    let mut links = Vec::new();
    for (door, offset) in doors {
        links.extend(programs.open_tls(*door, path, *offset)?);
    }
    Ok(links)
}

/// The functions that are in the file, and where.
fn doors(path: &Path) -> Result<Vec<(crate::kernel::TlsDoor, u64)>> {
    let cache = ReadCache::new(regular::open(path)?.context("not a regular file")?);
    let elf =
        object::read::elf::ElfFile64::<Endianness, _>::parse(&cache).context("not a program of 64 bits")?;
    let mut found = Vec::new();
    for symbol in elf.dynamic_symbols().chain(elf.symbols()) {
        if !symbol.is_definition() {
            continue;
        }
        let Some(door) =
            symbol.name().ok().and_then(|name| OPENSSL_DOORS.iter().find(|door| door.symbol == name))
        else {
            continue;
        };
        if found.iter().any(|(known, _): &(crate::kernel::TlsDoor, u64)| known == door) {
            continue;
        }
        // A probe is placed by its offset in the file.
        let offset = elf.elf_program_headers().iter().find_map(|header| {
            let from = header.p_vaddr(Endianness::Little);
            let within = symbol.address().checked_sub(from)?;
            (within < header.p_filesz(Endianness::Little))
                .then(|| header.p_offset(Endianness::Little) + within)
        });
        if let Some(offset) = offset {
            found.push((*door, offset));
        }
    }
    Ok(found)
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
        let found = doors(Path::new(path)).expect("a library");
        assert_eq!(found.len(), OPENSSL_DOORS.len());
        assert!(doors(Path::new("/etc/passwd")).is_err());
    }
}
