//! Any bytes in the JSON parts of a recording give a recording with notes, or an error; never a panic.

#![no_main]

use libfuzzer_sys::fuzz_target;

/// The parts; the input is cut at zero bytes and dealt out to them in turn.
const PARTS: [&str; 4] = ["changes.json", "alerts.json", "topology.json", "incident.json"];

fuzz_target!(|input: &[u8]| {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // A sound head lets the fuzzer reach the other parts; the input may replace it.
    std::fs::write(folder.path().join("incident.json"), r#"{"id":"a","system":"b","detected_at":1}"#).expect("write");
    for (name, part) in PARTS.iter().zip(input.split(|byte| *byte == 0)) {
        std::fs::write(folder.path().join(name), part).expect("write");
    }
    let _ = storage::recording::read(folder.path());
});
