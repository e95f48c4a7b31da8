//! With which Go a program was built: what the linker notes in `.go.buildinfo`
//! (<https://cs.opensource.google/go/go/+/master:src/debug/buildinfo/buildinfo.go>).

const MAGIC: &[u8] = b"\xff Go buildinf:";
const HEADER: usize = 32;
const FLAGS: usize = 15;
const POINTER: usize = 16;
/// The text stands behind the header, since Go 1.18; before, the header points to it.
const INLINE: u8 = 2;
const MOST_BYTES: usize = 256;

/// The version as it was noted, such as `go1.22.1`. `read` gives bytes at an address, for programs before Go 1.18.
pub fn version<'data>(
    section: &'data [u8],
    read: impl Fn(u64, u64) -> Option<&'data [u8]>,
) -> Option<&'data str> {
    let header = section.get(..HEADER)?;
    if !header.starts_with(MAGIC) {
        return None;
    }
    let text = if header[FLAGS] & INLINE != 0 {
        let rest = section.get(HEADER..)?;
        let (length, used) = length(rest)?;
        rest.get(used..used.checked_add(length)?)?
    } else {
        // A string of Go: where, and how long.
        let [place, length] = words(read(words::<1>(header.get(POINTER..)?)?[0], 16)?)?;
        read(place, length.min(MOST_BYTES as u64))?
    };
    std::str::from_utf8(text).ok()
}

/// Major and minor number of a version; of a development build those that it says it leads to.
pub fn number(version: &str) -> Option<(u32, u32)> {
    let from = version.find("go1.").filter(|at| *at == 0 || version[..*at].ends_with(' '))?;
    let digits = &version[from + "go1.".len()..];
    let end = digits.find(|it: char| !it.is_ascii_digit()).unwrap_or(digits.len());
    Some((1, digits[..end].parse().ok()?))
}

fn words<const N: usize>(bytes: &[u8]) -> Option<[u64; N]> {
    let mut out = [0; N];
    for (word, chunk) in out.iter_mut().zip(bytes.get(..N * 8)?.as_chunks().0) {
        *word = u64::from_le_bytes(*chunk);
    }
    Some(out)
}

/// A length in the manner of LEB128, and how many bytes it took.
fn length(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0;
    for (index, byte) in bytes.iter().take(2).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return (value <= MOST_BYTES).then_some((value, index + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(flags: u8) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend([8, flags]);
        out.resize(HEADER, 0);
        out
    }

    #[test]
    fn text_behind_the_header() {
        let mut section = header(INLINE);
        section.extend(b"\x08go1.26.8rest");
        assert_eq!(version(&section, |_, _| None), Some("go1.26.8"));
        assert_eq!(version(&section[..HEADER + 4], |_, _| None), None);
        section[HEADER] = 0xff;
        assert_eq!(version(&section, |_, _| None), None);
    }

    #[test]
    fn text_that_the_header_points_to() {
        let mut section = header(0);
        section[POINTER..POINTER + 8].copy_from_slice(&0x1000_u64.to_le_bytes());
        let mut string = 0x2000_u64.to_le_bytes().to_vec();
        string.extend(7_u64.to_le_bytes());
        let read = |address, length| match (address, length) {
            (0x1000, 16) => Some(string.as_slice()),
            (0x2000, 7) => Some(b"go1.17.".as_slice()),
            _ => None,
        };
        assert_eq!(version(&section, read), Some("go1.17."));
        assert_eq!(version(&section, |_, _| None), None);
        assert_eq!(version(b"\xff Go build", read), None);
    }

    #[test]
    fn numbers_of_versions() {
        for (version, wanted) in [
            ("go1.26.8", Some((1, 26))),
            ("go1.17", Some((1, 17))),
            ("go1.21rc2 X:boringcrypto", Some((1, 21))),
            ("devel go1.27-8e3d1b2 Tue", Some((1, 27))),
            ("go1.", None),
            ("go2.1", None),
            ("ago1.20", None),
            ("devel +abc", None),
        ] {
            assert_eq!(number(version), wanted, "{version}");
        }
    }
}
