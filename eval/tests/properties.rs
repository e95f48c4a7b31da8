//! What must not change an answer: an unrelated healthy service, other names, another day, rows in another order.

use std::path::Path;
use std::time::Duration;

use investigator::Observations;
use investigator::reason::analysis::Analysis;
use serde_json::Value;
use storage::questions::coverage::Coverage;
use storage::questions::metrics::SeriesLevels;

const RECORDINGS: [&str; 3] = ["shop-n-plus-one", "shop-database-lock", "shop-traffic-surge"];

async fn observations(name: &str) -> Observations {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("recordings").join(name);
    eval::case::investigate(&folder, || Duration::ZERO).await.expect("an investigation").observations
}

fn ranking(seen: &Observations) -> Vec<(String, String)> {
    Analysis::new(seen)
        .suspects
        .iter()
        .map(|suspect| (suspect.place.clone(), format!("{:.9}", suspect.score)))
        .collect()
}

async fn check(changed: impl Fn(Observations) -> Observations, expected: impl Fn(&str) -> String) {
    for name in RECORDINGS {
        let seen = observations(name).await;
        let mut before: Vec<(String, String)> =
            ranking(&seen).into_iter().map(|(place, score)| (expected(&place), score)).collect();
        let mut after = ranking(&changed(seen));
        // Equal scores are ordered by name.
        before.sort_by(|left, right| right.1.cmp(&left.1).then(left.0.cmp(&right.0)));
        after.sort_by(|left, right| right.1.cmp(&left.1).then(left.0.cmp(&right.0)));
        assert_eq!(after, before, "{name}");
    }
}

fn rewritten(seen: &Observations, rewrite: &impl Fn(Value) -> Value) -> Observations {
    fn walk(value: Value, rewrite: &impl Fn(Value) -> Value) -> Value {
        match value {
            Value::Array(items) => items.into_iter().map(|item| walk(item, rewrite)).collect(),
            Value::Object(fields) => {
                let key = |key: String| match rewrite(Value::String(key)) {
                    Value::String(key) => key,
                    _ => unreachable!("a key stays text"),
                };
                fields.into_iter().map(|(name, value)| (key(name), walk(value, rewrite))).collect()
            }
            other => rewrite(other),
        }
    }
    let value = serde_json::to_value(seen).expect("JSON");
    serde_json::from_value(walk(value, rewrite)).expect("observations")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unrelated_healthy_service_changes_nothing() {
    let add = |mut seen: Observations| {
        seen.coverage.push(Coverage {
            service: "bystander".into(),
            spans_before: 0,
            spans_now: 0,
            last_span: 0,
            logs_before: 500,
            logs_now: 100,
        });
        if let Some(like) = seen.metrics.series.first().cloned() {
            let flat = [30.0, 5.0, 0.1, 4.8, 5.2];
            seen.metrics.series.push(SeriesLevels {
                name: "http.server.request.duration_avg".into(),
                labels: [("service".into(), "bystander".into())].into(),
                before: flat,
                now: flat,
                early: flat,
                late: [10.0, 4.9, 5.0, 5.1, 5.0],
                left_at: 0,
                ..like
            });
        }
        seen
    };
    check(add, str::to_owned).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_do_not_matter() {
    const NAMES: [&str; 5] = ["catalog", "inventory", "checkout", "gateway", "cart"];
    let renamed = |text: &str| {
        NAMES
            .iter()
            .enumerate()
            .fold(text.to_owned(), |text, (place, name)| text.replace(name, &format!("qx{place}wz")))
    };
    let rename = |value: Value| match value {
        Value::String(text) => Value::String(renamed(&text)),
        other => other,
    };
    check(|seen| rewritten(&seen, &rename), renamed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_day_does_not_matter() {
    const LATER: i64 = 40 * 86_400 * 1_000_000_000;
    let shift = |seen: Observations| {
        let window = seen.asked().window;
        let near = window.start.0 - 6 * 3_600_000_000_000..window.end.0 + 6 * 3_600_000_000_000;
        rewritten(&seen, &|value: Value| match value.as_i64() {
            Some(number) if near.contains(&number) => Value::from(number + LATER),
            _ => value,
        })
    };
    check(shift, str::to_owned).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_order_of_rows_does_not_matter() {
    let shuffle = |mut seen: Observations| {
        seen.calls_now.paths.reverse();
        seen.calls_before.paths.reverse();
        seen.errors_now.groups.reverse();
        seen.metrics.series.reverse();
        seen.flow.steps.reverse();
        seen.coverage.reverse();
        seen.graph.reverse();
        seen
    };
    check(shuffle, str::to_owned).await;
}
