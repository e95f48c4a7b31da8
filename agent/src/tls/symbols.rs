//! Functions by name, from the symbol tables of a program: read piece by piece, for those of a large one have hundreds of megabytes.
//!
//! Names first, then symbols: the names of interest are few, and of the symbols only theirs are kept.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;

use object::elf;
use object::read::elf::Sym as _;

use super::image::LITTLE;

type Symbol = elf::Sym64<object::Endianness>;

/// Of one table: names of a program of several gigabytes that was built for debugging.
const MOST_BYTES: u64 = 1 << 30;
/// What is in memory at a time.
const PIECE: usize = 256 * 1024;
/// Longest name.
const NAME_BYTES: usize = 16 * 1024;
/// Names that are of interest to somebody, of one program.
const MOST_NAMES: usize = 64 * 1024;

/// A function that the symbols name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Function {
    pub name: String,
    pub address: u64,
    pub size: u64,
}

/// Where in the file a table is: first byte, and how many.
pub(super) type Place = (u64, u64);

/// The functions that are defined in a table of `symbols` and named, in the table `names`, by what `ending` finds at the end of a name.
/// Nothing when the file is not what it says.
///
/// It is endings that are looked for, as a linker keeps a name that another one ends with only once.
pub(super) fn functions(
    file: &File,
    symbols: Place,
    names: Place,
    ending: impl Fn(&str) -> Option<&str>,
) -> Option<Vec<Function>> {
    let mut wanted: HashMap<u64, String> = HashMap::new();
    strings(file, names, |at, name| {
        let Ok(name) = std::str::from_utf8(name) else { return };
        if let Some(end) = ending(name)
            && wanted.len() < MOST_NAMES
        {
            wanted.insert(at + (name.len() - end.len()) as u64, end.to_owned());
        }
    })?;
    let mut found = Vec::new();
    if wanted.is_empty() {
        return Some(found);
    }
    pieces(file, symbols, |piece| {
        let count = piece.len() / size_of::<Symbol>();
        let Ok((symbols, _)) = object::pod::slice_from_bytes::<Symbol>(piece, count) else { return 0 };
        for symbol in symbols {
            let is_defined = symbol.st_type() == elf::STT_FUNC && symbol.st_shndx(LITTLE) != elf::SHN_UNDEF;
            let name = wanted.get(&symbol.st_name(LITTLE).into()).filter(|_| is_defined);
            if let Some(name) = name.filter(|_| found.len() < MOST_NAMES) {
                let (address, size) = (symbol.st_value(LITTLE), symbol.st_size(LITTLE));
                found.push(Function { name: name.clone(), address, size });
            }
        }
        count * size_of::<Symbol>()
    })?;
    Some(found)
}

/// Hands each string of a table, which a zero ends, to `take` with its place in the table. Too long ones are left out.
fn strings(file: &File, table: Place, mut take: impl FnMut(u64, &[u8])) -> Option<()> {
    let (mut at, mut is_cut) = (0, false);
    pieces(file, table, |piece| {
        let mut begin = 0;
        for end in memchr::memchr_iter(0, piece) {
            if !std::mem::take(&mut is_cut) {
                take(at + begin as u64, &piece[begin..end]);
            }
            begin = end + 1;
        }
        if piece.len() - begin > NAME_BYTES {
            (begin, is_cut) = (piece.len(), true);
        }
        at += begin as u64;
        begin
    })
}

/// Hands a part of the file to `take` bit by bit, which tells how many bytes of it are done with: the rest comes again, with more.
fn pieces(file: &File, (from, bytes): Place, mut take: impl FnMut(&[u8]) -> usize) -> Option<()> {
    if bytes > MOST_BYTES {
        return None;
    }
    let mut piece = vec![0; PIECE];
    let (mut kept, mut read) = (0, 0);
    while read < bytes {
        let part = (bytes - read).min((PIECE - kept) as u64) as usize;
        let filled = kept + part;
        file.read_exact_at(&mut piece[kept..filled], from.checked_add(read)?).ok()?;
        read += part as u64;
        let done = take(&piece[..filled]).min(filled);
        piece.copy_within(done..filled, 0);
        kept = filled - done;
        if kept == PIECE {
            return None;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// A table of names, and symbols by the place of their name and their address.
    #[track_caller]
    fn check(names: &[u8], symbols: &[(u32, u64)], wanted: &[(&str, u64)]) {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(names).expect("written");
        for (name, address) in symbols {
            let symbol = Symbol {
                st_name: object::U32::new(LITTLE, *name),
                st_info: elf::STT_FUNC,
                st_other: 0,
                st_shndx: object::U16::new(LITTLE, 1),
                st_value: object::U64::new(LITTLE, *address),
                st_size: object::U64::new(LITTLE, 16),
            };
            file.write_all(object::pod::bytes_of(&symbol)).expect("written");
        }
        let length = names.len() as u64;
        let table = (length, (symbols.len() * size_of::<Symbol>()) as u64);
        let found =
            functions(&file, table, (0, length), |name| name.ends_with("SSL_read").then_some("SSL_read"));
        let found = found.expect("a table");
        let found: Vec<(&str, u64)> = found.iter().map(|it| (it.name.as_str(), it.address)).collect();
        assert_eq!(found, wanted);
    }

    #[test]
    fn a_name_of_its_own() {
        check(b"\0main\0SSL_read\0", &[(1, 10), (6, 20)], &[("SSL_read", 20)]);
    }

    #[test]
    fn a_name_that_another_ends_with() {
        check(b"\0my_SSL_read\0", &[(1, 10), (4, 20)], &[("SSL_read", 20)]);
    }

    #[test]
    fn a_name_across_two_pieces_behind_one_that_is_too_long() {
        for spare in 0..10 {
            let mut names = b"a\0".repeat(PIECE / 2 - spare);
            names.extend_from_slice(&b"b".repeat(2 * PIECE));
            names.push(0);
            let place = names.len() as u32;
            names.extend_from_slice(b"SSL_read\0");
            names.extend_from_slice(&b"c\0".repeat(PIECE));
            check(&names, &[(0, 5), (place, 20)], &[("SSL_read", 20)]);
        }
    }

    #[test]
    fn more_symbols_than_a_piece_holds() {
        let mut symbols = vec![(1, 10); PIECE / size_of::<Symbol>() * 3];
        symbols.push((6, 20));
        check(b"\0main\0SSL_read\0", &symbols, &[("SSL_read", 20)]);
    }

    #[test]
    fn a_table_beyond_the_end_gives_nothing() {
        let file = tempfile::tempfile().expect("a file");
        assert_eq!(functions(&file, (0, 24), (0, 8), |_| None), None);
        assert_eq!(functions(&file, (0, 24), (u64::MAX, 8), |_| None), None);
    }
}
