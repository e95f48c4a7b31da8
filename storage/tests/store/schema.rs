//! Migrations and retention.

use std::time::Duration;

use storage::{Error, Location, Options, Retention, Store};

use crate::{batch, count, finish, remote, stores};

#[tokio::test]
async fn opening_again_changes_nothing() {
    // On the server only: folders are opened again in `folder.rs`.
    let Some(store) = remote().await else { return };
    let schema = async |store: &Store| {
        let query = "SELECT name, create_table_query FROM system.tables WHERE database = currentDatabase() ORDER BY name";
        store.client().query(query).fetch_all::<(String, String)>().await.unwrap()
    };
    let before = schema(&store).await;
    store.append(&batch()).await.unwrap();
    let url = std::env::var("CLICKHOUSE_URL").unwrap();
    let options = Options { database: store.database().to_owned(), ..Options::default() };
    let again = Store::open(Location::Remote { url }, options).await.unwrap();
    assert_eq!(schema(&again).await, before);
    assert_eq!(count(&again, "otel_traces").await, 2);
    again.close().await.unwrap();
    finish(store).await;
}

#[tokio::test]
async fn every_step_bears_repetition() {
    for store in stores().await {
        store.append(&batch()).await.unwrap();
        let steps = count(&store, "schema_migrations").await;
        store.client().query("TRUNCATE TABLE schema_migrations").execute().await.unwrap();
        store.migrate_again().await.unwrap();
        assert_eq!(count(&store, "schema_migrations").await, steps);
        assert_eq!(count(&store, "otel_traces").await, 2);
        finish(store).await;
    }
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    for store in stores().await {
        store.client().query("INSERT INTO schema_migrations (Version, Name) VALUES (999, 'later')").execute().await.unwrap();
        let refused = store.migrate_again().await;
        assert!(matches!(refused, Err(Error::SchemaTooNew { found: 999, .. })), "{refused:?}");
        finish(store).await;
    }
}
