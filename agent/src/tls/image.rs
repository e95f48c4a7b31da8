//! A program or library on disk, as far as it matters where probes go: symbols, sections, and where an address is in the file.
//!
//! Whatever is read comes from outside: sizes are bounded, ranges are checked, and a file that lies gives nothing.

use std::fs::File;

use object::read::elf::{FileHeader as _, ProgramHeader as _, SectionHeader as _, SectionTable};
use object::{Endianness, ReadCache, ReadRef as _, SectionIndex, elf};

use super::symbols::{self, Function};

/// Of a section, or of the code of a function: Go's table of functions has some 100 MB in the largest programs.
const MOST_BYTES: u64 = 256 << 20;
/// Of headers: programs have some forty sections, and their names have a page.
const MOST_HEADERS: usize = 64 * 1024;

pub(super) const LITTLE: Endianness = Endianness::Little;

/// What has been read of a file; kept for as long as it is looked at.
pub(super) type Cache<'file> = ReadCache<&'file File>;
type Header = elf::FileHeader64<Endianness>;
type Section = elf::SectionHeader64<Endianness>;

/// A parsed file.
pub(super) struct Image<'data> {
    header: &'data Header,
    segments: &'data [elf::ProgramHeader64<Endianness>],
    sections: SectionTable<'data, Header, &'data Cache<'data>>,
    data: &'data Cache<'data>,
    file: &'data File,
}

impl<'data> Image<'data> {
    /// Nothing for what is no little-endian program of 64 bits. Of the file only headers are read.
    pub fn parse(file: &'data File, data: &'data Cache<'data>) -> Option<Self> {
        let header = Header::parse(data).ok()?;
        if header.endian().ok()? != LITTLE
            || header.phnum(LITTLE, data).ok()? > MOST_HEADERS
            || header.shnum(LITTLE, data).ok()? > MOST_HEADERS
        {
            return None;
        }
        let segments = header.program_headers(LITTLE, data).ok()?;
        let sections = header.sections(LITTLE, data).ok()?;
        Some(Self { header, segments, sections, data, file })
    }

    /// Whether its code is for x86-64.
    pub fn is_x86_64(&self) -> bool {
        self.header.e_machine(LITTLE) == elf::EM_X86_64
    }

    /// What the file holds of a section; nothing when it is absent, empty or too large.
    pub fn section(&self, name: &str) -> Option<&'data [u8]> {
        let section = self.named(name)?;
        // Compressed ones are for debuggers only.
        if section.sh_size(LITTLE) > MOST_BYTES
            || section.sh_flags(LITTLE) & u64::from(elf::SHF_COMPRESSED) != 0
        {
            return None;
        }
        section.data(LITTLE, self.data).ok().filter(|data| !data.is_empty())
    }

    /// Where a section is in memory.
    pub fn section_address(&self, name: &str) -> Option<u64> {
        Some(self.named(name)?.sh_addr(LITTLE))
    }

    fn named(&self, name: &str) -> Option<&'data Section> {
        self.sections.section_by_name(LITTLE, name.as_bytes()).map(|(_, section)| section)
    }

    /// Where an address is in the file: a probe is placed by that.
    pub fn place(&self, address: u64) -> Option<u64> {
        let length = self.data.len().ok()?;
        let place = self.segments.iter().find_map(|header| {
            if header.p_type(LITTLE) != elf::PT_LOAD {
                return None;
            }
            let within = address.checked_sub(header.p_vaddr(LITTLE))?;
            (within < header.p_filesz(LITTLE)).then(|| header.p_offset(LITTLE).checked_add(within)).flatten()
        });
        place.filter(|place| *place < length)
    }

    /// `size` bytes at an address.
    pub fn bytes(&self, address: u64, size: u64) -> Option<&'data [u8]> {
        if size > MOST_BYTES {
            return None;
        }
        self.data.read_bytes_at(self.place(address)?, size).ok()
    }

    /// Functions that are defined here and have a name of interest, as [`symbols::functions`] finds them.
    pub fn functions(&self, ending: impl Fn(&str) -> Option<&str>) -> Vec<Function> {
        let place = |it: &Section| (it.sh_offset(LITTLE), it.sh_size(LITTLE));
        let tables = self.sections.iter().filter_map(|section| {
            if !matches!(section.sh_type(LITTLE), elf::SHT_SYMTAB | elf::SHT_DYNSYM) {
                return None;
            }
            let names = self.sections.section(SectionIndex(section.sh_link(LITTLE) as usize)).ok()?;
            symbols::functions(self.file, place(section), place(names), &ending)
        });
        tables.flatten().collect()
    }
}
