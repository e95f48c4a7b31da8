//! The embedded engine behind the client: errors, parameters, settings, streaming, cancelling.

use std::time::Duration;

use clickhouse::Row;
use serde::Serialize;
use storage::{Error, Store};
use tokio::time::Instant;

use crate::{count, finish, stores};

async fn failure(store: &Store, sql: &str) -> Error {
    store.client().query(sql).fetch_all::<u64>().await.expect_err("it fails").into()
}

#[tokio::test]
async fn errors_carry_their_code() {
    for store in stores().await {
        assert_eq!(failure(&store, "SELECT toUInt64(1) FROM nothing").await.clickhouse_code(), Some(60));
        assert_eq!(failure(&store, "SELEC 1").await.clickhouse_code(), Some(62));
        let execute = store.client().query("DROP TABLE nothing").execute().await.expect_err("it fails");
        assert_eq!(Error::from(execute).clickhouse_code(), Some(60));
        finish(store).await;
    }
}

#[tokio::test]
async fn an_error_after_the_first_rows_is_one() {
    for store in stores().await {
        let sql = "SELECT toUInt64(throwIf(number = 900000)) FROM numbers(1000000) SETTINGS max_threads = 1";
        assert_eq!(failure(&store, sql).await.clickhouse_code(), Some(395));
        // And the store goes on.
        assert_eq!(count(&store, "numbers(10)").await, 10);
        finish(store).await;
    }
}

#[tokio::test]
async fn values_are_bound_and_passed_as_parameters() {
    let hostile = "it's a \\ \"quote\"; ✓\n\t?";
    for store in stores().await {
        let bound: String = store.client().query("SELECT ?").bind(hostile).fetch_one().await.unwrap();
        assert_eq!(bound, hostile);
        let query = store.client().query("SELECT {text: String}, arraySum({list: Array(UInt8)})");
        let passed: (String, u64) =
            query.param("text", hostile).param("list", vec![1_u8, 2]).fetch_one().await.unwrap();
        assert_eq!(passed, (hostile.to_owned(), 3));
        finish(store).await;
    }
}

#[tokio::test]
async fn settings_are_of_one_statement() {
    for store in stores().await {
        let threads = "SELECT toUInt64(getSetting('max_threads'))";
        let set: u64 =
            store.client().query(threads).with_setting("max_threads", "1").fetch_one().await.unwrap();
        assert_eq!(set, 1);
        let readonly =
            store.client().query("CREATE TABLE t (a UInt8) ENGINE = Memory").with_setting("readonly", "1");
        assert_eq!(Error::from(readonly.execute().await.unwrap_err()).clickhouse_code(), Some(164));
        store.client().query("CREATE TABLE t (a UInt8) ENGINE = Memory").execute().await.unwrap();
        let unknown = store.client().query("SELECT 1").with_setting("max_threads", "many").execute().await;
        assert!(unknown.is_err());
        finish(store).await;
    }
}

#[tokio::test]
async fn many_rows_stream_and_none_are_none() {
    for store in stores().await {
        let sql = "SELECT number, toString(number) FROM numbers(?)";
        let mut rows = store.client().query(sql).bind(300_000).fetch::<(u64, String)>().unwrap();
        let mut expected = 0;
        while let Some((number, text)) = rows.next().await.unwrap() {
            assert_eq!((number, text), (expected, expected.to_string()));
            expected += 1;
        }
        assert_eq!(expected, 300_000);
        assert!(store.client().query(sql).bind(0).fetch_all::<(u64, String)>().await.unwrap().is_empty());
        // Left in the middle: the engine goes on to other things.
        let mut rows = store.client().query(sql).bind(100_000_000).fetch::<(u64, String)>().unwrap();
        rows.next().await.unwrap();
        drop(rows);
        assert_eq!(count(&store, "numbers(10)").await, 10);
        finish(store).await;
    }
}

#[tokio::test]
async fn queries_run_side_by_side() {
    let store = Store::scratch().await.unwrap();
    let nap = || store.client().query("SELECT sleep(1)").fetch_one::<u8>();
    let started = Instant::now();
    let outcomes = futures::future::join_all((0..8).map(|_| nap())).await;
    assert!(outcomes.into_iter().all(|outcome| outcome.is_ok()));
    assert!(started.elapsed() < Duration::from_secs(6), "one after the other: {:?}", started.elapsed());
    finish(store).await;
}

#[tokio::test]
async fn scratch_stores_do_not_see_each_other() {
    let make = async |rows: usize| {
        let store = Store::scratch().await.unwrap();
        for _ in 0..rows {
            store.append(&crate::batch()).await.unwrap();
        }
        let found = count(&store, "otel_logs").await;
        store.close().await.unwrap();
        found
    };
    assert_eq!(tokio::join!(make(1), make(2), make(3)), (1, 2, 3));
}

#[derive(Row, Serialize)]
struct Number {
    a: u64,
}

#[tokio::test]
async fn an_insert_that_breaks_off_leaves_nothing() {
    for store in stores().await {
        store
            .client()
            .query("CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a")
            .execute()
            .await
            .unwrap();
        let mut insert = store.client().insert::<Number>("t").await.unwrap();
        // Enough for several pieces to be on their way.
        for a in 0..200_000 {
            insert.write(&Number { a }).await.unwrap();
        }
        drop(insert);
        let mut whole = store.client().insert::<Number>("t").await.unwrap();
        whole.write(&Number { a: 7 }).await.unwrap();
        whole.end().await.unwrap();
        // The drop is noticed in its own time; closing waits for it, so ask again after a few more statements.
        for _ in 0..50 {
            assert_eq!(count(&store, "t").await, 1);
        }
        finish(store).await;
    }
}

#[tokio::test]
async fn an_insert_into_nothing_says_so() {
    for store in stores().await {
        store
            .client()
            .query("CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a")
            .execute()
            .await
            .unwrap();
        let mut insert = store.client().insert::<Number>("t").await.unwrap();
        store.client().query("DROP TABLE t SYNC").execute().await.unwrap();
        // More than the pipe holds: the error must come through all the same.
        let mut outcome = Ok(());
        for a in 0..500_000 {
            outcome = insert.write(&Number { a }).await;
            if outcome.is_err() {
                break;
            }
        }
        let error = match outcome {
            Ok(()) => insert.end().await.expect_err("there is no table"),
            Err(error) => error,
        };
        assert_eq!(Error::from(error).clickhouse_code(), Some(60));
        finish(store).await;
    }
}

#[tokio::test]
async fn database_names_that_need_quoting_are_refused() {
    let options = storage::Options { database: "a`; DROP".into(), ..storage::Options::default() };
    let location = storage::Location::Remote { url: "http://127.0.0.1:1".into() };
    assert!(matches!(Store::open(location, options).await, Err(Error::DatabaseName(_))));
}

#[tokio::test]
async fn a_store_without_its_database_does_not_answer() {
    let store = Store::scratch().await.unwrap();
    store.ping().await.unwrap();
    store.client().query_raw(&format!("DROP DATABASE {} SYNC", store.database())).execute().await.unwrap();
    assert!(store.ping().await.is_err());
    store.close().await.unwrap();
}
