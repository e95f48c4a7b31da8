//! Any file that a process may have mapped: where probes go is found or not, and nothing lies outside of the file.
//!
//! The heads of real programs are seeds: an ELF header with its sections is not found by chance.

#![no_main]

use agent::tls::{is_go, look};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let _ = is_go(input);
    for seen in look(input) {
        for probe in seen.outcome.into_iter().flatten() {
            assert!(probe.place < input.len() as u64, "{probe:?} in {} bytes", input.len());
        }
    }
});
