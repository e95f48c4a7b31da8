//! Whatever comes, nothing panics, and normalising twice is normalising once.

use ingest::normalise::normalise;
use ingest::{Encoding, Limits, Signal, decode};
use proptest::prelude::*;
use serde_json::{Map, Value};

use crate::support::NOW;

const SIGNALS: [Signal; 3] = [Signal::Traces, Signal::Logs, Signal::Metrics];

/// Keys that mean something, and some that do not.
const KEYS: [&str; 44] = [
    "resourceSpans",
    "scopeSpans",
    "spans",
    "resourceLogs",
    "scopeLogs",
    "logRecords",
    "resourceMetrics",
    "scopeMetrics",
    "metrics",
    "resource",
    "scope",
    "attributes",
    "key",
    "value",
    "stringValue",
    "intValue",
    "doubleValue",
    "arrayValue",
    "kvlistValue",
    "values",
    "bytesValue",
    "traceId",
    "spanId",
    "parentSpanId",
    "kind",
    "code",
    "status",
    "severityNumber",
    "timeUnixNano",
    "gauge",
    "sum",
    "histogram",
    "exponentialHistogram",
    "summary",
    "dataPoints",
    "aggregationTemporality",
    "asInt",
    "asDouble",
    "bucketCounts",
    "explicitBounds",
    "scale",
    "positive",
    "name",
    "entityRefs",
];

/// Words that mean something, and any others.
fn word() -> impl Strategy<Value = Value> {
    let known = prop::sample::select(vec![
        "NaN",
        "Infinity",
        "-Infinity",
        "SPAN_KIND_SERVER",
        "STATUS_CODE_ERROR",
        "SEVERITY_NUMBER_INFO",
        "AGGREGATION_TEMPORALITY_DELTA",
        "5B8EFFF798038103D269B633813FC60C",
        "EEE19B7EC3C1B174",
        "nXmxo38xgBzRGmcG+0DWvQ==",
        "1795096951000000000",
        "-1",
        "0.5",
        "1e400",
        "",
    ]);
    prop_oneof![known.prop_map(Value::from), ".{0,8}".prop_map(Value::from)]
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word(),
    ];
    leaf.prop_recursive(12, 200, 6, |inner| {
        let key = prop::sample::select(KEYS.to_vec()).prop_map(str::to_owned);
        let object = prop::collection::vec((key, inner.clone()), 0..6)
            .prop_map(|fields| Value::Object(fields.into_iter().collect::<Map<_, _>>()));
        prop_oneof![object, prop::collection::vec(inner, 0..6).prop_map(Value::Array)]
    })
}

/// The shape of a request around arbitrary items, so that they are reached.
fn request() -> impl Strategy<Value = Value> {
    let paths = [
        ["resourceSpans", "scopeSpans", "spans"],
        ["resourceLogs", "scopeLogs", "logRecords"],
        ["resourceMetrics", "scopeMetrics", "metrics"],
    ];
    (prop::sample::select(paths.to_vec()), prop::collection::vec(json(), 0..4)).prop_map(|(path, items)| {
        path.into_iter().rev().fold(Value::Array(items), |inner, key| {
            let object = Value::Object(Map::from_iter([(key.to_owned(), inner)]));
            if key.starts_with("resource") { object } else { Value::Array(vec![object]) }
        })
    })
}

proptest! {
    #[test]
    fn normalising_twice_is_normalising_once(value in prop_oneof![json(), request()]) {
        let mut once = value;
        if normalise(&mut once).is_ok() {
            let mut twice = once.clone();
            prop_assert_eq!(normalise(&mut twice), Ok(()));
            prop_assert_eq!(once, twice);
        }
    }

    #[test]
    fn any_json_is_decoded_or_refused(value in prop_oneof![json(), request()]) {
        let body = value.to_string();
        for signal in SIGNALS {
            for encoding in [Encoding::Json, Encoding::JsonLines] {
                let _ = decode(signal, encoding, body.as_bytes(), &Limits::default(), NOW);
            }
        }
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(body in prop::collection::vec(any::<u8>(), 0..300)) {
        for signal in SIGNALS {
            for encoding in [Encoding::Protobuf, Encoding::Json, Encoding::JsonLines] {
                let _ = decode(signal, encoding, &body, &Limits::default(), NOW);
            }
        }
    }
}
