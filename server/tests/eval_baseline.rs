//! What `inquest eval run --baseline` ends with: a script that watches for regressions reads nothing else.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

/// Runs the program on one of our own recordings; whether it ended well, and what it said.
fn run(arguments: &[&str]) -> (bool, String) {
    let recording = Path::new(env!("CARGO_MANIFEST_DIR")).join("../eval/recordings/shop-database-lock");
    let output = Command::new(env!("CARGO_BIN_EXE_inquest"))
        .args(["eval", "run"])
        .arg(recording)
        .args(arguments)
        .output()
        .expect("the program runs");
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn a_regression_fails_the_run() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let first = path("first.json");
    assert!(run(&["--json", &first]).0);
    let told: Value = serde_json::from_str(&std::fs::read_to_string(&first).expect("results")).expect("JSON");

    let check = |change: &dyn Fn(&mut Value), expected: bool, says: &str| {
        let mut earlier = told.clone();
        change(&mut earlier);
        let file = path("earlier.json");
        std::fs::write(&file, earlier.to_string()).expect("a baseline");
        let (well, said) = run(&["--baseline", &file]);
        assert_eq!((well, said.contains(says)), (expected, true), "{says}: {said}");
    };
    check(&|_| (), true, "AC@1");
    // A case that this run did not try.
    let another = |earlier: &mut Value| {
        let mut case = earlier["cases"][0].clone();
        case["id"] = json!("shop-another");
        earlier["cases"].as_array_mut().expect("cases").push(case);
    };
    check(&another, false, "missing shop-another");
    // The other way round nothing became worse.
    check(&|earlier| earlier["cases"][0]["verdict"] = json!("inconclusive"), true, "inconclusive → a cause");
    check(&|earlier| earlier["cases"][0]["culprit_correct"] = json!(false), true, "change wrong → right");
}
