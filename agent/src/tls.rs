//! Watching TLS: the libraries where they usually are, Go programs when they start, and every process that is seen to speak TLS.
//!
//! A probe sits on a file, and so in every process that has it mapped, now or later. Nothing is written to a program: the kernel
//! puts the probes, and takes them away when the links are dropped or this process ends.
//!
//! A probe at a place that is not the beginning of an instruction would end the program. So a file is looked at anew when it has changed,
//! and let go as soon as no process has it: until then it cannot be written to, as far as it is a program.

mod code;
mod go;
mod image;
mod openssl;
mod rustls;
mod search;
mod symbols;
mod watched;

use std::fs::File;

use image::{Cache, Image};
pub use watched::{Report, TlsLibraries};

/// A way of speaking TLS whose plaintext can be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Library {
    /// OpenSSL, and what keeps its names.
    OpenSsl,
    /// `crypto/tls` of Go.
    Go,
    /// rustls.
    Rustls,
}

impl Library {
    /// Its name, for people.
    pub const fn says(self) -> &'static str {
        match self {
            Self::OpenSsl => "OpenSSL",
            Self::Go => "Go",
            Self::Rustls => "rustls with symbols",
        }
    }
}

/// A place in a file, and the program that runs there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Probe {
    /// The program's name in the object.
    pub program: &'static str,
    /// Bytes from the beginning of the file.
    pub place: u64,
}

/// A way of speaking TLS that is in a file: the probes that show it, or why there can be none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Which.
    pub library: Library,
    /// Probes in the order in which they are put, or the reason.
    pub outcome: Result<Vec<Probe>, String>,
}

/// What is known of a file, from its bytes. Any bytes do no harm.
pub fn look(file: &File) -> Vec<Seen> {
    let cache = Cache::new(file);
    let Some(image) = Image::parse(file, &cache) else { return Vec::new() };
    let functions = image.functions(|name| {
        openssl::ending(name).or_else(|| go::ending(name)).or_else(|| rustls::ending(name))
    });
    let seen =
        [go::look(&image, &functions), openssl::look(&image, &functions), rustls::look(&image, &functions)];
    seen.into_iter().flatten().collect()
}

/// Whether a file is a program of Go: such are looked at when they start, for their first connection tells what the later ones need.
pub fn is_go(file: &File) -> bool {
    let cache = Cache::new(file);
    Image::parse(file, &cache).is_some_and(|image| image.section_address(".go.buildinfo").is_some())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// A real program, some bytes of which lie.
        #[test]
        fn a_program_that_lies_does_no_harm(
            changes in proptest::collection::vec((0_usize..1024, any::<u8>()), 0..8),
            tail in proptest::collection::vec((0_usize..4096, any::<u8>()), 0..8),
            end in 0_usize..200_000,
        ) {
            let Ok(mut bytes) = std::fs::read("/bin/true") else { return Ok(()) };
            let length = bytes.len();
            for (at, byte) in changes {
                bytes[at % length] = byte;
            }
            // The headers of sections are at the end.
            for (at, byte) in tail {
                bytes[length - 1 - at % length] = byte;
            }
            bytes.truncate(length.min(end + 64));
            let mut file = tempfile::tempfile().expect("a file");
            file.write_all(&bytes).expect("written");
            let _ = is_go(&file);
            for seen in look(&file) {
                for probe in seen.outcome.into_iter().flatten() {
                    prop_assert!(probe.place < bytes.len() as u64);
                }
            }
        }
    }
}
