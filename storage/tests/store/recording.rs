//! Recordings: written and read again, damaged, and the public ones.

use std::fs;
use std::path::{Path, PathBuf};

use clickhouse::Row;
use domain::{Attributes, Change, Series, UnixNanos, Window};
use serde::Deserialize;
use storage::recording::{self, Meta};
use storage::{Error, Store};

use crate::signals::{stored_logs, stored_profiles, stored_samples, stored_spans};
use crate::{NOON, batch, count, finish, seconds, stores};

fn meta() -> Meta {
    Meta {
        id: "r1".into(),
        system: "shop".into(),
        detected_at: NOON.plus(seconds(30)),
        window: Some(Window::new(NOON.minus(seconds(60)), NOON.plus(seconds(30)))),
        baseline: Some(Window::new(NOON.minus(seconds(7200)), NOON.minus(seconds(3600)))),
        symptom: "it's \"slow\"".into(),
        impacted_service: Some("checkout".into()),
    }
}

#[tokio::test]
async fn a_recording_comes_back_as_it_went() {
    for store in stores().await {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("it's one");
        let mut batch = batch();
        let mut baseline = batch.spans[1].clone();
        baseline.start = NOON.minus(seconds(5000));
        let mut outside = baseline.clone();
        outside.start = NOON.minus(seconds(9000));
        batch.spans.extend([baseline, outside]);
        let mut late = batch.changes[0].clone();
        late.at = NOON.plus(seconds(31));
        batch.changes.push(late);
        store.append(&batch).await.unwrap();
        let window = Window::new(NOON.minus(seconds(600)), NOON.plus(seconds(600)));
        let summary = recording::export(&store, &dir, &meta(), window).await.unwrap();
        let written = (summary.spans, summary.logs, summary.samples, summary.profiles, summary.changes);
        assert_eq!(written, (3, 1, 3, 1, 1));

        let copy = Store::scratch().await.unwrap();
        let recording = recording::load(&copy, &dir).await.unwrap();
        assert_eq!(recording.meta, meta());
        assert_eq!(recording.notes, Vec::<String>::new());
        let mut spans = stored_spans(&store).await;
        spans.remove(0);
        assert_eq!(stored_spans(&copy).await, spans);
        assert_eq!(stored_logs(&copy).await, stored_logs(&store).await);
        assert_eq!(stored_samples(&copy).await, stored_samples(&store).await);
        assert_eq!(stored_profiles(&copy).await, stored_profiles(&store).await);
        let change = Change { source: "recording".into(), ..batch.changes[0].clone() };
        assert_eq!(recording.changes, [change]);
        assert_eq!(count(&copy, "changes").await, 1);
        finish(copy).await;
        finish(store).await;
    }
}

#[tokio::test]
async fn a_recording_loads_into_any_store() {
    let folder = tempfile::tempdir().unwrap();
    let source = Store::scratch().await.unwrap();
    source.append(&batch()).await.unwrap();
    let window = Window::new(NOON.minus(seconds(600)), NOON.plus(seconds(600)));
    recording::export(&source, folder.path(), &meta(), window).await.unwrap();
    for store in stores().await {
        recording::load(&store, folder.path()).await.unwrap();
        assert_eq!(stored_spans(&store).await, stored_spans(&source).await);
        assert_eq!(stored_samples(&store).await, stored_samples(&source).await);
        assert_eq!(count(&store, "span_minutes").await, 2);
        finish(store).await;
    }
    finish(source).await;
}

fn write(dir: &Path, file: &str, content: &str) {
    fs::write(dir.join(file), content).unwrap();
}

