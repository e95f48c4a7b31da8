//! Names of the functions of a program, from the symbol tables of its file.
//!
//! Tables of large programs have a hundred megabytes: they are read piece by piece, and of their names only those that are wanted.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use object::read::elf::{FileHeader as _, ProgramHeader as _, SectionHeader as _, Sym as _};
use object::{Endianness, ReadCache, elf};

use crate::regular;

type Symbol = elf::Sym64<Endianness>;

/// Largest table that is read: ten million symbols.
const TABLE_BYTES: u64 = 256 << 20;
/// Symbols that are in memory at a time.
const PIECE: usize = 4096;
/// Longest name, as it is in the file.
const NAME_BYTES: usize = 4096;

/// A function that a place is in.
struct Function {
    /// Its address.
    from: u64,
    /// Where in the file its name is.
    name: u64,
}

/// Names, as they are in the file, of the functions at `places` (offsets in the file).
pub(super) fn names(path: &Path, places: &BTreeSet<u64>) -> Result<HashMap<u64, String>> {
    let file = regular::open(path)?.context("not a regular file")?;
    let cache = ReadCache::new(&file);
    let header = elf::FileHeader64::<Endianness>::parse(&cache).context("not a program of 64 bits")?;
    let endian = header.endian()?;
    let segments = header.program_headers(endian, &cache)?;
    let mut wanted: BTreeMap<u64, u64> = BTreeMap::new();
    for place in places {
        let address = segments.iter().find_map(|segment| {
            let within = place.checked_sub(segment.p_offset(endian))?;
            (segment.p_type(endian) == elf::PT_LOAD && within < segment.p_filesz(endian))
                .then(|| segment.p_vaddr(endian).saturating_add(within))
        });
        if let Some(address) = address {
            wanted.insert(address, *place);
        }
    }
    let sections = header.section_headers(endian, &cache)?;
    let mut best: HashMap<u64, Function> = HashMap::new();
    for kind in [elf::SHT_SYMTAB, elf::SHT_DYNSYM] {
        let Some(table) = sections.iter().find(|it| it.sh_type(endian) == kind) else { continue };
        let strings = sections.get(table.sh_link(endian) as usize).context("a symbol table without names")?;
        let from = strings.sh_offset(endian);
        read(&file, table.sh_offset(endian), table.sh_size(endian), |symbol| {
            if !matches!(symbol.st_type(), elf::STT_FUNC | elf::STT_GNU_IFUNC) || symbol.st_shndx(endian) == 0
            {
                return;
            }
            let start = symbol.st_value(endian);
            let end = start.saturating_add(symbol.st_size(endian).max(1));
            for (_, place) in wanted.range(start..end) {
                if best.get(place).is_none_or(|known| known.from < start) {
                    let name = from.saturating_add(symbol.st_name(endian).into());
                    best.insert(*place, Function { from: start, name });
                }
            }
        })?;
    }
    Ok(best.into_iter().filter_map(|(place, it)| Some((place, name(&file, it.name)?))).collect())
}

/// Hands each symbol of a table to `take`.
fn read(file: &File, from: u64, bytes: u64, mut take: impl FnMut(&Symbol)) -> Result<()> {
    ensure!(bytes <= TABLE_BYTES, "a symbol table of {bytes} bytes");
    let size = size_of::<Symbol>();
    let mut piece = vec![0; PIECE * size];
    let (mut at, mut left) = (from, bytes);
    while left >= size as u64 {
        let count = (left / size as u64).min(PIECE as u64) as usize;
        let part = &mut piece[..count * size];
        file.read_exact_at(part, at).context("a symbol table beyond the end of the file")?;
        let Ok((symbols, _)) = object::pod::slice_from_bytes::<Symbol>(part, count) else { break };
        symbols.iter().for_each(&mut take);
        at += part.len() as u64;
        left -= part.len() as u64;
    }
    Ok(())
}

/// The name that begins at a place of the file.
fn name(file: &File, at: u64) -> Option<String> {
    let mut bytes = vec![0; NAME_BYTES];
    let read = file.read_at(&mut bytes, at).ok()?;
    let end = bytes[..read].iter().position(|byte| *byte == 0).unwrap_or(read);
    bytes.truncate(end);
    String::from_utf8(bytes).ok().filter(|name| !name.is_empty())
}
