//! Where fields lie in the structures of the running kernel, from its own type information (BTF).
//!
//! Deliberately absent: everything else that BTF holds. Only structures and their members are read.

use std::collections::HashMap;

/// What can be wrong with type information.
#[derive(Debug, thiserror::Error)]
pub enum BtfError {
    /// It does not begin as type information does, or ends too soon.
    #[error("not type information: {0}")]
    Malformed(&'static str),
    /// A structure or a member is not there.
    #[error("this kernel has no {0}")]
    Missing(String),
}

const MAGIC: u16 = 0xeb9f;
const KIND_ARRAY: u32 = 3;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_ENUM: u32 = 6;
const KIND_FUNC_PROTO: u32 = 13;
const KIND_VAR: u32 = 14;
const KIND_DATASEC: u32 = 15;
const KIND_DECL_TAG: u32 = 17;
const KIND_ENUM64: u32 = 19;
const KIND_INT: u32 = 1;
/// `const`, `volatile`, `restrict`, `typedef`, type tags: the same layout under another name.
const TRANSPARENT: [u32; 5] = [8, 9, 10, 11, 18];
/// Deepest nesting of structures within structures.
const DEPTH: usize = 16;

/// The types of one kernel.
pub struct Btf {
    data: Vec<u8>,
    /// Where each type's record starts; index is the type's number.
    types: Vec<usize>,
    strings: usize,
    structs: HashMap<String, u32>,
}

impl Btf {
    /// Reads `data`, little-endian, as in `/sys/kernel/btf/vmlinux`.
    pub fn parse(data: Vec<u8>) -> Result<Self, BtfError> {
        let word = |place: usize| word(&data, place).ok_or(BtfError::Malformed("it ends in its header"));
        if data.get(..2) != Some(MAGIC.to_le_bytes().as_slice()) {
            return Err(BtfError::Malformed("wrong first bytes"));
        }
        let header = word(4)? as usize;
        let types_from = header + word(8)? as usize;
        let types_to = types_from + word(12)? as usize;
        let strings = header + word(16)? as usize;
        if types_to > data.len() || strings > data.len() {
            return Err(BtfError::Malformed("it ends before its types"));
        }
        let mut types = vec![0];
        let mut place = types_from;
        while place < types_to {
            types.push(place);
            let info = word(place + 4)?;
            place += 12 + tail(info).ok_or(BtfError::Malformed("a type of an unknown kind"))?;
        }
        let mut btf = Self { data, types, strings, structs: HashMap::new() };
        for id in 1..btf.types.len() as u32 {
            if btf.kind(id) == Some(KIND_STRUCT) && btf.size(id) != Some(0) {
                let name = btf.name(btf.word(id, 0).unwrap_or(0)).to_owned();
                btf.structs.entry(name).or_insert(id);
            }
        }
        Ok(btf)
    }

    /// Byte offset of `path` (members joined by dots, through anonymous parts) in the structure `name`.
    pub fn offset(&self, name: &str, path: &str) -> Result<u32, BtfError> {
        let missing = || BtfError::Missing(format!("{name}.{path}"));
        let mut id = *self.structs.get(name).ok_or_else(missing)?;
        let mut bits = 0;
        for member in path.split('.') {
            let (found, at) = self.member(id, member, DEPTH).ok_or_else(missing)?;
            bits += at;
            id = found;
        }
        Ok(bits / 8)
    }

    /// Type and bit offset of the member `wanted` of `id`.
    fn member(&self, id: u32, wanted: &str, depth: usize) -> Option<(u32, u32)> {
        let id = self.resolve(id)?;
        let info = self.word(id, 4)?;
        if depth == 0 || !matches!(info >> 24 & 31, KIND_STRUCT | KIND_UNION) {
            return None;
        }
        for index in 0..(info & 0xffff) as usize {
            let name = self.name(self.word(id, 12 + index * 12)?);
            let kind = self.word(id, 16 + index * 12)?;
            let mut at = self.word(id, 20 + index * 12)?;
            if info >> 31 == 1 {
                // The upper byte is the width of a bit field.
                at &= 0x00ff_ffff;
            }
            if name == wanted {
                return Some((kind, at));
            }
            if name.is_empty()
                && let Some((found, inner)) = self.member(kind, wanted, depth - 1)
            {
                return Some((found, at + inner));
            }
        }
        None
    }

    fn resolve(&self, mut id: u32) -> Option<u32> {
        for _ in 0..DEPTH {
            if !TRANSPARENT.contains(&self.kind(id)?) {
                return Some(id);
            }
            id = self.word(id, 8)?;
        }
        None
    }

    fn kind(&self, id: u32) -> Option<u32> {
        Some(self.word(id, 4)? >> 24 & 31)
    }

    fn size(&self, id: u32) -> Option<u32> {
        self.word(id, 8)
    }

    fn word(&self, id: u32, offset: usize) -> Option<u32> {
        let place = *self.types.get(id as usize).filter(|place| **place != 0)?;
        word(&self.data, place + offset)
    }

    fn name(&self, offset: u32) -> &str {
        let Some(rest) = self.data.get(self.strings + offset as usize..) else { return "" };
        let end = memchr::memchr(0, rest).unwrap_or(rest.len());
        std::str::from_utf8(&rest[..end]).unwrap_or("")
    }
}

fn word(data: &[u8], place: usize) -> Option<u32> {
    let bytes = data.get(place..place.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

/// How many bytes follow the twelve that every type has.
fn tail(info: u32) -> Option<usize> {
    let count = (info & 0xffff) as usize;
    match info >> 24 & 31 {
        KIND_INT | KIND_VAR | KIND_DECL_TAG => Some(4),
        KIND_ARRAY => Some(12),
        KIND_STRUCT | KIND_UNION | KIND_DATASEC | KIND_ENUM64 => Some(count * 12),
        KIND_ENUM | KIND_FUNC_PROTO => Some(count * 8),
        2 | 7..=12 | 16 | 18 => Some(0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_this_kernel() {
        let Ok(data) = std::fs::read("/sys/kernel/btf/vmlinux") else {
            eprintln!("skipped: this kernel gives no type information");
            return;
        };
        let btf = Btf::parse(data).expect("type information");
        // Fixed by the kernel's own assertions and by its interface with old programs.
        assert_eq!(btf.offset("sock_common", "skc_daddr").expect("there"), 0);
        assert_eq!(btf.offset("sock_common", "skc_rcv_saddr").expect("there"), 4);
        assert!(btf.offset("net", "ns.inum").expect("there") > 0);
        assert!(btf.offset("net", "ns.nonsense").is_err());
    }

    #[test]
    fn damage_is_an_error() {
        assert!(Btf::parse(Vec::new()).is_err());
        assert!(Btf::parse(vec![0x9f, 0xeb, 1, 0, 24]).is_err());
        let mut data = vec![0x9f, 0xeb, 1, 0];
        for word in [24_u32, 0, 4, 4, 1] {
            data.extend(word.to_le_bytes());
        }
        data.extend([1, 2, 3, 4, 0]);
        assert!(Btf::parse(data).is_err());
    }
}
