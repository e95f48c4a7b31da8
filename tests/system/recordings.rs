//! Recordings of real incidents, made by others, each get a report that holds together.
//!
//! Deliberately absent: whether the answers are right. That is what `eval` measures.

use std::collections::BTreeSet;
use std::time::Duration;

use domain::{EvidenceId, Report};

use crate::harness::{Turn, shared_data};

/// Cases of each set; the rest differ in content, not in kind.
const CASES: usize = 2;

async fn check(set: &str) {
    let Some(folder) = shared_data(&format!("recordings/{set}")) else { return };
    let _turn = Turn::take().await;
    for case in eval::cases_below(&folder).expect("readable folders").into_iter().take(CASES) {
        let report = eval::case::investigate(&case, || Duration::ZERO).await.expect("a report").report;
        check_citations(&report);
        assert!(!report.diagnosis.checks.is_empty(), "{}: no check was run", case.display());
        assert!(!investigator::markdown::to_markdown(&report).is_empty());
        assert!(!investigator::terminal::to_text(&report, 100).is_empty());
    }
}

/// Every sentence of the answer cites evidence that is in the report.
fn check_citations(report: &Report) {
    let known: BTreeSet<EvidenceId> = report.diagnosis.evidence.iter().map(|evidence| evidence.id).collect();
    let sentences = report.answer.going_on.iter().chain(&report.answer.cause);
    for sentence in sentences {
        for cited in &sentence.cites {
            assert!(known.contains(cited), "{cited} is cited, and not in the report: {}", sentence.text);
        }
        let names_nothing = report.diagnosis.cause().is_none();
        assert!(names_nothing || !sentence.cites.is_empty(), "cites nothing: {}", sentence.text);
    }
    assert_eq!(report.citations, report.citations_checked);
}

#[tokio::test]
async fn spans_logs_and_metrics_of_a_cluster() {
    check("nezha_tt").await;
}

#[tokio::test]
async fn metrics_and_canary_releases() {
    check("changerca").await;
}

#[tokio::test]
async fn metrics_with_a_baseline_from_another_day() {
    check("petshop").await;
}

#[tokio::test]
async fn reconstructed_incidents_with_decoys() {
    check("rootcausebench").await;
}
