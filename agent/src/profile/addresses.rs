//! The map of a process's memory: which file, and where in it, an address is of.

use std::path::{Path, PathBuf};

/// A stretch of executable memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Region {
    pub from: u64,
    pub to: u64,
    pub offset: u64,
    /// Device and inode: which file, whatever it is called. Zero for none.
    pub file: (u64, u64),
    pub path: PathBuf,
}

/// The executable regions of a process, in order.
pub(super) fn regions(root: &Path, pid: u32) -> Vec<Region> {
    let text = std::fs::read_to_string(root.join(format!("proc/{pid}/maps"))).unwrap_or_default();
    text.lines().filter_map(region).collect()
}

pub(super) fn find(regions: &[Region], address: u64) -> Option<&Region> {
    let after = regions.partition_point(|region| region.to <= address);
    regions.get(after).filter(|region| region.from <= address)
}

/// `55d0-55d8 r-xp 00001000 fe:00 1234   /usr/bin/x`
fn region(line: &str) -> Option<Region> {
    let mut fields = line.split_whitespace();
    let (from, to) = fields.next()?.split_once('-')?;
    let permissions = fields.next()?;
    let offset = fields.next()?;
    let (major, minor) = fields.next()?.split_once(':')?;
    let inode: u64 = fields.next()?.parse().ok()?;
    let hex = |text| u64::from_str_radix(text, 16).ok();
    if !permissions.contains('x') {
        return None;
    }
    // Paths may hold spaces.
    let path = line
        .find('/')
        .map(|at| line[at..].trim_end_matches(" (deleted)"))
        .filter(|_| inode != 0)
        .unwrap_or_default();
    Some(Region {
        from: hex(from)?,
        to: hex(to)?,
        offset: hex(offset)?,
        file: (hex(major)? << 32 | hex(minor)?, inode),
        path: path.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_kernel() {
        let found =
            region("7f10-7f20 r-xp 00001000 fe:01 42                    /opt/my app/lib.so (deleted)")
                .expect("a region");
        assert_eq!((found.from, found.to, found.offset), (0x7f10, 0x7f20, 0x1000));
        assert_eq!((found.file, found.path.to_str()), ((0xfe << 32 | 1, 42), Some("/opt/my app/lib.so")));
        assert_eq!(region("7f10-7f20 rw-p 00001000 fe:01 42 /x"), None);
        let jit = region("7f20-7f30 rwxp 00000000 00:00 0 ").expect("a region");
        assert_eq!(jit.file.1, 0);
        let regions = [found, jit];
        assert_eq!(find(&regions, 0x7f1f).map(|it| it.from), Some(0x7f10));
        assert_eq!(find(&regions, 0x7f20).map(|it| it.from), Some(0x7f20));
        assert_eq!(find(&regions, 0x7f30), None);
        assert_eq!(find(&regions, 1), None);
    }
}
