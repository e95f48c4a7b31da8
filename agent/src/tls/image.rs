//! A program or library on disk, as far as it matters where probes go: symbols, sections, and where an address is in the file.
//!
//! Whatever is read comes from outside: sizes are bounded, ranges are checked, and a file that lies gives nothing.

use object::read::elf::{ElfFile64, ProgramHeader as _, SectionHeader as _, Sym as _};
use object::{Endianness, Object as _, ObjectSection as _, ReadRef, SectionFlags, SectionIndex, elf};

/// Of a section, or of the code of a function. Names of all symbols of a large program that was built for debugging are some 200 MB.
const MOST_BYTES: u64 = 512 << 20;

const LITTLE: Endianness = Endianness::Little;

/// A parsed file.
pub(super) struct Image<'data, R: ReadRef<'data>> {
    elf: ElfFile64<'data, Endianness, R>,
    data: R,
}

/// A function that the symbols name.
pub(super) struct Function<'data> {
    pub name: &'data str,
    pub address: u64,
    pub size: u64,
}

impl<'data, R: ReadRef<'data>> Image<'data, R> {
    /// Nothing for what is no little-endian program of 64 bits.
    pub fn parse(data: R) -> Option<Self> {
        let elf = ElfFile64::parse(data).ok()?;
        elf.is_little_endian().then_some(Self { elf, data })
    }

    /// Whether its code is for x86-64.
    pub fn is_x86_64(&self) -> bool {
        self.elf.architecture() == object::Architecture::X86_64
    }

    /// What the file holds of a section; nothing when it is absent, empty or too large.
    pub fn section(&self, name: &str) -> Option<&'data [u8]> {
        let section = self.elf.section_by_name(name)?;
        if section.size() > MOST_BYTES {
            return None;
        }
        let SectionFlags::Elf { sh_flags } = section.flags() else { return None };
        // Compressed ones are for debuggers only.
        if sh_flags & u64::from(elf::SHF_COMPRESSED) != 0 {
            return None;
        }
        section.data().ok().filter(|data| !data.is_empty())
    }

    /// Where a section is in memory.
    pub fn section_address(&self, name: &str) -> Option<u64> {
        Some(self.elf.section_by_name(name)?.address())
    }

    /// Where an address is in the file: a probe is placed by that.
    pub fn place(&self, address: u64) -> Option<u64> {
        let length = self.data.len().ok()?;
        let place = self.elf.elf_program_headers().iter().find_map(|header| {
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

    /// Functions that are defined here.
    pub fn functions(&self) -> impl Iterator<Item = Function<'data>> {
        let sections = self.elf.elf_section_table();
        let tables = sections.iter().filter_map(|section| {
            if !matches!(section.sh_type(LITTLE), elf::SHT_SYMTAB | elf::SHT_DYNSYM) {
                return None;
            }
            let names = sections.section(SectionIndex(section.sh_link(LITTLE) as usize)).ok()?;
            if section.sh_size(LITTLE).max(names.sh_size(LITTLE)) > MOST_BYTES {
                return None;
            }
            // Both whole: one by one, each name would be read from the file and kept.
            let symbols: &'data [elf::Sym64<Endianness>] = section.data_as_array(LITTLE, self.data).ok()?;
            Some((symbols, names.data(LITTLE, self.data).ok()?))
        });
        tables.flat_map(|(symbols, names)| {
            symbols.iter().filter_map(move |symbol| {
                if symbol.st_type() != elf::STT_FUNC || symbol.st_shndx(LITTLE) == elf::SHN_UNDEF {
                    return None;
                }
                let name = names.get(symbol.st_name(LITTLE) as usize..)?;
                let name = std::str::from_utf8(&name[..memchr::memchr(0, name)?]).ok()?;
                Some(Function { name, address: symbol.st_value(LITTLE), size: symbol.st_size(LITTLE) })
            })
        })
    }
}
