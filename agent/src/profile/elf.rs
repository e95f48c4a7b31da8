//! Names of the functions of a program, from the symbol tables of its file.
//!
//! Tables of large programs have a hundred megabytes: they are read piece by piece, and of their names only those that are wanted.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use object::read::SectionIndex;
use object::read::elf::{FileHeader as _, ProgramHeader as _, SectionHeader as _, SectionTable, Sym as _};
use object::{Endianness, ReadCache, ReadRef, elf};

use super::apart::Marks;
use crate::go_functions::{self, Head};
use crate::regular;

type Header = elf::FileHeader64<Endianness>;
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

/// Names, as they are in the file, of the functions at `places` (offsets in the file). Those of a stripped program are in a file apart,
/// below one of `roots`.
pub(super) fn names(path: &Path, roots: &[PathBuf], places: &BTreeSet<u64>) -> Result<HashMap<u64, String>> {
    let file = regular::open(path)?.context("not a regular file")?;
    let cache = ReadCache::new(&file);
    let header = Header::parse(&cache).context("not a program of 64 bits")?;
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
    let sections = header.sections(endian, &cache)?;
    let mut found = functions(&file, &sections, endian, &wanted)?;
    let stripped = sections.iter().all(|it| it.sh_type(endian) != elf::SHT_SYMTAB);
    if stripped && let Some(apart) = Marks::read(&sections, endian, &cache).find(path, roots) {
        let cache = ReadCache::new(&apart);
        let header = Header::parse(&cache)?;
        let sections = header.sections(header.endian()?, &cache)?;
        found.extend(functions(&apart, &sections, header.endian()?, &wanted)?);
    }
    if stripped {
        wanted.retain(|_, place| !found.contains_key(place));
        found.extend(functions_of_go(&file, &sections, endian, &wanted).into_iter().flatten());
    }
    Ok(found)
}

/// Names of the functions at `wanted` addresses, by place, from the table that programs of Go keep when they are stripped; nothing for
/// programs that have none.
fn functions_of_go<'data, R: ReadRef<'data>>(
    file: &File,
    sections: &SectionTable<'data, Header, R>,
    endian: Endianness,
    wanted: &BTreeMap<u64, u64>,
) -> Option<HashMap<u64, String>> {
    let section = |name: &str| sections.section_by_name(endian, name.as_bytes()).map(|(_, section)| section);
    let table = go_functions::SECTIONS.iter().find_map(|name| section(name))?.sh_offset(endian);
    let head = Head::parse(&bytes::<{ go_functions::HEAD_BYTES }>(file, table)?)?;
    let module = section(go_functions::MODULE)
        .and_then(|it| bytes::<8>(file, it.sh_offset(endian).checked_add(go_functions::MODULE_TEXT as u64)?));
    let code = section(".text").map(|it| it.sh_addr(endian));
    let text = go_functions::texts(head.text, module.as_ref().map(<[u8; 8]>::as_slice), code).next()?;
    let named = wanted.iter().filter_map(|(address, place)| {
        let at = head.name_at(address.checked_sub(text)?, |at| bytes(file, table.checked_add(at)?))?;
        Some((*place, name(file, table.checked_add(at)?)?))
    });
    Some(named.collect())
}

/// Bytes at a place of the file.
fn bytes<const N: usize>(file: &File, at: u64) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    file.read_exact_at(&mut bytes, at).ok()?;
    Some(bytes)
}

