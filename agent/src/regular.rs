//! Opening files that other programs chose: a pipe or a device in the place of a file must not hold up the agent.

use std::fs::{File, OpenOptions};
use std::io::Result;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;

/// Opens a regular file for reading. `None` for anything else, without waiting for who may write to it.
pub fn open(path: &Path) -> Result<Option<File>> {
    let file = OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(path)?;
    Ok(file.metadata()?.is_file().then_some(file))
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    #[test]
    fn a_pipe_in_the_place_of_a_file_holds_up_nobody() {
        let folder = tempfile::tempdir().expect("a folder");
        let (pipe, file) = (folder.path().join("pipe"), folder.path().join("file"));
        mknodat(CWD, &pipe, FileType::Fifo, Mode::from_raw_mode(0o600), 0).expect("a pipe");
        assert!(open(&pipe).expect("no error").is_none());
        std::fs::write(&file, "text").expect("a file");
        let mut text = String::new();
        open(&file).expect("no error").expect("a file").read_to_string(&mut text).expect("a text");
        assert_eq!(text, "text");
    }
}
