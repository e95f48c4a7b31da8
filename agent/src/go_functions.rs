//! Functions of a stripped Go program: the table that the runtime itself needs, `.gopclntab`, in its forms since Go 1.18 and 1.20
//! (<https://cs.opensource.google/go/go/+/master:src/debug/gosym/pclntab.go>).
//!
//! Entries are relative to the beginning of the program's text, which the table no longer tells since Go 1.26 and which is not that of the
//! section when C code was linked in ([`texts`]).

use std::ops::Range;

use memchr::memmem;

/// Go 1.18, and Go 1.20 and later.
const MAGICS: [u32; 2] = [0xffff_fff0, 0xffff_fff1];
const POINTER: usize = 8;
/// Words behind the eight bytes of magic, of which these are used.
const COUNT: usize = 0;
const TEXT: usize = 2;
const NAMES: usize = 3;
const FUNCTIONS: usize = 7;
/// A place in the text, and one in this table.
const ENTRY: usize = 8;

/// Where the table is: in position-independent programs it was among what is relocated.
pub const SECTIONS: [&str; 2] = [".gopclntab", ".data.rel.ro.gopclntab"];
/// Where Go 1.26 tells of the program, the beginning of its text among it.
pub const MODULE: &str = ".go.module";
/// Where in that.
pub const MODULE_TEXT: usize = 22 * POINTER;
/// Bytes that the table begins with.
pub const HEAD_BYTES: usize = 8 + 8 * POINTER;

/// What may be the beginning of the text, most likely first: what the table tells, the module, and the section of code.
pub fn texts(told: Option<u64>, module: Option<&[u8]>, section: Option<u64>) -> impl Iterator<Item = u64> {
    let module = module.and_then(|it| it.first_chunk()).map(|it| u64::from_le_bytes(*it));
    [told, module, section].into_iter().flatten().filter(|text| *text != 0)
}

/// What the table begins with: places are counted from there.
pub struct Head {
    count: u64,
    /// Where the text begins, if the table tells.
    pub text: Option<u64>,
    names: u64,
    functions: u64,
}

impl Head {
    /// Nothing for another form than those of Go 1.18 and later, on a machine of 64 bits.
    pub fn parse(data: &[u8]) -> Option<Self> {
        let magic = u32::from_le_bytes(*data.first_chunk()?);
        if !MAGICS.contains(&magic) || data.get(4..6)? != [0, 0] || usize::from(*data.get(7)?) != POINTER {
            return None;
        }
        let text = word(data, TEXT).filter(|text| *text != 0);
        Some(Self {
            count: word(data, COUNT)?,
            text,
            names: word(data, NAMES)?,
            functions: word(data, FUNCTIONS)?,
        })
    }

    /// Where the name of the function is that has the byte `at` of the text; `read` gives bytes at a place of the table. Of large programs
    /// the table has tens of megabytes: this takes some twenty reads.
    pub fn name_at(&self, at: u64, read: impl Fn(u64) -> Option<[u8; ENTRY]>) -> Option<u64> {
        let entry = |index: u64| {
            let place = index.checked_mul(ENTRY as u64)?.checked_add(self.functions)?;
            read(place).map(halves)
        };
        let (mut low, mut high) = (0, self.count);
        // The last entry is where the last function ends.
        if at < u64::from(entry(low)?[0]) || at >= u64::from(entry(high)?[0]) {
            return None;
        }
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if u64::from(entry(middle)?[0]) <= at { low = middle } else { high = middle }
        }
        let [_, place] = entry(low)?;
        // A function begins with its place in the text and that of its name.
        let [_, name] = read(self.functions.checked_add(place.into())?).map(halves)?;
        self.names.checked_add(name.into())
    }
}

/// The whole table.
pub struct Table<'data> {
    head: Head,
    names: &'data [u8],
    functions: &'data [u8],
}

impl<'data> Table<'data> {
    /// As [`Head::parse`].
    pub fn parse(data: &'data [u8]) -> Option<Self> {
        let head = Head::parse(data)?;
        let at = |place: u64| data.get(usize::try_from(place).ok()?..);
        Some(Self { names: at(head.names)?, functions: at(head.functions)?, head })
    }

    /// Where the text begins, if the table tells.
    pub fn text(&self) -> Option<u64> {
        self.head.text
    }

