//! OTLP/JSON as it is sent, made into the OTLP/JSON that the generated types read.
//!
//! Senders write `null`, enum names, numbers as strings and strings as numbers, `"NaN"`, and base64 ids, all of which
//! their own protobuf libraries let pass. The generated types refuse some of these and, worse, silently lose others: a
//! metric whose temporality is a name arrives without its data. Keys of OTLP/JSON are field names, never words of the
//! sender's, so going by the key alone is safe at any depth.
//!
//! Deliberately absent: `snake_case` keys. The specification has receivers ignore them, as any unknown field.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use opentelemetry_proto::tonic::logs::v1::SeverityNumber;
use opentelemetry_proto::tonic::metrics::v1::AggregationTemporality;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use serde_json::{Map, Number, Value};

/// Stands for "not a number" and both infinities, which JSON cannot write. No value of this size or beyond is stored.
pub(crate) const NOT_FINITE: f64 = f64::MAX;

/// Fields that no row is made from. Left out here, they can neither cost anything nor fail.
const UNUSED: [&str; 3] = ["entityRefs", "exemplars", "metadata"];

/// JSON that no reading of OTLP allows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// The request is not an object.
    #[error("a request is a JSON object")]
    NotAnObject,
    /// An enum name that the protocol does not have.
    #[error("field `{field}`: unknown name `{name}`")]
    EnumName {
        /// The field.
        field: String,
        /// The name.
        name: String,
    },
    /// An id in neither notation.
    #[error("field `{field}`: `{id}` is neither hexadecimal nor base64")]
    Id {
        /// The field.
        field: String,
        /// The id.
        id: String,
    },
}

/// Puts a request into the form the generated types read: nulls and unused fields dropped, enum names and 64-bit
/// numbers as JSON numbers, ids in hexadecimal. Doing it twice changes nothing more.
pub fn normalise(request: &mut Value) -> Result<(), Unreadable> {
    match request {
        Value::Object(fields) => object(fields),
        _ => Err(Unreadable::NotAnObject),
    }
}

fn object(fields: &mut Map<String, Value>) -> Result<(), Unreadable> {
    fields.retain(|key, value| !value.is_null() && !UNUSED.contains(&key.as_str()));
    // An attribute that is not a number becomes the text, as all attributes do in the end.
    if let Some(Value::String(text)) = fields.get("doubleValue")
        && not_finite(text).is_some()
    {
        let text = fields.remove("doubleValue").unwrap_or_default();
        fields.insert("stringValue".into(), text);
    }
    fields.iter_mut().try_for_each(|(key, value)| field(key, value))
}

fn field(key: &str, value: &mut Value) -> Result<(), Unreadable> {
    match key {
        "traceId" | "spanId" | "parentSpanId" => id(key, value)?,
        "kind" => enumeration(key, value, |name| SpanKind::from_str_name(name).map(|kind| kind as i32))?,
        "code" => enumeration(key, value, |name| StatusCode::from_str_name(name).map(|code| code as i32))?,
        "severityNumber" => {
            enumeration(key, value, |name| SeverityNumber::from_str_name(name).map(|number| number as i32))?;
        }
        "aggregationTemporality" => enumeration(key, value, |name| {
            AggregationTemporality::from_str_name(name).map(|temporality| temporality as i32)
        })?,
        "timeUnixNano"
        | "startTimeUnixNano"
        | "endTimeUnixNano"
        | "observedTimeUnixNano"
        | "intValue"
        | "asInt"
        | "count"
        | "zeroCount"
        | "scale"
        | "offset"
        | "flags"
        | "droppedAttributesCount"
        | "droppedEventsCount"
        | "droppedLinksCount" => integer(value),
        "asDouble" | "doubleValue" | "sum" | "min" | "max" | "value" | "quantile" | "zeroThreshold" => {
            double(value);
        }
        "bucketCounts" => elements(value).for_each(integer),
        "explicitBounds" => elements(value).for_each(double),
        "arrayValue" => default_field(value, "values", Value::Array(Vec::new())),
        "kvlistValue" => {
            default_field(value, "values", Value::Array(Vec::new()));
            value.get_mut("values").map(elements).into_iter().flatten().for_each(default_key);
        }
        "attributes" => elements(value).for_each(default_key),
        _ => {}
    }
    descend(value)
}

fn descend(value: &mut Value) -> Result<(), Unreadable> {
    match value {
        Value::Object(fields) => object(fields),
        Value::Array(values) => {
            values.retain(|value| !value.is_null());
            values.iter_mut().try_for_each(descend)
        }
        _ => Ok(()),
    }
}

fn elements(value: &mut Value) -> std::slice::IterMut<'_, Value> {
    value.as_array_mut().map(Vec::as_mut_slice).unwrap_or_default().iter_mut()
}

/// The generated types insist on some fields whose default protobuf leaves out.
fn default_field(value: &mut Value, field: &str, default: Value) {
    if let Value::Object(fields) = value
        && fields.get(field).is_none_or(Value::is_null)
    {
        fields.insert(field.into(), default);
    }
}

fn default_key(value: &mut Value) {
    default_field(value, "key", Value::String(String::new()));
}

