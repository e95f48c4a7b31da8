//! HPACK (RFC 7541), for blocks of which some were not seen.
//!
//! Entries of the dynamic table are counted from the newest, so a decoder that joined midway, or that [`Hpack::forget`]s after a
//! loss, reads every later reference to what it has seen since; a reference to anything older gives an unknown name or value,
//! never a wrong one.

use std::collections::VecDeque;

use httlib_huffman::DecoderSpeed;

/// Size that both sides start with (RFC 7541, 4.2); a larger one that they agree on makes older entries unknown here.
const TABLE_BYTES: usize = 4096;
const ENTRY_BYTES: usize = 32;

/// One way of a connection.
#[derive(Debug, Default)]
pub(super) struct Hpack {
    /// The newest first.
    entries: VecDeque<Field>,
    bytes: usize,
}

/// A field; `None` where it refers to what was not seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Field {
    pub name: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
}

impl Field {
    pub fn is(&self, name: &str) -> bool {
        self.name.as_deref() == Some(name.as_bytes())
    }

    fn size(&self) -> usize {
        let length = |text: &Option<Vec<u8>>| text.as_ref().map_or(0, Vec::len);
        ENTRY_BYTES + length(&self.name) + length(&self.value)
    }
}

impl Hpack {
    /// Gives the fields of a block, as far as they are there. A block that is not `whole`, or not valid, empties the table.
    pub fn decode(&mut self, block: &[u8], whole: bool) -> Vec<Field> {
        let mut fields = Vec::new();
        let mut rest = block;
        let mut sound = whole;
        while !rest.is_empty() {
            match self.field(&mut rest) {
                Some(Some(field)) => fields.push(field),
                Some(None) => {}
                None => {
                    sound = false;
                    break;
                }
            }
        }
        if !sound {
            self.forget();
        }
        fields
    }

    /// A block was not seen.
    pub fn forget(&mut self) {
        self.entries.clear();
        self.bytes = 0;
    }

    /// The next field, or `Some(None)` for a change of the table's size.
    fn field(&mut self, rest: &mut &[u8]) -> Option<Option<Field>> {
        let first = *rest.first()?;
        if first & 0x80 != 0 {
            return Some(Some(self.entry(integer(rest, 7)?)?));
        }
        if first & 0xe0 == 0x20 {
            let bytes = integer(rest, 5)?;
            self.shrink(bytes);
            return Some(None);
        }
        let keep = first & 0x40 != 0;
        let index = integer(rest, if keep { 6 } else { 4 })?;
        let name = if index == 0 { string(rest)? } else { self.entry(index)?.name };
        let field = Field { name, value: string(rest)? };
        if keep {
            self.keep(field.clone());
        }
        Some(Some(field))
    }

    fn entry(&self, index: usize) -> Option<Field> {
        let at = index.checked_sub(1)?;
        if let Some((name, value)) = STATIC.get(at) {
            return Some(Field {
                name: Some(name.as_bytes().to_vec()),
                value: Some(value.as_bytes().to_vec()),
            });
        }
        Some(self.entries.get(at - STATIC.len()).cloned().unwrap_or_default())
    }

    fn keep(&mut self, field: Field) {
        let size = field.size();
        self.shrink(TABLE_BYTES.saturating_sub(size));
        if size <= TABLE_BYTES {
            self.bytes += size;
            self.entries.push_front(field);
        }
    }

    fn shrink(&mut self, to: usize) {
        while self.bytes > to {
            self.bytes -= self.entries.pop_back().map_or(self.bytes, |field| field.size());
        }
    }
}

/// RFC 7541, 5.1.
fn integer(rest: &mut &[u8], prefix: u32) -> Option<usize> {
    let (&first, mut bytes) = rest.split_first()?;
    let most = (1_usize << prefix) - 1;
    let mut value = usize::from(first) & most;
    if value == most {
        let mut shift = 0;
        loop {
            let (&byte, after) = bytes.split_first()?;
            bytes = after;
            value = value.checked_add(usize::from(byte & 0x7f) << shift)?;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
            if shift > 28 {
                return None;
            }
        }
    }
    *rest = bytes;
    Some(value)
}

/// RFC 7541, 5.2. `Some(None)` for one whose code is broken: its length is known all the same.
fn string(rest: &mut &[u8]) -> Option<Option<Vec<u8>>> {
    let coded = rest.first()? & 0x80 != 0;
    let length = integer(rest, 7)?;
    let (bytes, after) = rest.split_at_checked(length)?;
    *rest = after;
    if !coded {
        return Some(Some(bytes.to_vec()));
    }
    let mut text = Vec::new();
    Some(httlib_huffman::decode(bytes, &mut text, DecoderSpeed::FourBits).is_ok().then_some(text))
}

/// RFC 7541, appendix A.
const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

#[cfg(test)]
mod tests {
    use super::Hpack;

    fn text(hpack: &mut Hpack, block: &str) -> String {
        let block: String = block.split_whitespace().collect();
        let fields = hpack.decode(&hex::decode(block).unwrap(), true);
        let show = |text: &Option<Vec<u8>>| {
            text.as_ref().map_or("?".to_owned(), |text| String::from_utf8_lossy(text).into_owned())
        };
        let lines: Vec<String> =
            fields.iter().map(|field| format!("{}={}", show(&field.name), show(&field.value))).collect();
        lines.join(" ")
    }

    const FIRST: &str = "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff";
    const SECOND: &str = "8286 84be 5886 a8eb 1064 9cbf";
    const THIRD: &str = "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf";

    /// RFC 7541, C.4: three requests on a connection, with Huffman codes.
    #[test]
    fn requests_of_the_specification() {
        let mut hpack = Hpack::default();
        let start = ":method=GET :scheme=http :path=/ :authority=www.example.com";
        assert_eq!(text(&mut hpack, FIRST), start);
        assert_eq!(text(&mut hpack, SECOND), format!("{start} cache-control=no-cache"));
        assert_eq!(
            text(&mut hpack, THIRD),
            ":method=GET :scheme=https :path=/index.html :authority=www.example.com custom-key=custom-value"
        );
    }

    #[test]
    fn joined_midway_what_was_not_seen_is_unknown_and_never_wrong() {
        let mut hpack = Hpack::default();
        assert_eq!(text(&mut hpack, SECOND), ":method=GET :scheme=http :path=/ ?=? cache-control=no-cache");
        assert_eq!(
            text(&mut hpack, THIRD),
            ":method=GET :scheme=https :path=/index.html ?=? custom-key=custom-value"
        );
        assert_eq!(text(&mut hpack, "be bf"), "custom-key=custom-value cache-control=no-cache");
    }

    #[test]
    fn the_table_is_bounded() {
        let mut hpack = Hpack::default();
        for byte in 0..=255_u8 {
            let mut block = vec![0x40, 1, byte, 100];
            block.extend([b'v'; 100]);
            hpack.decode(&block, true);
            assert!(hpack.bytes <= super::TABLE_BYTES);
        }
        assert_eq!(hpack.entries.len(), 30);
    }
}
