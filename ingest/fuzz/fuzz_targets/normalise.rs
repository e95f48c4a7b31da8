//! Any JSON is normalised or refused, and normalising it again changes nothing.

#![no_main]

use ingest::normalise::normalise;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|body: &[u8]| {
    let Ok(mut once) = serde_json::from_slice::<Value>(body) else { return };
    if normalise(&mut once).is_ok() {
        let mut twice = once.clone();
        assert_eq!(normalise(&mut twice), Ok(()));
        assert_eq!(once, twice);
    }
});
