//! Our own recordings: the shop's faults, recorded from live runs. The right service, mechanism and change, every time.

use std::path::{Path, PathBuf};
use std::time::Duration;

use domain::{Mechanism, Verdict};

fn recordings() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("recordings")
}

async fn check(name: &str, service: &str, mechanisms: &[Mechanism], change: Option<&str>) {
    let folder = recordings().join(name);
    let stores = eval::case::Stores::default();
    let ask = || eval::case::investigate_in(&stores, &folder, || Duration::ZERO);
    let report = ask().await.expect("an investigation").report;
    let first = report.diagnosis.cause().unwrap_or_else(|| panic!("{name}: no cause is named"));
    assert_eq!(first.service, service, "{name}: {}", first.statement.text);
    assert!(mechanisms.contains(&first.mechanism), "{name}: {}", first.statement.text);
    assert_eq!(first.change.as_deref(), change, "{name}: {}", first.statement.text);
    assert_eq!(
        report.diagnosis.verdict,
        if change.is_some() { Verdict::Cause } else { Verdict::NoChange },
        "{name}"
    );

    // The second time in the store of the first, which was emptied.
    let again = ask().await.expect("an investigation").report;
    stores.close().await.expect("closed stores");
    let text = |report| serde_json::to_string(report).expect("JSON");
    assert_eq!(text(&report), text(&again), "{name}: same recording in, same bytes out");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_release() {
    check("shop-n-plus-one", "catalog", &[Mechanism::RepeatedCalls], Some("deploy-catalog-1.4.1")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_in_a_database() {
    check("shop-database-lock", "inventory", &[Mechanism::LockContention], None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_surge_that_no_change_is_to_blame_for() {
    // Five seconds into it: the rate is told from slices as short as the window asks for.
    check("shop-traffic-surge", "catalog", &[Mechanism::TrafficSurge], None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_is_wrong_no_cause_is_named() {
    // The shop under load, with nothing broken, asked about at several times. Then its host was busy with something else,
    // and requests took twice as long: those times are not asked about.
    let store = storage::Store::scratch().await.expect("a store");
    let folder = recordings().join("shop-clean");
    let recording = storage::recording::load(&store, &folder).await.expect("a recording");
    let asked = eval::case::question(&recording);
    let began = asked.baseline.expect("a baseline").start;
    for end in (75..=150).step_by(15) {
        let at = |seconds: u64| began.plus(Duration::from_secs(seconds));
        let question = investigator::Question {
            window: domain::Window::new(at(end - 15), at(end)),
            baseline: Some(domain::Window::new(began, at(end - 20))),
            started: Some(at(end - 2)),
            ..asked.clone()
        };
        let diagnosis = investigator::diagnose(&store, &question, |_| {}).await.expect("a diagnosis");
        let first =
            diagnosis.hypotheses.first().map(|first| (&first.statement.text, diagnosis.confidence.score));
        assert_eq!(diagnosis.verdict, Verdict::Inconclusive, "{end}: {first:?}");
        assert!(diagnosis.impact.requests > 100, "there was load");
    }
    store.close().await.expect("a closed store");
    // And the quiet times of the others, asked about as if somebody had been alarmed.
    for name in ["shop-n-plus-one", "shop-database-lock", "shop-traffic-surge"] {
        let quiet = eval::quiet::observed(&recordings().join(name), |_, _| true).await.expect("quiet times");
        assert!(!quiet.is_empty(), "{name}");
        for seen in quiet {
            let diagnosis = investigator::reason::reason(&seen);
            let first =
                diagnosis.hypotheses.first().map(|first| (&first.statement.text, diagnosis.confidence.score));
            assert_eq!(diagnosis.verdict, Verdict::Inconclusive, "{name} {:?}: {first:?}", diagnosis.window);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_piece_of_evidence_has_a_query_that_runs() {
    for name in ["shop-n-plus-one", "shop-database-lock", "shop-traffic-surge"] {
        let store = storage::Store::scratch().await.expect("a store");
        let recording =
            storage::recording::load(&store, &recordings().join(name)).await.expect("a recording");
        let question = eval::case::question(&recording);
        let diagnosis = investigator::diagnose(&store, &question, |_| {}).await.expect("a diagnosis");
        assert!(!diagnosis.evidence.is_empty(), "{name}");
        for evidence in &diagnosis.evidence {
            assert!(!evidence.query.trim().is_empty(), "{name}: {} has no query", evidence.claim);
            let rows = format!("SELECT count() FROM ({})", evidence.query);
            let rows: u64 =
                store.client().query_raw(&rows).fetch_one().await.unwrap_or_else(|error| {
                    panic!("{name}: the query of \"{}\" fails: {error}", evidence.claim)
                });
            assert!(rows > 0, "{name}: the query of \"{}\" gives nothing", evidence.claim);
        }
        store.close().await.expect("a closed store");
    }
}
