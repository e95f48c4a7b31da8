//! Every OTLP file of the shared data, through the HTTP routes.

use std::path::{Path, PathBuf};

use domain::Batch;

use crate::support::Harness;

/// The folder, or nothing where it is absent.
fn folder() -> Option<PathBuf> {
    let root = std::env::var_os("INQUEST_SHARED_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"), PathBuf::from);
    let folder = root.join("otlp");
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("skipped: {} is absent; set INQUEST_SHARED_DATA", folder.display());
    None
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path
            .extension()
            .is_some_and(|ending| ending == "json" || ending == "jsonl" || ending == "pb")
        {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn route(path: &Path) -> &'static str {
    match path.file_name().unwrap().to_str().unwrap() {
        name if name.starts_with("trace") => "/v1/traces",
        name if name.starts_with("metrics") => "/v1/metrics",
        _ => "/v1/logs",
    }
}

fn content_type(path: &Path) -> &'static str {
    match path.extension().unwrap().to_str().unwrap() {
        "pb" => "application/x-protobuf",
        "jsonl" => "application/x-ndjson",
        _ => "application/json",
    }
}

/// Posts a file plain and as gzip, which must give the same rows.
async fn accepted(path: &Path) -> Batch {
    let harness = Harness::new();
    let body = std::fs::read(path).unwrap();
    let answer = harness.post(route(path), content_type(path), body.clone()).await;
    assert_eq!(answer.status, 200, "{}: {}", path.display(), answer.text());
    assert!(answer.body.is_empty() || answer.text() == "{}", "{}: {}", path.display(), answer.text());
    let batch = harness.take();
    harness.post_gzip(route(path), content_type(path), &body).await;
    assert_eq!(harness.take(), batch, "{}", path.display());
    batch
}

#[tokio::test]
async fn every_valid_file_is_taken_and_every_invalid_one_refused() {
    let Some(folder) = folder() else { return };
    let (mut valid, mut invalid) = (0, 0);
    for path in files(&folder) {
        if path.components().any(|part| part.as_os_str() == "invalid") {
            let harness = Harness::new();
            let answer = harness.post(route(&path), content_type(&path), std::fs::read(&path).unwrap()).await;
            assert_eq!(answer.status, 400, "{}: {}", path.display(), answer.text());
            assert!(
                answer.text().starts_with(r#"{"code":3,"message":"malformed request: "#),
                "{}",
                answer.text()
            );
            assert!(harness.take().is_empty());
            invalid += 1;
        } else {
            assert!(!accepted(&path).await.is_empty(), "{}", path.display());
            valid += 1;
        }
    }
    assert!(valid > 0 && invalid > 0, "{valid} valid, {invalid} invalid");
}

/// Rows of a file in each of its encodings, which must agree.
async fn check(name: &str, endings: &[&str], rows: usize) {
    let Some(folder) = folder() else { return };
    let mut first: Option<Batch> = None;
    for ending in endings {
        let batch = accepted(&folder.join(format!("{name}.{ending}"))).await;
        assert_eq!(batch.len(), rows, "{name}.{ending}");
        match &first {
            Some(first) => assert_eq!(&batch, first, "{name}.{ending}"),
            None => first = Some(batch),
        }
    }
}

#[tokio::test]
async fn encodings_of_the_same_content_give_the_same_rows() {
    const ALL: [&str; 3] = ["json", "jsonl", "pb"];
    check("trace", &["json"], 1).await;
    check("logs", &["json"], 1).await;
    check("events", &["json"], 1).await;
    // A sum, a gauge, a histogram of 2 buckets with sum and count, an exponential one of 3 with the same.
    check("metrics", &["json"], 1 + 1 + 4 + 5).await;
    check("otlp2parquet/trace", &["json", "pb"], 2).await;
    check("otlp2parquet/log", &["json"], 1).await;
    check("otlp2parquet/traces", &["jsonl", "pb"], 19).await;
    check("otlp2parquet/logs", &["jsonl", "pb"], 81).await;
    check("otlp2parquet/metrics_gauge", &ALL, 3).await;
    check("otlp2parquet/metrics_sum", &ALL, 4).await;
    check("otlp2parquet/metrics_histogram", &ALL, 2 * 8 + 7).await;
    check("otlp2parquet/metrics_exponential_histogram", &ALL, 2 * 6).await;
    check("otlp2parquet/metrics_summary", &ALL, 2 * 8).await;
    check("otlp2parquet/metrics_mixed", &ALL, 1 + 1 + 7).await;
}
