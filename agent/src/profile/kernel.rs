//! Names of the kernel's functions, from `/proc/kallsyms`.
//!
//! The kernel writes that file anew for each reader, which takes a tenth of a second: it is read once in a long while, and kept in a few
//! megabytes.

use std::fs::File;
use std::io::BufReader;

/// No function of the kernel is longer.
const LONGEST: u64 = 1 << 16;
/// Collections after which the file is read again: modules come and go.
const RENEWED_AFTER: u32 = 360;

/// The table.
#[derive(Debug, Default)]
pub(super) struct Kernel {
    /// Starts of functions with where their names begin, in order.
    starts: Vec<(u64, u32)>,
    /// Names, each with a line's end.
    names: String,
    collections: u32,
}

impl Kernel {
    /// To be called before the names of a collection are asked for.
    pub fn prepare(&mut self) {
        if self.collections == 0 {
            self.starts.clear();
            self.names.clear();
            match File::open("/proc/kallsyms") {
                Ok(file) => self.read(BufReader::new(file)),
                Err(error) => tracing::debug!(%error, "functions of the kernel stay without names"),
            }
        }
        self.collections = (self.collections + 1) % RENEWED_AFTER;
    }

    /// The function that `address` is in.
    pub fn name(&self, address: u64) -> Option<&str> {
        let after = self.starts.partition_point(|(from, _)| *from <= address);
        let (from, at) = self.starts.get(after.checked_sub(1)?)?;
        (address - from <= LONGEST).then(|| self.names[*at as usize..].lines().next()).flatten()
    }

    fn read(&mut self, mut lines: impl std::io::BufRead) {
        let mut line = String::new();
        loop {
            line.clear();
            if !lines.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
                break;
            }
            let mut fields = line.split_whitespace();
            let (Some(Ok(from)), Some(kind), Some(name)) =
                (fields.next().map(|it| u64::from_str_radix(it, 16)), fields.next(), fields.next())
            else {
                continue;
            };
            // All zero where addresses are hidden.
            if from == 0 || !matches!(kind, "t" | "T" | "w" | "W") {
                continue;
            }
            let Ok(at) = u32::try_from(self.names.len()) else { break };
            self.starts.push((from, at));
            self.names.push_str(name);
            self.names.push('\n');
        }
        // Of several at one place the last counts, as before sorting.
        self.starts.sort_by_key(|(from, _)| *from);
        self.starts.shrink_to_fit();
        self.names.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_function_before() {
        let mut kernel = Kernel::default();
        let text = "0000000000003000 T third\n0000000000001000 t first [module]\n0000000000002000 d data\nnonsense\n";
        kernel.read(text.as_bytes());
        let name = |address| kernel.name(address);
        assert_eq!(
            [name(0xfff), name(0x1000), name(0x2fff), name(0x3001), name(0x3000 + LONGEST + 1)],
            [None, Some("first"), Some("first"), Some("third"), None]
        );
    }
}
