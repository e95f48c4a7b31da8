//! A recording whose rows come in another order, under other names or at another time is answered alike: from the files,
//! through the store, to the ranking.

use std::fs;
use std::path::Path;
use std::time::Duration;

use domain::UnixNanos;
use eval::case::{Stores, investigate_in};
use serde_json::Value;
use storage::Store;

use crate::answer::{Answer, RECORDINGS, recording};

const TELEMETRY: [&str; 3] = ["spans.parquet", "logs.parquet", "metrics.parquet"];

/// Words in names of services, operations, tables, instances and changes, each with another: in the reverse order of the
/// alphabet. Words of the field (`connection`, `timed out`) tell what happened and stay.
const NAMES: [(&str, &str); 14] = [
    ("acquirer", "zebor"),
    ("authorization", "yundal"),
    ("cart", "xolum"),
    ("catalog", "wimar"),
    ("checkout", "vosket"),
    ("gateway", "umbran"),
    ("inventory", "tulip"),
    ("order", "sagno"),
    ("payment", "rivel"),
    ("price", "quend"),
    ("product", "palto"),
    ("reservation", "ombil"),
    ("stock", "nerud"),
    ("tax", "mof"),
];

fn renamed(text: &str) -> String {
    NAMES.iter().fold(text.to_owned(), |text, (name, other)| text.replace(name, other))
}

/// How a recording is written anew.
#[derive(Clone, Copy, Debug, Default)]
struct Rewrite {
    /// Everything happens so much later, nanoseconds.
    later: i64,
    /// Under other names and ids.
    renamed: bool,
    /// In another order of rows, where it is not 0.
    order: u64,
}

impl Rewrite {
    /// The expression of a column of the engine's type `kind`, written anew.
    fn column(self, name: &str, kind: &str) -> String {
        if kind.starts_with("Array(") {
            return format!("arrayMap(item -> {}, `{name}`)", self.value("item", name, kind));
        }
        self.value(&format!("`{name}`"), name, kind)
    }

    fn value(self, value: &str, name: &str, kind: &str) -> String {
        if kind.contains("DateTime64") {
            format!("fromUnixTimestamp64Nano(toUnixTimestamp64Nano({value}) + {}, 'UTC')", self.later)
        } else if !self.renamed {
            value.to_owned()
        } else if name.ends_with("SpanId") || name.ends_with("TraceId") {
            format!("if({value} = '', '', lower(hex(sipHash64({value}))))")
        } else if kind.contains("Map(") {
            format!("mapApply((key, text) -> (key, {}), {value})", in_other_words("text"))
        } else if kind.contains("String") {
            in_other_words(value)
        } else {
            value.to_owned()
        }
    }

    /// A value of the JSON parts: times are in the fields named here.
    fn json(self, field: &str, value: Value) -> Value {
        match value {
            Value::Array(items) => items.into_iter().map(|item| self.json(field, item)).collect(),
            Value::Object(fields) => {
                fields.into_iter().map(|(name, value)| (name.clone(), self.json(&name, value))).collect()
            }
            Value::Number(number) if ["ts", "detected_at", "start", "end"].contains(&field) => {
                let at = UnixNanos::parse(&number.to_string()).expect("a time").0 + self.later;
                UnixNanos(at).to_timestamp().to_string().into()
            }
            Value::String(text) if self.renamed => renamed(&text).into(),
            other => other,
        }
    }

