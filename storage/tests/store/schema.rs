//! Migrations and retention. Each scenario opens one place several times, so the embedded engine plays it in a process
//! of its own, and a server in this one.

use std::time::Duration;

use domain::{Batch, UnixNanos};
use storage::{Error, Location, Options, Retention, Store};

use crate::folder::in_own_process;
use crate::{batch, count, finish, remote, seconds, span, stores};

/// Where a scenario plays.
#[derive(Clone)]
struct Place {
    location: Location,
    options: Options,
}

impl Place {
    async fn open(&self) -> Result<Store, Error> {
        Store::open(self.location.clone(), self.options.clone()).await
    }
}

/// Plays `scenario` here on the server, if there is one, and in another process on a folder.
async fn everywhere<F: Future<Output = ()>>(test: &str, scenario: impl Fn(Place) -> F) {
    if let Some(dir) = in_own_process(test) {
        return scenario(Place { location: Location::Embedded { dir }, options: Options::default() }).await;
    }
    if let Some(store) = remote().await {
        let options = Options { database: store.database().to_owned(), ..Options::default() };
        let url = std::env::var("CLICKHOUSE_URL").expect("it is set, as there is a store");
        scenario(Place { location: Location::Remote { url }, options }).await;
        finish(store).await;
    }
}

async fn schema(store: &Store) -> Vec<(String, String)> {
    let query =
        "SELECT name, create_table_query FROM system.tables WHERE database = currentDatabase() ORDER BY name";
    store.client().query(query).fetch_all().await.unwrap()
}

#[tokio::test]
async fn opening_again_changes_nothing() {
    everywhere("schema::opening_again_changes_nothing", |place| async move {
        let store = place.open().await.unwrap();
        let before = schema(&store).await;
        store.append(&batch()).await.unwrap();
        store.close().await.unwrap();
        let store = place.open().await.unwrap();
        assert_eq!(schema(&store).await, before);
        assert_eq!(count(&store, "otel_traces").await, 2);
        store.close().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn every_step_bears_repetition() {
    everywhere("schema::every_step_bears_repetition", |place| async move {
        let store = place.open().await.unwrap();
        store.append(&batch()).await.unwrap();
        let before = schema(&store).await;
        store.client().query("TRUNCATE TABLE schema_migrations").execute().await.unwrap();
        store.close().await.unwrap();
        let store = place.open().await.unwrap();
        assert_eq!(schema(&store).await, before);
        assert_eq!(count(&store, "otel_traces").await, 2);
        assert!(count(&store, "schema_migrations").await > 0);
        store.close().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    everywhere("schema::a_newer_schema_is_refused", |place| async move {
        let store = place.open().await.unwrap();
        let later = "INSERT INTO schema_migrations (Version, Name) VALUES (999, 'later')";
        store.client().query(later).execute().await.unwrap();
        store.close().await.unwrap();
        let refused = place.open().await.err();
        assert!(matches!(refused, Some(Error::SchemaTooNew { found: 999, .. })), "{refused:?}");
    })
    .await;
}

#[tokio::test]
async fn retention_changes_on_tables_that_are_there() {
    everywhere("schema::retention_changes_on_tables_that_are_there", |place| async move {
        let ttl = async |store: &Store, table: &str| {
            let query =
                "SELECT engine_full FROM system.tables WHERE database = currentDatabase() AND name = ?";
            let engine: String = store.client().query(query).bind(table).fetch_one().await.unwrap();
            engine.split_once(" TTL ").map(|(_, clause)| clause.split(" SETTINGS").next().unwrap().to_owned())
        };
        let store = place.open().await.unwrap();
        assert_eq!(ttl(&store, "otel_logs").await, None);
        store.close().await.unwrap();

        let mut shorter = place.clone();
        shorter.options.retention = Retention { logs: Some(seconds(3600)), ..Retention::default() };
        let store = shorter.open().await.unwrap();
        assert_eq!(
            ttl(&store, "otel_logs").await.as_deref(),
            Some("toDateTime(Timestamp) + toIntervalSecond(3600)")
        );
        assert_eq!(ttl(&store, "otel_traces").await, None);
        store.close().await.unwrap();

        let store = place.open().await.unwrap();
        assert_eq!(ttl(&store, "otel_logs").await, None);
        store.close().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn old_rows_go_when_retention_is_set() {
    for store in stores().await {
        let mut old = span("old", "1", "", domain::SpanKind::Server);
        old.start = UnixNanos::from_seconds(1_500_000_000);
        let mut young = old.clone();
        young.trace_id = "another".into();
        // Far ahead, so that no clock is needed to know that it is young.
        young.start = UnixNanos::from_seconds(4_000_000_000);
        store.append(&Batch { spans: vec![old, young], ..Batch::default() }).await.unwrap();
        let year = Some(Duration::from_secs(365 * 86_400));
        let retention = Retention { traces: year, aggregates: year, ..Retention::default() };
        store.set_retention(&retention).await.unwrap();
        for table in ["otel_traces", "otel_traces_trace_id_ts", "span_minutes"] {
            store.client().query(&format!("OPTIMIZE TABLE {table} FINAL")).execute().await.unwrap();
            assert_eq!(count(&store, table).await, 1, "{table}");
        }
        finish(store).await;
    }
}
