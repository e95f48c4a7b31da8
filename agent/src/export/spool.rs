//! What could not be sent, on disk, oldest first, within a bound.
//!
//! One file for each request, whose name is its number and its signal; written beside and renamed, so that a file is whole or not
//! there. Beyond the bound the oldest go, and are counted: what is new matters more in an incident.

use std::collections::VecDeque;
use std::io::Write as _;
use std::path::PathBuf;

use bytes::Bytes;

use super::{Parcel, Signal};

/// What a file takes up at least, and each of its parts: many small ones fill a disk as well.
const BLOCK_BYTES: u64 = 4096;

/// The spool.
#[derive(Debug)]
pub struct Spool {
    folder: PathBuf,
    most_bytes: u64,
    files: VecDeque<Kept>,
    bytes: u64,
    next: u64,
    dropped: u64,
}

#[derive(Debug)]
struct Kept {
    number: u64,
    signal: Signal,
    bytes: u64,
}

impl Spool {
    /// Opens the spool in `folder`, with what an earlier run left there.
    pub fn open(folder: PathBuf, most_bytes: u64) -> std::io::Result<Self> {
        std::fs::create_dir_all(&folder)?;
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            let name = entry.file_name();
            match name.to_str().and_then(parse) {
                Some((number, signal)) => {
                    found.push(Kept { number, signal, bytes: on_disk(entry.metadata()?.len()) });
                }
                // Half written when an earlier run ended.
                None if name.to_str().is_some_and(|name| name.ends_with(".part")) => {
                    std::fs::remove_file(entry.path())?
                }
                None => {}
            }
        }
        found.sort_by_key(|kept| kept.number);
        let next = found.last().map_or(0, |kept| kept.number + 1);
        let bytes = found.iter().map(|kept| kept.bytes).sum();
        Ok(Self { folder, most_bytes, files: found.into(), bytes, next, dropped: 0 })
    }

    /// Keeps a parcel. When this returns it survives the end of the agent, and logs that of the host.
    pub fn push(&mut self, parcel: &Parcel) -> std::io::Result<()> {
        let kept =
            Kept { number: self.next, signal: parcel.signal, bytes: on_disk(parcel.body.len() as u64) };
        if kept.bytes > self.most_bytes {
            self.dropped += 1;
            return Ok(());
        }
        while self.bytes + kept.bytes > self.most_bytes {
            self.drop_first()?;
            self.dropped += 1;
        }
        let path = self.path(&kept);
        let part = path.with_extension("part");
        let mut file = std::fs::File::create(&part)?;
        file.write_all(&parcel.body)?;
        // Whoever reads logs notes that they are safe, and that note outlives the host.
        let outlives_the_host = parcel.signal == Signal::Logs;
        if outlives_the_host {
            file.sync_data()?;
        }
        std::fs::rename(&part, &path)?;
        if outlives_the_host {
            std::fs::File::open(&self.folder)?.sync_data()?;
        }
        self.next += 1;
        self.bytes += kept.bytes;
        self.files.push_back(kept);
        Ok(())
    }

    /// The oldest parcel; it stays until [`Spool::drop_first`].
    pub fn first(&mut self) -> std::io::Result<Option<Parcel>> {
        let Some(kept) = self.files.front() else { return Ok(None) };
        let body = Bytes::from(std::fs::read(self.path(kept))?);
        Ok(Some(Parcel { signal: kept.signal, body }))
    }

    /// Which parcel is the oldest.
    pub fn first_number(&self) -> Option<u64> {
        self.files.front().map(|kept| kept.number)
    }

    /// The oldest has arrived, or is not wanted any more.
    pub fn drop_first(&mut self) -> std::io::Result<()> {
        let Some(kept) = self.files.pop_front() else { return Ok(()) };
        self.bytes -= kept.bytes;
        std::fs::remove_file(self.path(&kept))
    }

    /// Bytes that wait, in whole blocks.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Parcels that wait.
    pub fn parcels(&self) -> usize {
        self.files.len()
    }

    /// Parcels that were given up for want of room.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    fn path(&self, kept: &Kept) -> PathBuf {
        self.folder.join(format!("{:016}.{}", kept.number, kept.signal.name()))
    }
}

/// The room that a file of so many bytes takes.
fn on_disk(bytes: u64) -> u64 {
    bytes.next_multiple_of(BLOCK_BYTES)
}

fn parse(name: &str) -> Option<(u64, Signal)> {
    let (number, signal) = name.split_once('.')?;
    Some((number.parse().ok()?, Signal::ALL.into_iter().find(|it| it.name() == signal)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parcel(text: &str) -> Parcel {
        Parcel { signal: Signal::Traces, body: Bytes::copy_from_slice(text.as_bytes()) }
    }

    fn drain(spool: &mut Spool) -> Vec<String> {
        let mut found = Vec::new();
        while let Some(parcel) = spool.first().expect("readable") {
            found.push(String::from_utf8(parcel.body.to_vec()).expect("text"));
            spool.drop_first().expect("removable");
        }
        found
    }

    #[test]
    fn order_survives_a_restart() {
        let folder = tempfile::tempdir().expect("a folder");
        let open = || Spool::open(folder.path().to_owned(), 5 * BLOCK_BYTES).expect("a spool");
        let mut spool = open();
        for text in ["one", "two", "three"] {
            spool.push(&parcel(text)).expect("kept");
        }
        spool.drop_first().expect("removable");
        std::fs::write(folder.path().join("0000000000000009.part"), "half").expect("written");
        let mut spool = open();
        spool.push(&parcel("four")).expect("kept");
        assert_eq!(spool.bytes(), 3 * BLOCK_BYTES);
        assert_eq!(drain(&mut spool), ["two", "three", "four"]);
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0);
    }

    #[test]
    fn the_oldest_give_way() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut spool = Spool::open(folder.path().to_owned(), 2 * BLOCK_BYTES).expect("a spool");
        for text in ["aaaa", "bbbb", "cccc", &"more than there is room for".repeat(1000)] {
            spool.push(&parcel(text)).expect("kept");
        }
        assert_eq!(spool.dropped(), 2);
        assert_eq!(drain(&mut spool), ["bbbb", "cccc"]);
    }
}
