//! A program or library on disk, as far as it matters where probes go: symbols, sections, and where an address is in the file.
//!
//! Whatever is read comes from outside: sizes are bounded, ranges are checked, and a file that lies gives nothing.

use object::read::elf::{ElfFile64, ProgramHeader as _};
use object::{Endianness, Object as _, ObjectSection as _, ObjectSymbol as _, ReadRef, SectionFlags, elf};

/// Of a section, or of the code of a function.
const MOST_BYTES: u64 = 128 << 20;
/// Symbols that are looked at: large programs have some hundred thousand.
const MOST_SYMBOLS: usize = 4_000_000;

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
        self.elf.elf_program_headers().iter().find_map(|header| {
            if header.p_type(Endianness::Little) != elf::PT_LOAD {
                return None;
            }
            let within = address.checked_sub(header.p_vaddr(Endianness::Little))?;
            (within < header.p_filesz(Endianness::Little))
                .then(|| header.p_offset(Endianness::Little).checked_add(within))
                .flatten()
        })
    }

    /// `size` bytes at an address.
    pub fn bytes(&self, address: u64, size: u64) -> Option<&'data [u8]> {
        if size > MOST_BYTES {
            return None;
        }
        self.data.read_bytes_at(self.place(address)?, size).ok()
    }

    /// Functions that are defined here, those for the linker first.
    pub fn functions(&self) -> impl Iterator<Item = Function<'data>> {
        let symbols = self.elf.dynamic_symbols().chain(self.elf.symbols());
        symbols.take(MOST_SYMBOLS).filter(|symbol| symbol.is_definition()).filter_map(|symbol| {
            Some(Function { name: symbol.name().ok()?, address: symbol.address(), size: symbol.size() })
        })
    }
}
