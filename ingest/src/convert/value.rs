//! Attribute values and log bodies of any type as text.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use opentelemetry_proto::tonic::common::v1::AnyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use serde_json::Value as Json;

use super::Converter;

/// Lists within lists beyond this depth become an ellipsis.
const MAX_DEPTH: usize = 8;

impl Converter<'_> {
    /// The text of a value: scalars as they are, bytes in base64, lists and maps as compact JSON.
    pub(super) fn value(&mut self, value: Option<AnyValue>) -> String {
        let text = match value.and_then(|value| value.value) {
            None | Some(Value::StringValueStrindex(_)) => return String::new(),
            Some(Value::StringValue(text)) => text,
            Some(Value::BoolValue(value)) => value.to_string(),
            Some(Value::IntValue(value)) => value.to_string(),
            Some(Value::DoubleValue(value)) => double(value),
            Some(Value::BytesValue(bytes)) => BASE64_STANDARD.encode(bytes),
            Some(list @ (Value::ArrayValue(_) | Value::KvlistValue(_))) => {
                self.json(list, MAX_DEPTH).to_string()
            }
        };
        self.text(text)
    }

    fn json(&mut self, value: Value, depth: usize) -> Json {
        match value {
            Value::StringValue(text) => Json::String(text),
            Value::BoolValue(value) => Json::Bool(value),
            Value::IntValue(value) => value.into(),
            Value::DoubleValue(value) if value.is_finite() => value.into(),
            Value::DoubleValue(value) => Json::String(double(value)),
            Value::BytesValue(bytes) => Json::String(BASE64_STANDARD.encode(bytes)),
            Value::StringValueStrindex(_) => Json::Null,
            Value::ArrayValue(_) | Value::KvlistValue(_) if depth == 0 => {
                self.tally.truncated += 1;
                Json::String("…".into())
            }
            Value::ArrayValue(list) => {
                list.values.into_iter().map(|value| self.member(value.value, depth)).collect()
            }
            Value::KvlistValue(list) => {
                let members = list.values.into_iter().map(|member| {
                    let value = member.value.and_then(|value| value.value);
                    (member.key, self.member(value, depth))
                });
                members.collect()
            }
        }
    }

    fn member(&mut self, value: Option<Value>, depth: usize) -> Json {
        value.map_or(Json::Null, |value| self.json(value, depth - 1))
    }
}

/// The shortest text that reads back as the same number: `5`, `637.704`, `1e300`, `NaN`.
fn double(value: f64) -> String {
    const EXACT: f64 = 1e15;
    if value.fract() == 0.0 && value.abs() < EXACT {
        (value as i64).to_string()
    } else {
        format!("{value:?}")
    }
}

#[cfg(test)]
mod tests {
    use domain::UnixNanos;
    use opentelemetry_proto::tonic::common::v1::{ArrayValue, KeyValue, KeyValueList};

    use super::*;
    use crate::limits::Limits;

    fn check(value: Value, expected: &str, truncated: u64) {
        let limits = Limits { max_field_bytes: 64, ..Limits::default() };
        let mut converter = Converter::new(&limits, UnixNanos(0));
        assert_eq!(converter.value(Some(AnyValue { value: Some(value) })), expected);
        assert_eq!(converter.tally.truncated, truncated);
    }

    fn list(value: Value) -> Value {
        Value::ArrayValue(ArrayValue {
            values: vec![AnyValue { value: Some(value) }, AnyValue { value: None }],
        })
    }

    #[test]
    fn scalars_are_written_plainly() {
        check(Value::StringValue("a\0<b>".into()), "a\0<b>", 0);
        check(Value::BoolValue(true), "true", 0);
        check(Value::IntValue(-7), "-7", 0);
        check(Value::DoubleValue(5.0), "5", 0);
        check(Value::DoubleValue(637.704), "637.704", 0);
        check(Value::DoubleValue(1e300), "1e300", 0);
        check(Value::DoubleValue(f64::NAN), "NaN", 0);
        check(Value::BytesValue(vec![1, 2, 3]), "AQID", 0);
        check(Value::StringValue("x".repeat(65)), &"x".repeat(64), 1);
    }

    #[test]
    fn lists_are_compact_json_of_bounded_depth() {
        check(list(Value::IntValue(1)), "[1,null]", 0);
        let member = |key: &str, value| KeyValue { key: key.into(), value, ..KeyValue::default() };
        let map = Value::KvlistValue(KeyValueList {
            values: vec![
                member("b", None),
                member("a", Some(AnyValue { value: Some(list(Value::DoubleValue(0.5))) })),
            ],
        });
        check(map, r#"{"a":[0.5,null],"b":null}"#, 0);
        let deep = (0..20).fold(Value::BoolValue(true), |inner, _| list(inner));
        check(deep, r#"[[[[[[[["…",null],null],null],null],null],null],null],null]"#, 1);
    }
}
