//! The JSON parts, read leniently: other programs wrote them too.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use domain::{Change, ChangeKind, UnixNanos, Window};
use serde_json::Value;

use super::{Alert, Meta, Recording};
use crate::error::Error;

/// Largest JSON part.
const MAX_BYTES: u64 = 256 << 20;
/// Longest detail of a change or text of an alert; the rest is cut off.
const MAX_TEXT_BYTES: usize = 64 << 10;

/// Reads all but the telemetry. Only `incident.json` must be there and make sense.
pub fn read(dir: &Path) -> Result<Recording, Error> {
    let bad = |reason: String| Error::Recording { dir: dir.to_owned(), reason };
    let incident = match part(dir, "incident.json") {
        Ok(Some(incident)) => incident,
        Ok(None) => return Err(bad("it has no incident.json".into())),
        Err(reason) => return Err(bad(reason)),
    };
    let meta = meta(dir, &incident).ok_or_else(|| bad("incident.json has no time in detected_at".into()))?;
    let mut notes = Vec::new();
    let mut changes: Vec<Change> = list(dir, "changes.json", change, &mut notes);
    changes.sort_by_key(|change| change.at);
    let mut alerts: Vec<Alert> = list(dir, "alerts.json", alert, &mut notes);
    alerts.sort_by_key(|alert| alert.at);
    let edges = edges(dir, &mut notes);
    Ok(Recording { dir: dir.to_owned(), meta, changes, alerts, edges, notes })
}

/// A part as JSON; `None` when it is not there.
fn part(dir: &Path, file: &str) -> Result<Option<Value>, String> {
    let path = dir.join(file);
    let size = match fs::metadata(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("{file}: {error}")),
        Ok(metadata) => metadata.len(),
    };
    if size > MAX_BYTES {
        return Err(format!("{file} is larger than {} MiB", MAX_BYTES >> 20));
    }
    let bytes = fs::read(&path).map_err(|error| format!("{file}: {error}"))?;
    serde_json::from_slice(&bytes).map(Some).map_err(|error| format!("{file} is not JSON: {error}"))
}

fn list<T>(dir: &Path, file: &str, item: fn(&Value) -> Option<T>, notes: &mut Vec<String>) -> Vec<T> {
    let items = match part(dir, file) {
        Ok(None) => return Vec::new(),
        Ok(Some(Value::Array(items))) => items,
        Ok(Some(_)) => {
            notes.push(format!("{file} is not a list"));
            return Vec::new();
        }
        Err(reason) => {
            notes.push(reason);
            return Vec::new();
        }
    };
    let found: Vec<T> = items.iter().filter_map(item).collect();
    if found.len() < items.len() {
        notes.push(format!("{file}: {} of {} entries have no time", items.len() - found.len(), items.len()));
    }
    found
}

fn meta(dir: &Path, incident: &Value) -> Option<Meta> {
    let folder = || dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Some(Meta {
        id: Some(text(&incident["id"])).filter(|id| !id.is_empty()).unwrap_or_else(folder),
        system: text(&incident["system"]),
        detected_at: time(&incident["detected_at"])?,
        window: window(&incident["window"]),
        baseline: window(&incident["baseline"]),
        symptom: text(&incident["symptom"]),
        impacted_service: Some(text(&incident["impacted_service"])).filter(|service| !service.is_empty()),
    })
}

fn change(item: &Value) -> Option<Change> {
    Some(Change {
        at: time(&item["ts"])?,
        kind: ChangeKind::parse(&text(&item["kind"])),
        service: text(&item["service"]),
        version: text(&item["version"]),
        previous: text(&item["previous"]),
        reference: text(&item["ref"]),
        detail: text(&item["detail"]),
        source: "recording".into(),
    })
}

fn alert(item: &Value) -> Option<Alert> {
    Some(Alert {
        at: time(&item["ts"])?,
        service: text(&item["service"]),
        name: text(&item["name"]),
        value: item["value"].as_f64(),
        text: text(&item["text"]),
    })
}

fn edges(dir: &Path, notes: &mut Vec<String>) -> Vec<(String, String)> {
    let topology = match part(dir, "topology.json") {
        Ok(None) => return Vec::new(),
        Ok(Some(topology)) => topology,
        Err(reason) => {
            notes.push(reason);
            return Vec::new();
        }
    };
    let Some(items) = topology["edges"].as_array() else {
        notes.push("topology.json has no list of edges".into());
        return Vec::new();
    };
    let edge = |item: &Value| Some((item.get(0)?.as_str()?.to_owned(), item.get(1)?.as_str()?.to_owned()));
    let found: Vec<_> = items.iter().filter_map(edge).collect();
    if found.len() < items.len() {
        notes.push(format!("topology.json: {} of {} edges are none", items.len() - found.len(), items.len()));
    }
    found
}

fn window(value: &Value) -> Option<Window> {
    Some(Window::new(time(&value["start"])?, time(&value["end"])?))
}

/// Unix seconds, whole or with a fraction, as a number or text; or RFC 3339.
fn time(value: &Value) -> Option<UnixNanos> {
    match value {
        Value::Number(number) => match number.as_i64() {
            Some(seconds) => Some(UnixNanos::from_seconds(seconds)),
            None => UnixNanos::parse(&number.to_string()),
        },
        Value::String(text) => UnixNanos::parse(text),
        _ => None,
    }
}

/// Any value as text, in one line where it is not text itself.
fn text(value: &Value) -> String {
    let mut text = match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    text.truncate(text.floor_char_boundary(MAX_TEXT_BYTES));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_they_come() {
        let check = |value: Value, expected: Option<i64>| {
            assert_eq!(time(&value).map(|at| at.0), expected, "{value}")
        };
        check(1.into(), Some(1_000_000_000));
        check(1.5.into(), Some(1_500_000_000));
        check("1970-01-01T00:00:02Z".into(), Some(2_000_000_000));
        check(Value::Null, None);
        check("soon".into(), None);
    }

    #[test]
    fn details_of_any_shape_are_kept_as_text() {
        let item: Value = serde_json::from_str(
            r#"{"ts": 5, "kind": "quake", "service": null, "version": 3, "detail": {"a": [1]}}"#,
        )
        .unwrap();
        let change = change(&item).unwrap();
        assert_eq!(
            (change.kind, change.service.as_str(), change.version.as_str()),
            (ChangeKind::Other, "", "3")
        );
        assert_eq!(change.detail, r#"{"a":[1]}"#);
    }
}