    /// Where the function `name` is, from the beginning of the text. Bytes of padding may follow it.
    pub fn function(&self, name: &str) -> Option<Range<u64>> {
        let whole = [b"\0", name.as_bytes(), b"\0"].concat();
        let wanted = u32::try_from(memmem::find(self.names, &whole)? + 1).ok()?;
        let entries = self.functions.as_chunks::<ENTRY>().0.get(..=usize::try_from(self.head.count).ok()?)?;
        entries.windows(2).find_map(|pair| {
            let ([from, place], [to, _]) = (halves(pair[0]), halves(pair[1]));
            // A function begins with its place in the text and that of its name.
            let place = usize::try_from(place).ok()?;
            let name = self.functions.get(place.checked_add(4)?..)?.first_chunk()?;
            (u32::from_le_bytes(*name) == wanted && from < to).then(|| u64::from(from)..u64::from(to))
        })
    }
}

fn word(data: &[u8], index: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*data.get(8 + index * POINTER..)?.first_chunk()?))
}

fn halves(entry: [u8; ENTRY]) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = entry;
    [u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A table with functions of these names, 64 bytes each.
    fn table(names: &[&str]) -> Vec<u8> {
        let mut text = vec![0];
        let mut functions = Vec::new();
        let places = (names.len() + 1) * ENTRY;
        for index in 0..names.len() {
            let from = u32::try_from(index * 64).expect("small");
            functions.extend(from.to_le_bytes());
            functions.extend(u32::try_from(places + index * 8).expect("small").to_le_bytes());
        }
        functions.extend(u32::try_from(names.len() * 64).expect("small").to_le_bytes());
        functions.extend([0; 4]);
        for (index, name) in names.iter().enumerate() {
            functions.extend(u32::try_from(index * 64).expect("small").to_le_bytes());
            functions.extend(u32::try_from(text.len()).expect("small").to_le_bytes());
            text.extend(name.as_bytes());
            text.push(0);
        }
        let mut out = MAGICS[1].to_le_bytes().to_vec();
        out.extend([0, 0, 1, 8]);
        let names_at = 8 + 8 * 8;
        let words = [names.len(), 0, 0, names_at, 0, 0, 0, names_at + text.len()];
        out.extend(words.iter().flat_map(|it| (*it as u64).to_le_bytes()));
        out.extend(text);
        out.extend(functions);
        out
    }

    #[test]
    fn functions_by_name() {
        let data = table(&["main.main", "crypto/tls.(*Conn).Write", "crypto/tls.(*Conn).Read"]);
        let table = Table::parse(&data).expect("a table");
        assert_eq!(table.function("crypto/tls.(*Conn).Write"), Some(64..128));
        assert_eq!(table.function("crypto/tls.(*Conn).Read"), Some(128..192));
        assert_eq!(table.function("crypto/tls.(*Conn)"), None);
        assert_eq!(table.text(), None);
    }

    /// Bytes at a place of `data`.
    fn reader(data: &[u8]) -> impl Fn(u64) -> Option<[u8; ENTRY]> {
        |place| data.get(usize::try_from(place).ok()?..)?.first_chunk().copied()
    }

    #[test]
    fn names_by_place() {
        let data = table(&["main.main", "crypto/tls.(*Conn).Write", "crypto/tls.(*Conn).Read"]);
        let head = Head::parse(&data).expect("a table");
        let name = |at| {
            let place = usize::try_from(head.name_at(at, reader(&data))?).expect("small");
            let end = memchr::memchr(0, &data[place..]).expect("an end");
            Some(String::from_utf8_lossy(&data[place..place + end]).into_owned())
        };
        assert_eq!(name(0).as_deref(), Some("main.main"));
        assert_eq!(name(63).as_deref(), Some("main.main"));
        assert_eq!(name(64).as_deref(), Some("crypto/tls.(*Conn).Write"));
        assert_eq!(name(191).as_deref(), Some("crypto/tls.(*Conn).Read"));
        assert_eq!(name(192), None);
    }

    proptest! {
        #[test]
        fn a_table_that_lies_does_no_harm(at in 0_usize..160, byte: u8, end in 0_usize..400) {
            let mut data = table(&["main.main", "crypto/tls.(*Conn).Read"]);
            data.truncate(end.max(1));
            let at = at % data.len();
            data[at] = byte;
            if let Some(table) = Table::parse(&data) {
                let _ = (table.text(), table.function("crypto/tls.(*Conn).Read"));
            }
            if let Some(head) = Head::parse(&data) {
                let _ = head.name_at(at as u64, reader(&data));
            }
        }
    }
}