/// The specification asks for hexadecimal; protobuf's own JSON mapping, which many senders use, writes base64. An id
/// of 8 or 16 bytes in base64 ends in `=`, so the two cannot be confused.
fn id(field: &str, value: &mut Value) -> Result<(), Unreadable> {
    let Value::String(text) = value else { return Ok(()) };
    if text.len().is_multiple_of(2) && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(());
    }
    let bytes = BASE64_STANDARD
        .decode(&*text)
        .map_err(|_| Unreadable::Id { field: field.into(), id: std::mem::take(text) })?;
    *text = hex::encode(bytes);
    Ok(())
}

fn enumeration(
    field: &str,
    value: &mut Value,
    number: impl FnOnce(&str) -> Option<i32>,
) -> Result<(), Unreadable> {
    integer(value);
    let Value::String(name) = value else { return Ok(()) };
    match number(name) {
        Some(number) => *value = number.into(),
        None => return Err(Unreadable::EnumName { field: field.into(), name: std::mem::take(name) }),
    }
    Ok(())
}

/// Integers come as numbers, as strings, and from some languages as `1.7e18`. Anything else is left for the
/// generated types to refuse.
fn integer(value: &mut Value) {
    let number = match &*value {
        Value::String(text) => {
            text.parse::<i64>().map(Number::from).or_else(|_| text.parse::<u64>().map(Number::from)).ok()
        }
        Value::Number(number) if number.is_f64() => number.as_f64().and_then(whole),
        _ => None,
    };
    if let Some(number) = number {
        *value = Value::Number(number);
    }
}

fn whole(value: f64) -> Option<Number> {
    if value.fract() != 0.0 {
        None
    } else if (0.0..u64::MAX as f64).contains(&value) {
        Some((value as u64).into())
    } else if (i64::MIN as f64..0.0).contains(&value) {
        Some((value as i64).into())
    } else {
        None
    }
}

fn double(value: &mut Value) {
    let Value::String(text) = value else { return };
    let number = not_finite(text).or_else(|| text.parse().ok());
    if let Some(number) = number.and_then(Number::from_f64) {
        *value = Value::Number(number);
    }
}

fn not_finite(text: &str) -> Option<f64> {
    match text {
        "NaN" | "Infinity" => Some(NOT_FINITE),
        "-Infinity" => Some(-NOT_FINITE),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(input: &str, expected: &str) {
        let mut value: Value = serde_json::from_str(input).unwrap();
        let outcome = match normalise(&mut value) {
            Ok(()) => value.to_string(),
            Err(error) => error.to_string(),
        };
        assert_eq!(outcome, expected, "{input}");
    }

    #[test]
    fn reads_what_senders_write() {
        check(r#"{"a":null,"b":[null,1]}"#, r#"{"b":[1]}"#);
        check(r#"{"kind":"SPAN_KIND_SERVER"}"#, r#"{"kind":2}"#);
        check(r#"{"kind":"2"}"#, r#"{"kind":2}"#);
        check(r#"{"status":{"code":"STATUS_CODE_ERROR"}}"#, r#"{"status":{"code":2}}"#);
        check(r#"{"severityNumber":"SEVERITY_NUMBER_WARN2"}"#, r#"{"severityNumber":14}"#);
        check(
            r#"{"sum":{"aggregationTemporality":"AGGREGATION_TEMPORALITY_DELTA"}}"#,
            r#"{"sum":{"aggregationTemporality":1}}"#,
        );
        check(r#"{"timeUnixNano":"18446744073709551615"}"#, r#"{"timeUnixNano":18446744073709551615}"#);
        check(r#"{"timeUnixNano":1.7e18}"#, r#"{"timeUnixNano":1700000000000000000}"#);
        check(r#"{"intValue":"-3"}"#, r#"{"intValue":-3}"#);
        check(r#"{"bucketCounts":["1",2]}"#, r#"{"bucketCounts":[1,2]}"#);
        check(r#"{"asDouble":"2.5"}"#, r#"{"asDouble":2.5}"#);
        check(r#"{"value":{"doubleValue":"NaN"}}"#, r#"{"value":{"stringValue":"NaN"}}"#);
        check(
            r#"{"traceId":"nXmxo38xgBzRGmcG+0DWvQ=="}"#,
            r#"{"traceId":"9d79b1a37f31801cd11a6706fb40d6bd"}"#,
        );
        check(r#"{"spanId":"EEE19B7EC3C1B174"}"#, r#"{"spanId":"EEE19B7EC3C1B174"}"#);
        check(r#"{"arrayValue":{}}"#, r#"{"arrayValue":{"values":[]}}"#);
        check(r#"{"kvlistValue":{"values":[{}]}}"#, r#"{"kvlistValue":{"values":[{"key":""}]}}"#);
        check(r#"{"exemplars":[{"spanId":7}]}"#, "{}");
    }

    #[test]
    fn says_what_cannot_be_read() {
        check("[]", "a request is a JSON object");
        check(r#"{"kind":"SPAN_KIND_INVALID"}"#, "field `kind`: unknown name `SPAN_KIND_INVALID`");
        check(r#"{"spanId":"xyz"}"#, "field `spanId`: `xyz` is neither hexadecimal nor base64");
    }

    #[test]
    fn leaves_the_words_of_the_sender_alone() {
        let words = r#"{"key":"kind","value":{"stringValue":"SPAN_KIND_SERVER"}}"#;
        check(words, words);
        check(r#"{"count":"many"}"#, r#"{"count":"many"}"#);
    }
}
