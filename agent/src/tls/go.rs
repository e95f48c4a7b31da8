//! Go's own TLS: `crypto/tls.(*Conn).Write` and `Read`, in programs of Go 1.17 and later, with symbols or stripped.

mod build;

use std::ops::Range;

use super::code::{self, Places};
use super::image::Image;
use super::symbols::Function;
use super::{Library, Probe, Seen};
use crate::go_functions::{self, Table};

const WRITE: &str = "crypto/tls.(*Conn).Write";
const READ: &str = "crypto/tls.(*Conn).Read";
/// The first that passes arguments in registers.
const FIRST: (u32, u32) = (1, 17);

/// The name of interest that a name ends with.
pub(super) fn ending(name: &str) -> Option<&'static str> {
    [WRITE, READ].into_iter().find(|it| name.ends_with(it))
}

/// Where the probes go in a Go program; nothing when it is not one, or has no TLS.
pub(super) fn look(image: &Image<'_>, functions: &[Function]) -> Option<Seen> {
    let built = image.section(".go.buildinfo")?;
    let seen = |outcome| Some(Seen { library: Library::Go, outcome });
    let version = build::version(built, |address, size| image.bytes(address, size)).unwrap_or("unknown Go");
    let refuse = |reason: &str| seen(Err(format!("{version}: {reason}")));
    let Some(number) = build::number(version) else { return refuse("which version is not known") };
    if !image.is_x86_64() {
        return refuse("only x86-64 is known");
    }
    // A program without TLS is of no interest, whatever its version.
    let functions = Functions::of(image, functions)?;
    if number < FIRST || version.contains("noregabi") {
        return refuse("arguments are in registers since go1.17");
    }
    match functions.probes(image) {
        Some(probes) => seen(Ok(probes)),
        None => refuse("the code of crypto/tls does not look as expected"),
    }
}

/// What may be the two functions: addresses, of which the code decides.
struct Functions {
    write: Vec<Range<u64>>,
    read: Vec<Range<u64>>,
}

impl Functions {
    fn of(image: &Image<'_>, functions: &[Function]) -> Option<Self> {
        Self::of_symbols(functions).or_else(|| Self::of_table(image))
    }

    fn of_symbols(functions: &[Function]) -> Option<Self> {
        let (mut write, mut read) = (Vec::new(), Vec::new());
        for function in functions {
            let Some(end) = function.address.checked_add(function.size) else { continue };
            match function.name.as_str() {
                WRITE => write.push(function.address..end),
                READ => read.push(function.address..end),
                _ => {}
            }
        }
        (!write.is_empty() && !read.is_empty()).then_some(Self { write, read })
    }

    fn of_table(image: &Image<'_>) -> Option<Self> {
        let table = go_functions::SECTIONS.iter().find_map(|name| Table::parse(image.section(name)?))?;
        let (write, read) = (table.function(WRITE)?, table.function(READ)?);
        let module = image.section(go_functions::MODULE).and_then(|it| it.get(go_functions::MODULE_TEXT..));
        // Each is tried, and the code decides.
        let texts: Vec<u64> =
            go_functions::texts(table.text(), module, image.section_address(".text")).collect();
        let at = |range: Range<u64>| {
            let moved = |text: &u64| Some(text.checked_add(range.start)?..text.checked_add(range.end)?);
            texts.iter().filter_map(moved).collect()
        };
        Some(Self { write: at(write), read: at(read) })
    }

    fn probes(&self, image: &Image<'_>) -> Option<Vec<Probe>> {
        let look = |ranges: &[Range<u64>]| {
            ranges.iter().find_map(|range| {
                let code = image.bytes(range.start, range.end.checked_sub(range.start)?)?;
                Some((image.place(range.start)?, code::of_go(code)?))
            })
        };
        let (write, Places { begin, .. }) = look(&self.write)?;
        let writing = Probe { program: "go_write", place: write + begin };
        let (read, Places { begin, returns }) = look(&self.read)?;
        let leaving = returns.iter().map(|at| Probe { program: "go_read_leave", place: read + at });
        // The ends first: a call that begins in between is then not left half seen.
        Some(leaving.chain([Probe { program: "go_read", place: read + begin }, writing]).collect())
    }
}
