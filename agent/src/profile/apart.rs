//! Where the symbols of a stripped program are: in a file apart, as distributions ship them (`-dbg` and `-dbgsym` packages, `debuginfo`).
//! The program names it, by what it was built as (`NT_GNU_BUILD_ID`) or by a file name and a checksum (`.gnu_debuglink`).
//! <https://sourceware.org/gdb/current/onlinedocs/gdb.html/Separate-Debug-Files.html>
//!
//! Deliberately absent: asking a server for it (`debuginfod`), and `.gnu_debugdata`.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use object::read::elf::{FileHeader as _, SectionHeader as _, SectionTable};
use object::{Endianness, ReadCache, ReadRef, elf};

use crate::regular;

type Sections<'data, R> = SectionTable<'data, elf::FileHeader64<Endianness>, R>;

const FOLDER: &str = "usr/lib/debug";
/// Largest section that is read for a mark. Real ones have some dozens of bytes.
const MARK_BYTES: u64 = 64 << 10;
/// Largest file whose checksum is made: only where nothing tells what it was built as.
const CHECKED_BYTES: u64 = 64 << 20;
const GNU: &[u8] = b"GNU";

/// What a program says of its file apart.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Marks {
    /// Equal in files of the same build.
    build: Option<Vec<u8>>,
    /// Name of the file, and the CRC-32 of its content.
    link: Option<(String, u32)>,
}

impl Marks {
    pub fn read<'data, R: ReadRef<'data>>(
        sections: &Sections<'data, R>,
        endian: Endianness,
        data: R,
    ) -> Self {
        let mut marks = Self::default();
        let small = sections.iter().filter(|it| it.sh_size(endian) <= MARK_BYTES);
        for section in small {
            if let Ok(Some(mut notes)) = section.notes(endian, data) {
                while let Ok(Some(note)) = notes.next() {
                    if note.name() == GNU && note.n_type(endian) == elf::NT_GNU_BUILD_ID {
                        marks.build = Some(note.desc().to_vec());
                    }
                }
            } else if sections.section_name(endian, section).is_ok_and(|name| name == b".gnu_debuglink") {
                marks.link = section.data(endian, data).ok().and_then(|data| link(data, endian));
            }
        }
        marks
    }

    /// The file apart of the program at `path`, which `roots` are below: that of its process first, then that of the host.
    pub fn find(&self, path: &Path, roots: &[PathBuf]) -> Option<File> {
        self.candidates(path, roots).iter().find_map(|candidate| {
            let file = regular::open(candidate).ok()??;
            self.fits(&file).then_some(file)
        })
    }

    /// Where the file is below `root` by what it was built as.
    pub fn by_build(&self, root: &Path) -> Option<PathBuf> {
        let [first, rest @ ..] = self.build.as_deref().filter(|it| it.len() > 1)? else { return None };
        let rest: String = rest.iter().map(|byte| format!("{byte:02x}")).collect();
        Some(root.join(format!("{FOLDER}/.build-id/{first:02x}/{rest}.debug")))
    }

    fn candidates(&self, path: &Path, roots: &[PathBuf]) -> Vec<PathBuf> {
        let mut found = Vec::new();
        found.extend(roots.iter().filter_map(|root| self.by_build(root)));
        if let (Some((name, _)), Some(folder)) = (&self.link, path.parent()) {
            found.push(folder.join(name));
            found.push(folder.join(".debug").join(name));
            // As the process names the folder.
            let within = roots.iter().find_map(|root| folder.strip_prefix(root).ok());
            found.extend(
                within.into_iter().flat_map(|within| {
                    roots.iter().map(move |root| root.join(FOLDER).join(within).join(name))
                }),
            );
        }
        found
    }

    /// Whether `file` is of the same build; where neither tells, whether it has the checksum.
    fn fits(&self, file: &File) -> bool {
        let build = build_of(file);
        match (&self.build, build) {
            (Some(own), Some(other)) => *own == other,
            _ => self.link.as_ref().is_some_and(|(_, sum)| checksum(file) == Some(*sum)),
        }
    }
}

fn build_of(file: &File) -> Option<Vec<u8>> {
    let cache = ReadCache::new(file);
    let header = elf::FileHeader64::<Endianness>::parse(&cache).ok()?;
    let endian = header.endian().ok()?;
    Marks::read(&header.sections(endian, &cache).ok()?, endian, &cache).build
}

/// A name without folders, zeros up to a multiple of four, and the checksum.
fn link(data: &[u8], endian: Endianness) -> Option<(String, u32)> {
    use object::Endian as _;

    let end = data.iter().position(|byte| *byte == 0)?;
    let name = std::str::from_utf8(&data[..end]).ok()?;
    let plain = !name.is_empty() && name != ".." && !name.contains('/');
    let sum = data.get((end + 1).next_multiple_of(4)..)?.first_chunk()?;
    plain.then(|| (name.to_owned(), endian.read_u32(*sum)))
}

fn checksum(mut file: &File) -> Option<u32> {
    if file.metadata().ok()?.len() > CHECKED_BYTES {
        return None;
    }
    std::io::Seek::rewind(&mut file).ok()?;
    let mut sum = crc32fast::Hasher::new();
    let mut piece = vec![0; 64 << 10];
    loop {
        match file.read(&mut piece).ok()? {
            0 => return Some(sum.finalize()),
            read => sum.update(&piece[..read]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links() {
        let check = |data: &[u8]| link(data, Endianness::Little);
        assert_eq!(check(b"a.debug\0\x01\0\0\0"), Some(("a.debug".to_owned(), 1)));
        assert_eq!(check(b"ab\0\0\x02\0\0\0"), Some(("ab".to_owned(), 2)));
        for bad in [
            &b"a.debug"[..],
            b"a.debug\0\x01",
            b"../x\0\0\0\0\x01\0\0\0",
            b"\0\0\0\0\x01\0\0\0",
            b"..\0\0\x01\0\0\0",
        ] {
            assert_eq!(check(bad), None, "{bad:?}");
        }
    }
}
