//! Any file that a process may have mapped: where probes go is found or not, and nothing lies outside of the file.
//!
//! The heads of real programs are seeds: an ELF header with its sections is not found by chance.

#![no_main]

use std::io::Write as _;

use agent::tls::{is_go, look};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(input).expect("written");
    let _ = is_go(&file);
    for seen in look(&file) {
        for probe in seen.outcome.into_iter().flatten() {
            assert!(probe.place < input.len() as u64, "{probe:?} in {} bytes", input.len());
        }
    }
});
