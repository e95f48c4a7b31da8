//! Finding and filling the holes of an encoded template.

/// First bytes of an eight-byte hole; the last four hold its index, big-endian.
pub type Mark = [u8; 4];

/// The eight bytes that stand in the template where hole `index` of `mark` will be filled.
pub fn hole(mark: Mark, index: u32) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&mark);
    bytes[4..].copy_from_slice(&index.to_be_bytes());
    bytes
}

/// Where the holes of `mark` are, as (offset, index), in order of offset.
pub fn find(template: &[u8], mark: Mark) -> Vec<(usize, u32)> {
    let mut found = Vec::new();
    let mut at = 0;
    while at + 8 <= template.len() {
        if template[at..at + 4] == mark {
            let index = [template[at + 4], template[at + 5], template[at + 6], template[at + 7]];
            found.push((at, u32::from_be_bytes(index)));
            at += 8;
        } else {
            at += 1;
        }
    }
    found
}

/// Fills eight bytes at `offset`.
pub fn fill(bytes: &mut [u8], offset: usize, value: [u8; 8]) {
    bytes[offset..offset + 8].copy_from_slice(&value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_marked() {
        let mark = [0xf1, 0xe2, 0xd3, 0xc4];
        let mut bytes = vec![7; 3];
        bytes.extend(hole(mark, 9));
        bytes.push(1);
        bytes.extend(hole(mark, 258));
        assert_eq!(find(&bytes, mark), [(3, 9), (12, 258)]);
    }
}
