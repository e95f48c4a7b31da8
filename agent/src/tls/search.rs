//! A thread that reads files, and lets go of probes: both may take long, and events do not wait.

use std::fs::File;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use super::watched::Content;
use super::{Seen, look};
use aya::programs::uprobe::UProbeLink;

/// Files that wait to be read: each is held open.
const MOST_WAITING: usize = 128;

/// A file to be read.
pub(super) struct Asked {
    pub file: File,
    pub path: PathBuf,
    pub content: Content,
}

/// A file that was read, still open: it is the one that probes go to.
pub(super) struct Read {
    pub file: File,
    pub path: PathBuf,
    pub content: Content,
    pub seen: Vec<Seen>,
}

/// The thread. It ends when this is dropped.
pub(super) struct Search {
    asked: SyncSender<Asked>,
    read: Receiver<Read>,
    gone: Sender<Vec<UProbeLink>>,
}

impl Search {
    pub fn start() -> Self {
        let (asked, asking) = sync_channel(MOST_WAITING);
        let (reading, read) = channel();
        let (gone, going) = channel::<Vec<UProbeLink>>();
        std::thread::spawn(move || {
            for Asked { file, path, content } in asking {
                let seen = look(&file);
                if reading.send(Read { file, path, content, seen }).is_err() {
                    return;
                }
            }
        });
        std::thread::spawn(move || going.into_iter().for_each(drop));
        Self { asked, read, gone }
    }

    /// Whether the file will be read: not when too many wait.
    pub fn ask(&self, file: Asked) -> bool {
        self.asked.try_send(file).is_ok()
    }

    /// A file that was read since the last time.
    pub fn next(&self) -> Option<Read> {
        self.read.try_recv().ok()
    }

    /// Takes the probes away, some time soon.
    pub fn release(&self, links: Vec<UProbeLink>) {
        // Where the thread is gone they are dropped here.
        let _ = (!links.is_empty()).then(|| self.gone.send(links));
    }
}
