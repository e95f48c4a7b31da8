//! Any text as a table of values, and whatever it yields through the detector of anomalies.
#![no_main]

use detectors::{anomaly, table};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(points) = table::read(text) {
        for verdict in anomaly::score(points) {
            assert!((0.0..=1.0).contains(&verdict.score));
        }
    }
});
