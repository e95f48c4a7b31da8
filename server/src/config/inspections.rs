//! Limits of inspections that differ from the defaults: `cpu_node = 0.9`, or `log_errors = "off"`.

use std::collections::BTreeMap;
use std::fmt;

use detectors::inspections::{Limits, table};
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Overrides by the name of the inspection.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct InspectionLimits(BTreeMap<String, Override>);

impl InspectionLimits {
    /// As the detector reads them.
    pub fn limits(&self) -> Limits {
        let limit = |of: &Override| match of {
            Override::Off => None,
            Override::Limit(limit) => Some(*limit),
        };
        self.0.iter().map(|(name, of)| (name.clone(), limit(of))).collect()
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Override {
    Off,
    Limit(f64),
}

impl Serialize for Override {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Off => serializer.serialize_str("off"),
            Self::Limit(limit) => serializer.serialize_f64(*limit),
        }
    }
}

impl<'de> Deserialize<'de> for Override {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Limit;
        impl Visitor<'_> for Limit {
            type Value = Override;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("a number or \"off\"")
            }

            fn visit_f64<E: de::Error>(self, limit: f64) -> Result<Override, E> {
                if limit.is_finite() {
                    Ok(Override::Limit(limit))
                } else {
                    Err(E::invalid_value(de::Unexpected::Float(limit), &self))
                }
            }

            fn visit_i64<E: de::Error>(self, limit: i64) -> Result<Override, E> {
                Ok(Override::Limit(limit as f64))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Override, E> {
                if text == "off" {
                    Ok(Override::Off)
                } else {
                    Err(E::invalid_value(de::Unexpected::Str(text), &self))
                }
            }
        }
        deserializer.deserialize_any(Limit)
    }
}

/// Reads key by key, so that an unknown one is pointed at.
impl<'de> Deserialize<'de> for InspectionLimits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Rows;
        impl<'de> Visitor<'de> for Rows {
            type Value = InspectionLimits;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("limits by the name of the inspection")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut rows = BTreeMap::new();
                while let Some(Name(name)) = map.next_key()? {
                    rows.insert(name, map.next_value()?);
                }
                Ok(InspectionLimits(rows))
            }
        }
        deserializer.deserialize_map(Rows)
    }
}

/// The name of a row of the table.
struct Name(String);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        if table().any(|inspection| inspection.name == name) {
            return Ok(Self(name));
        }
        let known: Vec<String> = table().map(|inspection| format!("`{}`", inspection.name)).collect();
        Err(de::Error::custom(format!("unknown inspection `{name}`, expected one of {}", known.join(", "))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_numbers_or_off() {
        let read = |text: &str| toml::from_str::<InspectionLimits>(text);
        let limits = read("cpu_node = 0.9\nqueue_length = 50\nlog_errors = 'off'").unwrap();
        let expected: Limits = [
            ("cpu_node".into(), Some(0.9)),
            ("queue_length".into(), Some(50.0)),
            ("log_errors".into(), None),
        ]
        .into();
        assert_eq!(limits.limits(), expected);
        assert_eq!(read(&toml::to_string(&limits).unwrap()).unwrap(), limits);
        for wrong in ["cpu_node = 'high'", "cpu_node = nan", "cpu_node = true", "cpu_nodes = 1"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        let error = read("cpu_node = 1\ncpu_nodes = 1").unwrap_err();
        assert!(error.to_string().contains("unknown inspection `cpu_nodes`"), "{error}");
        assert!(error.span().is_some_and(|span| span.start >= 13), "{error:?}");
    }
}
