//! Names for addresses: of files from their symbol tables, of compiled-at-run-time code from perf maps, of the kernel from
//! `/proc/kallsyms`.
//!
//! Tables are read when there is something to look up, and not kept: what is kept is the names that were found, within a bound.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt::{self, Write as _};
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::Arc;

use cpp_demangle::DemangleOptions;

use super::addresses::{Region, find, regions};
use super::elf;
use super::kernel::Kernel;
use crate::regular;

/// Places whose names are kept.
const MOST_NAMES: usize = 50_000;
/// Longest name.
const NAME_BYTES: usize = 200;
/// Longest mangled name that is made readable.
const MANGLED_BYTES: usize = 4096;
/// Largest perf map.
const PERF_MAP_BYTES: u64 = 32 << 20;
const KERNEL: &str = "[kernel]";

type FileId = (u64, u64);

/// What is known of addresses.
pub(super) struct Symbols {
    root: PathBuf,
    /// By file, and place in it.
    names: HashMap<(FileId, u64), Arc<str>>,
    kernel: HashMap<u64, Arc<str>>,
    table: Kernel,
    /// Each name once: a function is seen at many places.
    texts: HashSet<Arc<str>>,
    /// Code that was compiled at run time, by process: for one collection only, as it moves.
    compiled: HashMap<(u32, u64), Arc<str>>,
    maps: HashMap<u32, Vec<Region>>,
}

impl Symbols {
    pub fn new(root: PathBuf) -> Self {
        Self {
            root,
            names: HashMap::new(),
            kernel: HashMap::new(),
            texts: HashSet::new(),
            table: Kernel::default(),
            compiled: HashMap::new(),
            maps: HashMap::new(),
        }
    }

    /// Looks up whatever is not known yet of these stacks.
    pub fn learn<'a>(&mut self, stacks: impl Iterator<Item = (u32, &'a [u64], &'a [u64])>) {
        if self.names.len() + self.kernel.len() > MOST_NAMES {
            self.names.clear();
            self.kernel.clear();
            self.texts.clear();
        }
        self.maps.clear();
        self.compiled.clear();
        let mut files: BTreeMap<FileId, ((PathBuf, PathBuf), BTreeSet<u64>)> = BTreeMap::new();
        let mut perf: BTreeMap<u32, BTreeSet<u64>> = BTreeMap::new();
        let mut kernel = BTreeSet::new();
        for (pid, user, above) in stacks {
            kernel.extend(above.iter().filter(|address| !self.kernel.contains_key(address)));
            let root = &self.root;
            let regions = self.maps.entry(pid).or_insert_with(|| regions(root, pid));
            for address in user {
                match find(regions, *address) {
                    Some(region) if region.file.1 != 0 => {
                        let place = address - region.from + region.offset;
                        if !self.names.contains_key(&(region.file, place)) {
                            let path = || {
                                let process = root.join(format!("proc/{pid}/root"));
                                (process.join(region.path.strip_prefix("/").unwrap_or(&region.path)), process)
                            };
                            files
                                .entry(region.file)
                                .or_insert_with(|| (path(), BTreeSet::new()))
                                .1
                                .insert(place);
                        }
                    }
                    Some(_) => {
                        perf.entry(pid).or_default().insert(*address);
                    }
                    None => {}
                }
            }
        }
        for (file, ((path, process), places)) in files {
            let plain: Arc<str> =
                format!("[{}]", path.file_name().unwrap_or_default().to_string_lossy()).into();
            let roots = [process, self.root.clone()];
            let found = elf::names(&path, &roots, &places).unwrap_or_else(|error| {
                tracing::debug!(file = %path.display(), %error, "functions of a file stay without names");
                Default::default()
            });
            for place in places {
                let name = found
                    .get(&place)
                    .map_or_else(|| Arc::clone(&plain), |name| once(&mut self.texts, &readable(name)));
                self.names.insert((file, place), name);
            }
        }
        for (pid, addresses) in perf {
            self.of_perf_map(pid, &addresses);
        }
        self.of_kernel(&kernel);
    }

    /// The frames of a stack by name, root first. Addresses that nothing is known of are left out.
    pub fn stack(&self, pid: u32, user: &[u64], kernel: &[u64]) -> Vec<Arc<str>> {
        let empty = Vec::new();
        let regions = self.maps.get(&pid).unwrap_or(&empty);
        let named = user.iter().filter_map(|address| {
            let region = find(regions, *address)?;
            if region.file.1 == 0 {
                return self.compiled.get(&(pid, *address)).cloned();
            }
            self.names.get(&(region.file, address - region.from + region.offset)).cloned()
        });
        let above = kernel.iter().filter_map(|address| self.kernel.get(address).cloned());
        named.chain(above).collect()
    }

    /// `/tmp/perf-PID.map`, as Java, Node and Python write it when asked: address, size and name of each function.
    fn of_perf_map(&mut self, pid: u32, addresses: &BTreeSet<u64>) {
        let path = self.root.join(format!("proc/{pid}/root/tmp/perf-{pid}.map"));
        // Most programs write none. What lies there is theirs to choose: it is read up to a bound, and bad bytes spoil a name.
        let Ok(Some(file)) = regular::open(&path) else { return };
        let mut bytes = Vec::new();
        if let Err(error) = file.take(PERF_MAP_BYTES).read_to_end(&mut bytes) {
            tracing::debug!(pid, %error, "a perf map cannot be read");
        }
        let text = String::from_utf8_lossy(&bytes);
        let hex = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16).ok();
        for line in text.lines() {
            let mut fields = line.splitn(3, ' ');
            let (Some(from), Some(size), Some(name)) =
                (fields.next().and_then(hex), fields.next().and_then(hex), fields.next())
            else {
                continue;
            };
            for address in addresses.range(from..from.saturating_add(size)) {
                self.compiled.insert((pid, *address), readable(name).into());
            }
        }
    }

    fn of_kernel(&mut self, addresses: &BTreeSet<u64>) {
        if addresses.is_empty() {
            return;
        }
        self.table.prepare();
        for address in addresses {
            let name = once(&mut self.texts, self.table.name(*address).unwrap_or(KERNEL));
            self.kernel.insert(*address, name);
        }
    }
}

