//! Any bytes are decoded or refused, as any signal in any encoding; the first two bytes choose.

#![no_main]

use domain::UnixNanos;
use ingest::{Encoding, Limits, Signal, decode};
use libfuzzer_sys::fuzz_target;

const NOW: UnixNanos = UnixNanos::from_seconds(1_795_096_951);

fuzz_target!(|input: &[u8]| {
    let [signal, encoding, body @ ..] = input else { return };
    let signal = [Signal::Traces, Signal::Logs, Signal::Metrics][usize::from(signal % 3)];
    let encoding = [Encoding::Protobuf, Encoding::Json, Encoding::JsonLines][usize::from(encoding % 3)];
    if let Ok(decoded) = decode(signal, encoding, body, &Limits::default(), NOW) {
        assert!(decoded.batch.samples.iter().all(|sample| sample.value.is_finite()));
    }
});