#[tokio::test]
async fn damaged_parts_become_notes() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    write(dir, "incident.json", r#"{"detected_at": "2026-11-19T14:02:31Z", "window": null, "baseline": 5}"#);
    write(dir, "changes.json", r#"[{"ts": 1.5, "kind": "?"}, {"kind": "deploy"}, 3]"#);
    write(dir, "alerts.json", "{");
    write(dir, "topology.json", r#"{"edges": [["a", "b"], ["a"], 1]}"#);
    write(dir, "spans.parquet", "PAR1 but not really PAR1");
    write(dir, "logs.parquet", "");
    let store = Store::scratch().await.unwrap();
    let recording = recording::load(&store, dir).await.unwrap();
    assert_eq!(recording.meta.detected_at.to_string(), "2026-11-19T14:02:31Z");
    assert_eq!(recording.meta.id, dir.file_name().unwrap().to_str().unwrap());
    assert_eq!((recording.meta.window, recording.meta.baseline), (None, None));
    assert_eq!(recording.changes.len(), 1);
    assert_eq!(recording.changes[0].at, UnixNanos(1_500_000_000));
    assert_eq!(recording.edges, [("a".to_owned(), "b".to_owned())]);
    let notes = recording.notes.join("\n");
    for part in [
        "changes.json: 2 of 3",
        "alerts.json is not JSON",
        "topology.json: 2 of 3",
        "spans.parquet cannot be read",
        "logs.parquet cannot be read",
        "no metrics.parquet",
    ] {
        assert!(notes.contains(part), "{part} is not in:\n{notes}");
    }
    assert_eq!(recording.notes.len(), 6, "{notes}");
    finish(store).await;
}

#[tokio::test]
async fn a_folder_without_an_incident_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let check = |reason: &str| {
        let error = recording::read(folder.path()).unwrap_err();
        assert!(matches!(error, Error::Recording { .. }), "{error}");
        assert!(error.to_string().contains(reason), "{error}");
    };
    check("no incident.json");
    write(folder.path(), "incident.json", "[]");
    check("no time in detected_at");
    write(folder.path(), "incident.json", "{");
    check("is not JSON");
}

#[tokio::test]
async fn records_without_a_time_take_that_of_their_span() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    write(dir, "incident.json", r#"{"detected_at": 1}"#);
    let store = Store::scratch().await.unwrap();
    let make = async |file: &str, select: &str| {
        let path = dir.join(file);
        let statement = format!("INSERT INTO FUNCTION file('{}', 'Parquet') {select}", path.display());
        store.client().query_raw(&statement).execute().await.unwrap();
    };
    make("spans.parquet", "SELECT toDateTime64(1.5, 9) AS Timestamp, 'T' AS TraceId, 's' AS SpanId").await;
    make(
        "logs.parquet",
        "SELECT toDateTime64(if(number = 0, 7, 0), 9) AS Timestamp, 'T' AS TraceId,
         ['s', 's', 'unknown'][number + 1] AS SpanId, toString(number) AS Body FROM numbers(3)",
    )
    .await;
    let recording = recording::load(&store, dir).await.unwrap();
    assert!(
        recording.notes[0].starts_with("logs.parquet: 2 records have no time; 1 were"),
        "{:?}",
        recording.notes
    );
    let found: Vec<_> =
        stored_logs(&store).await.into_iter().map(|record| (record.at.millis(), record.body)).collect();
    assert_eq!(found, [(1500, "1".to_owned()), (7000, "0".to_owned())]);
    finish(store).await;
}

#[tokio::test]
async fn columns_may_be_missing_strange_or_null() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    write(dir, "incident.json", r#"{"detected_at": 1}"#);
    let store = Store::scratch().await.unwrap();
    let make = async |file: &str, select: &str| {
        let path = dir.join(file);
        let statement = format!("INSERT INTO FUNCTION file('{}', 'Parquet') {select}", path.display());
        store.client().query_raw(&statement).execute().await.unwrap();
    };
    make(
        "spans.parquet",
        "SELECT toDateTime64('2026-01-01 00:00:00', 3) AS Timestamp, toNullable('SPAN_KIND_SERVER') AS SpanKind,
         'STATUS_CODE_ERROR' AS StatusCode, CAST(NULL, 'Nullable(String)') AS SpanName, 'ABC' AS TraceId,
         unhex('ff') AS ServiceName, map('k', CAST(NULL, 'Nullable(String)')) AS SpanAttributes, 1 AS Unheard",
    )
    .await;
    make(
        "metrics.parquet",
        "SELECT toDateTime64('2026-01-01 00:00:00', 9) AS Timestamp, 'm' AS MetricName,
         if(number % 2 = 0, map('a', '1', 'b', '2'), map('b', '2', 'a', '1')) AS Labels,
         if(number = 3, nan, toFloat64(number)) AS Value FROM numbers(5)",
    )
    .await;
    let recording = recording::load(&store, dir).await.unwrap();
    assert_eq!(recording.notes, ["no logs.parquet"]);
    let spans = stored_spans(&store).await;
    assert_eq!(spans.len(), 1);
    assert_eq!((spans[0].kind, spans[0].status), (domain::SpanKind::Server, domain::StatusCode::Error));
    assert_eq!((spans[0].trace_id.as_str(), spans[0].service.as_str()), ("abc", "\u{fffd}"));
    assert_eq!(spans[0].attributes, Attributes::from([("k".to_owned(), String::new())]));
    let samples = stored_samples(&store).await;
    assert_eq!(samples.iter().map(|sample| sample.value).sum::<f64>(), 7.0);
    let labels = Attributes::from([("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())]);
    let id = Series { name: "m".into(), labels, ..Series::default() }.id().0;
    assert!(samples.iter().all(|sample| sample.series_id == id));
    finish(store).await;
}

/// The recordings of a public set, where they are on this machine.
fn public(set: &str) -> Vec<PathBuf> {
    let data = std::env::var_os("INQUEST_SHARED_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"), PathBuf::from);
    let Ok(entries) = fs::read_dir(data.join("recordings").join(set)) else {
        eprintln!(
            "skipped: no recordings/{set} in {}; INQUEST_SHARED_DATA can name the folder",
            data.display()
        );
        return Vec::new();
    };
    let mut found: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

#[derive(Row, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Described {
    id: u64,
    name: String,
    labels: Attributes,
    service_name: String,
}

async fn loads_whole(set: &str) {
    let mut store = Store::scratch().await.unwrap();
    for dir in public(set) {
        let recording = recording::load(&store, &dir).await.unwrap();
        for note in &recording.notes {
            let known = note.starts_with("no ") || note.ends_with("the rest left out");
            assert!(known, "{}: {note}", dir.display());
        }
        for (file, table) in [("spans", "otel_traces"), ("logs", "otel_logs"), ("metrics", "metric_samples")]
        {
            let path = dir.join(file).with_extension("parquet");
            if path.is_file() {
                let rows =
                    count(&store, &format!("file('{}', 'Parquet')", path.canonicalize().unwrap().display()))
                        .await;
                assert_eq!(count(&store, table).await, rows, "{}", path.display());
            }
        }
        let described: Vec<Described> =
            store.client().query("SELECT ?fields FROM metric_series").fetch_all().await.unwrap();
        for row in described {
            let service = row.labels.get("service").cloned().unwrap_or_default();
            let series = Series { name: row.name, labels: row.labels, ..Series::default() };
            assert_eq!((row.id, row.service_name), (series.id().0, service));
        }
        store = store.emptied().await.unwrap();
    }
    finish(store).await;
}

#[tokio::test]
async fn nezha_loads() {
    loads_whole("nezha_tt").await;
}

#[tokio::test]
async fn changerca_loads() {
    loads_whole("changerca").await;
}

#[tokio::test]
async fn petshop_loads() {
    loads_whole("petshop").await;
}

#[tokio::test]
async fn rootcausebench_loads() {
    loads_whole("rootcausebench").await;
}