/// The one copy of a text.
fn once(texts: &mut HashSet<Arc<str>>, text: &str) -> Arc<str> {
    if let Some(known) = texts.get(text) {
        return Arc::clone(known);
    }
    let new: Arc<str> = text.into();
    texts.insert(Arc::clone(&new));
    new
}

/// As it is written in the source, where the name was mangled. Whoever runs a program chooses its names, and a few hundred bytes may
/// stand for gigabytes: no more is written than is kept.
fn readable(name: &str) -> String {
    let mut text = Name::default();
    let written = match rustc_demangle::try_demangle(name) {
        _ if name.len() > MANGLED_BYTES => Err(fmt::Error),
        Ok(rust) => write!(text, "{rust:#}"),
        Err(_) if name.starts_with("_Z") => cpp_demangle::Symbol::new(name)
            .map_err(|_| fmt::Error)
            .and_then(|symbol| symbol.structured_demangle(&mut text, &DemangleOptions::default())),
        Err(_) => Err(fmt::Error),
    };
    if written.is_err() && !text.is_full {
        text = Name::default();
        let _ = text.write_str(name);
    }
    text.text
}

/// The beginning of a name: an error ends what writes more.
#[derive(Default)]
struct Name {
    text: String,
    is_full: bool,
}

impl fmt::Write for Name {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let room = part.floor_char_boundary(NAME_BYTES - self.text.len());
        self.text.push_str(&part[..room]);
        self.is_full |= room < part.len();
        if self.is_full { Err(fmt::Error) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mangled_names() {
        assert_eq!(
            readable("_ZN4core3fmt5Write9write_fmt17h0123456789abcdefE"),
            "core::fmt::Write::write_fmt"
        );
        assert_eq!(readable("_ZN3foo3barEv"), "foo::bar()");
        assert_eq!(readable("main.(*Server).handle"), "main.(*Server).handle");
        assert_eq!(readable(&"x".repeat(9000)).len(), NAME_BYTES);
    }

    #[test]
    fn a_name_that_stands_for_gigabytes_is_cut() {
        // The n-th parameter is of a template of eight times the one before, as numbers of parts of the name: in the end 8^12 parts.
        let parameters: String =
            (0..12).map(|level| format!("S_I{}E", format!("S{level:X}_").repeat(8))).collect();
        let text = readable(&format!("_Z1f1AIiE{parameters}"));
        assert!(text.starts_with("f(A<int>, A<A<int>"), "{text}");
        assert_eq!(text.len(), NAME_BYTES);
    }

    #[test]
    fn this_very_function() {
        let here = this_very_function as *const () as u64;
        let mut symbols = Symbols::new("/".into());
        let pid = std::process::id();
        symbols.learn([(pid, [here + 1].as_slice(), [].as_slice())].into_iter());
        let stack = symbols.stack(pid, &[here + 1], &[]);
        assert_eq!(stack.len(), 1);
        assert!(stack[0].ends_with("tests::this_very_function"), "{stack:?}");
    }
}