/// Names of the functions at `wanted` addresses, by place.
fn functions<'data, R: ReadRef<'data>>(
    file: &File,
    sections: &SectionTable<'data, Header, R>,
    endian: Endianness,
    wanted: &BTreeMap<u64, u64>,
) -> Result<HashMap<u64, String>> {
    let mut best: HashMap<u64, Function> = HashMap::new();
    for kind in [elf::SHT_SYMTAB, elf::SHT_DYNSYM] {
        let Some(table) = sections.iter().find(|it| it.sh_type(endian) == kind) else { continue };
        let strings = sections
            .section(SectionIndex(table.sh_link(endian) as usize))
            .context("a symbol table without names")?;
        let from = strings.sh_offset(endian);
        read(file, table.sh_offset(endian), table.sh_size(endian), |symbol| {
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
    Ok(best.into_iter().filter_map(|(place, it)| Some((place, name(file, it.name)?))).collect())
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

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_program_that_lies_does_no_harm(changes: [(u16, u8); 8], place: u16, end: u16) {
            let Ok(mut data) = std::fs::read("/bin/true") else { return Ok(()) };
            // Its headers and tables are at both ends.
            let length = data.len();
            for (at, byte) in changes {
                let at = usize::from(at) % 2048;
                let at = if at % 2 == 0 { at } else { length - 1 - at };
                data[at] = byte;
            }
            data.truncate(length.saturating_sub(usize::from(end) % 4096 * usize::from(end % 3 == 0)));
            let folder = tempfile::tempdir()?;
            let path = folder.path().join("program");
            std::fs::write(&path, data)?;
            let _ = names(&path, &[folder.path().into()], &BTreeSet::from([u64::from(place)]));
        }
    }

    /// Runs one of the tools of the compiler in `folder`; `false` where it is not there.
    fn run(folder: &Path, words: &str) -> bool {
        let mut words = words.split(' ');
        let mut command = Command::new(words.next().expect("a program"));
        match command.args(words).current_dir(folder).output() {
            Ok(output) => {
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
                true
            }
            Err(_) => {
                eprintln!("skipped: no gcc and binutils here");
                false
            }
        }
    }

    /// Where in the file each function with `hidden` in its name begins.
    fn places(path: &Path) -> BTreeSet<u64> {
        let data = std::fs::read(path).expect("a file");
        let data = data.as_slice();
        let header = Header::parse(data).expect("a program");
        let endian = header.endian().expect("known");
        let sections = header.sections(endian, data).expect("sections");
        let symbols = sections.symbols(endian, data, elf::SHT_SYMTAB).expect("symbols");
        let segments = header.program_headers(endian, data).expect("segments");
        let hidden = symbols
            .iter()
            .filter(|it| it.name(endian, symbols.strings()).is_ok_and(|name| name.starts_with(b"hidden")));
        hidden
            .map(|symbol| {
                let address = symbol.st_value(endian);
                let segment = segments.iter().find(|it| {
                    it.p_type(endian) == elf::PT_LOAD
                        && (it.p_vaddr(endian)..it.p_vaddr(endian) + it.p_filesz(endian)).contains(&address)
                });
                let segment = segment.expect("a segment");
                address - segment.p_vaddr(endian) + segment.p_offset(endian)
            })
            .collect()
    }

    #[test]
    fn a_stripped_program_is_named_after_its_file_apart() {
        let root = tempfile::tempdir().expect("a folder");
        let folder = root.path().join("opt/bin");
        std::fs::create_dir_all(&folder).expect("folders");
        let source = "static __attribute__((noinline)) int hidden_one(int a) { return a * 3; }\n\
                      static __attribute__((noinline)) int hidden_two(int a) { return hidden_one(a) + 1; }\n\
                      int main(int count, char **words) { (void)words; return hidden_two(count); }\n";
        std::fs::write(folder.join("program.c"), source).expect("written");
        let (program, roots) = (folder.join("program"), [root.path().to_owned(), "/".into()]);
        let check = |expected: usize, places: &BTreeSet<u64>, what: &str| {
            let mut found: Vec<String> =
                names(&program, &roots, places).expect("read").into_values().collect();
            found.sort();
            assert_eq!(found, ["hidden_one", "hidden_two"][..expected], "{what}");
        };
        for build in ["sha1", "none"] {
            if !run(&folder, &format!("gcc -O1 -Wl,--build-id={build} -o program program.c")) {
                return;
            }
            let places = places(&program);
            check(2, &places, "as it was built");
            run(&folder, "objcopy --only-keep-debug program program.debug");
            run(&folder, "strip --strip-all program");
            check(0, &places, "it names no file");
            if build == "sha1" {
                let marks = std::fs::read(&program).expect("a file");
                let marks = {
                    let header = Header::parse(marks.as_slice()).expect("a program");
                    let endian = header.endian().expect("known");
                    Marks::read(
                        &header.sections(endian, marks.as_slice()).expect("sections"),
                        endian,
                        marks.as_slice(),
                    )
                };
                let place = marks.by_build(root.path()).expect("an id");
                std::fs::create_dir_all(place.parent().expect("a folder")).expect("folders");
                std::fs::copy(folder.join("program.debug"), &place).expect("copied");
                check(2, &places, "by what it was built as");
                // Of another build.
                std::fs::copy("/bin/true", &place).expect("copied");
                check(0, &places, "another's");
                std::fs::remove_file(&place).expect("removed");
            }
            let place = root.path().join("usr/lib/debug/opt/bin/program.debug");
            run(&folder, "objcopy --add-gnu-debuglink=program.debug program");
            check(2, &places, "by its name, beside it");
            std::fs::create_dir_all(place.parent().expect("a folder")).expect("folders");
            std::fs::rename(folder.join("program.debug"), &place).expect("moved");
            check(2, &places, "by its name, in the folder for such files");
            std::fs::write(&place, "not it").expect("written");
            check(0, &places, "of that name, but another file");
            std::fs::remove_file(&place).expect("removed");
        }
    }
}