    /// Writes the recording in `from` anew into `to`. The label is not for the investigator, and left out.
    async fn write(self, store: &Store, from: &Path, to: &Path) {
        fs::create_dir_all(to).expect("a folder");
        for file in ["incident.json", "changes.json"] {
            let text = fs::read_to_string(from.join(file)).expect("a part");
            let value = self.json("", serde_json::from_str(&text).expect("JSON"));
            fs::write(to.join(file), value.to_string()).expect("a part");
        }
        let execute = async |statement: String| {
            let done = store.client().query_raw(&statement).execute().await;
            done.unwrap_or_else(|error| panic!("{statement}: {error}"));
        };
        for file in TELEMETRY {
            let (read, written) = (from.join(file), to.join(file));
            execute(format!(
                "CREATE TABLE given ENGINE = Memory AS SELECT * FROM file('{}', 'Parquet')",
                read.display()
            ))
            .await;
            let columns: Vec<(String, String)> = store
                .client()
                .query(
                    "SELECT name, type FROM system.columns WHERE database = currentDatabase() AND table = 'given'",
                )
                .fetch_all()
                .await
                .expect("columns");
            let columns: Vec<String> = columns
                .iter()
                .map(|(name, kind)| format!("{} AS `{name}`", self.column(name, kind)))
                .collect();
            let order = match self.order {
                0 => String::new(),
                seed => format!("ORDER BY sipHash64({seed}, tuple(*))"),
            };
            execute(format!(
                "INSERT INTO FUNCTION file('{}', 'Parquet') SELECT * REPLACE ({}) FROM (SELECT * FROM given {order})",
                written.display(),
                columns.join(", ")
            ))
            .await;
            execute("DROP TABLE given".into()).await;
            let same_order = same_times(store, &read, &written).await;
            assert_eq!(same_order, self.order == 0 && self.later == 0, "{file} {self:?}");
        }
    }
}

/// Whether the rows of two files are of the same times, one after the other.
async fn same_times(store: &Store, one: &Path, other: &Path) -> bool {
    let times = async |file: &Path| -> Vec<i64> {
        let query = format!(
            "SELECT toUnixTimestamp64Nano(Timestamp) FROM file('{}', 'Parquet') SETTINGS max_threads = 1",
            file.display()
        );
        store.client().query_raw(&query).fetch_all().await.expect("times")
    };
    times(one).await == times(other).await
}

/// SQL for `text` under other names.
fn in_other_words(text: &str) -> String {
    NAMES
        .iter()
        .fold(text.to_owned(), |text, (name, other)| format!("replaceAll({text}, '{name}', '{other}')"))
}

/// The answers to the recordings, each written anew, and what people read of it, are the same but for names.
async fn check(rewrites: [Rewrite; RECORDINGS.len()]) {
    let (stores, engine) = (Stores::default(), Store::scratch().await.expect("a store"));
    for (name, rewrite) in RECORDINGS.into_iter().zip(rewrites) {
        let folder = tempfile::tempdir().expect("a folder");
        rewrite.write(&engine, &recording(name), folder.path()).await;
        let given =
            investigate_in(&stores, &recording(name), || Duration::ZERO).await.expect("an investigation");
        let anew = investigate_in(&stores, folder.path(), || Duration::ZERO).await.expect("an investigation");
        let (mut expected, answer) = (Answer::to(&given.observations), Answer::to(&anew.observations));
        if rewrite.renamed {
            expected = expected.renamed(renamed);
        }
        assert_eq!(answer, expected, "{name}, {rewrite:?}");
        // Times and names stand in the words.
        if rewrite.later == 0 && !rewrite.renamed {
            let text = |report| serde_json::to_string(report).expect("JSON");
            assert_eq!(text(&anew.report), text(&given.report), "{name}, {rewrite:?}");
        }
    }
    stores.close().await.expect("closed stores");
    engine.close().await.expect("a closed store");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_order_of_rows_does_not_matter() {
    check([1, 2, 3].map(|order| Rewrite { order, ..Rewrite::default() })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_do_not_matter() {
    check([4, 5, 6].map(|order| Rewrite { renamed: true, order, ..Rewrite::default() })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_does_not_matter() {
    // Not by whole minutes, across midnight, and to another month. By whole milliseconds: the store keeps no less of metrics.
    let laters = [17_000, 68_923_456, 40 * 86_400_000 + 500];
    check(laters.map(|later| Rewrite { later: later * 1_000_000, ..Rewrite::default() })).await;
}
