//! How far each file was read, on disk.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use domain::UnixNanos;
use serde::{Deserialize, Serialize};

/// A file, whatever it is called: device and inode.
pub(super) type Key = (u64, u64);

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    pub device: u64,
    pub inode: u64,
    /// What it was called last.
    pub path: String,
    /// Its first bytes, so that another file with the same inode is not taken for it.
    pub print: Print,
    /// Up to where events of the standard output, and of the standard error, have arrived.
    pub sent: [u64; 2],
    /// When it was last there.
    pub seen: UnixNanos,
}

/// A hash of the first bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Print {
    pub bytes: u64,
    pub hash: u64,
}

/// `None` when there has never been an agent here. A damaged file counts as an error: to go on would send everything again.
pub(super) fn load(path: &Path) -> io::Result<Option<BTreeMap<Key, Position>>> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let list: Vec<Position> = serde_json::from_slice(&text).map_err(io::Error::other)?;
    Ok(Some(list.into_iter().map(|position| ((position.device, position.inode), position)).collect()))
}

/// Replaces what is noted at `path`: whole, or not at all.
pub(super) fn save<'a>(path: &Path, positions: impl Iterator<Item = &'a Position>) -> io::Result<()> {
    let list: Vec<&Position> = positions.collect();
    replace(path, &serde_json::to_vec(&list).map_err(io::Error::other)?)
}

/// Writes a file beside `path`, waits until it is on disk, and puts it in its place.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let beside = path.with_extension("new");
    let mut file = File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_data()?;
    fs::rename(&beside, path)?;
    File::open(folder)?.sync_data()
}
