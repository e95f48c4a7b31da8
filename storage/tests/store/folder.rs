//! Data folders. The engine takes one per process, so these tests start this program again for each of their folders.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::json;
use storage::engine::fetch::OVERRIDE;
use storage::{Error, Location, Options, Store};

use crate::{NOON, batch, count};

const FOLDER: &str = "INQUEST_TEST_FOLDER";

/// In a process started for `test`: the folder to play on. Otherwise starts one, waits for it, and returns nothing.
pub fn in_own_process(test: &str) -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return Some(folder.into());
    }
    let folder = tempfile::tempdir().unwrap();
    let output = child(test, folder.path()).stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{}\n{said}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(said.contains("1 passed"), "no test is called {test}: {said}");
    None
}

fn child(test: &str, folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--include-ignored", "--nocapture"]).env(FOLDER, folder);
    command
}

/// Starts `role` on `folder`, and waits for it to say that it is ready. It goes on when its input ends.
fn start(role: &str, folder: &Path) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut started = child(role, folder).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(started.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("READY") {
        line.clear();
        assert_ne!(said.read_line(&mut line).unwrap(), 0, "{role} ended before it was ready");
    }
    (started, said)
}

/// For roles: says that it is ready, and waits for the end of input.
fn ready() {
    let mut out = std::io::stdout();
    writeln!(out, "READY").and_then(|()| out.flush()).unwrap();
    std::io::stdin().lock().read_line(&mut String::new()).unwrap();
}

fn folder() -> Option<PathBuf> {
    std::env::var_os(FOLDER).map(PathBuf::from)
}

async fn open(dir: PathBuf) -> Result<Store, Error> {
    Store::open(Location::Embedded { dir }, Options::default()).await
}

#[tokio::test]
#[ignore = "a role in other tests"]
async fn holds_the_folder() {
    let Some(dir) = folder() else { return };
    let store = open(dir).await.unwrap();
    store.append(&batch()).await.unwrap();
    store.journal_append(NOON, "incident", "1", &json!("kept")).await.unwrap();
    ready();
    store.close().await.unwrap();
}

#[tokio::test]
#[ignore = "a role in other tests"]
#[expect(clippy::disallowed_methods, reason = "it is there to do what should not be done")]
async fn forgets_to_close() {
    let Some(dir) = folder() else { return };
    let store = open(dir).await.unwrap();
    store.append(&batch()).await.unwrap();
    ready();
    std::process::exit(7);
}

#[tokio::test]
#[ignore = "a role in other tests"]
async fn is_refused() {
    let Some(dir) = folder() else { return };
    let refused = open(dir.clone()).await.err();
    assert!(
        matches!(&refused, Some(Error::FolderInUse(folder)) if *folder == dir.canonicalize().unwrap()),
        "{refused:?}"
    );
}

#[tokio::test]
#[ignore = "a role in other tests"]
async fn finds_what_was_stored() {
    let Some(dir) = folder() else { return };
    let store = open(dir).await.unwrap();
    assert_eq!(count(&store, "otel_traces").await, 2);
    assert_eq!(count(&store, "otel_logs").await, 1);
    store.close().await.unwrap();
}

fn run(role: &str, folder: &Path) {
    let output = child(role, folder).output().unwrap();
    assert!(
        output.status.success(),
        "{role}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout)
    );
}

#[test]
fn a_folder_in_use_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (mut holder, _said) = start("folder::holds_the_folder", folder.path());
    run("folder::is_refused", folder.path());
    drop(holder.stdin.take());
    assert!(holder.wait().unwrap().success());
    run("folder::finds_what_was_stored", folder.path());
}

#[test]
fn a_process_that_forgets_to_close_ends_as_it_meant_to() {
    let folder = tempfile::tempdir().unwrap();
    let (mut forgetful, _said) = start("folder::forgets_to_close", folder.path());
    drop(forgetful.stdin.take());
    assert_eq!(forgetful.wait().unwrap().code(), Some(7));
    run("folder::finds_what_was_stored", folder.path());
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let (mut holder, _said) = start("folder::holds_the_folder", folder.path());
    holder.kill().unwrap();
    holder.wait().unwrap();
    run("folder::finds_what_was_stored", folder.path());
}

#[tokio::test]
#[ignore = "a role in other tests"]
async fn says_why_it_cannot_open() {
    let Some(dir) = folder() else { return };
    let error = open(dir).await.err().expect("it cannot open");
    writeln!(std::io::stdout(), "{error}").unwrap();
}

#[test]
fn a_missing_engine_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("text.so");
    std::fs::write(&text, "not a library").unwrap();
    let check = |engine: Option<&Path>, reason: &str| {
        let mut command = child("folder::says_why_it_cannot_open", folder.path());
        command.env_remove(OVERRIDE).env("XDG_CACHE_HOME", folder.path()).env("PATH", folder.path());
        let output = command.envs(engine.map(|path| (OVERRIDE, path))).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains(reason), "{reason:?} is not in {said}");
    };
    check(None, "npm is needed once");
    check(Some(&text), "cannot load the ClickHouse engine");
    check(Some(&folder.path().join("absent.so")), "which is not a file");
}

#[tokio::test]
async fn the_journal_goes_on_after_opening_again() {
    let Some(dir) = in_own_process("folder::the_journal_goes_on_after_opening_again") else { return };
    for opened in 0..3_u64 {
        let store = open(dir.clone()).await.unwrap();
        for step in 0..3_u64 {
            store.journal_append(NOON, "incident", "1", &json!([opened, step])).await.unwrap();
        }
        store.close().await.unwrap();
    }
    let store = open(dir).await.unwrap();
    let entries = store.journal_read("incident").await.unwrap();
    let found: Vec<_> = entries.iter().map(|entry| (entry.sequence, entry.body.clone())).collect();
    let expected: Vec<_> = (0..9_u64).map(|at| (at + 1, json!([at / 3, at % 3]))).collect();
    assert_eq!(found, expected);
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_scratch_store_lives_beside_a_folder_and_a_second_folder_does_not() {
    let test = "folder::a_scratch_store_lives_beside_a_folder_and_a_second_folder_does_not";
    let Some(dir) = in_own_process(test) else { return };
    // An engine that served only scratch stores makes room.
    Store::scratch().await.unwrap().close().await.unwrap();
    let store = open(dir.join("one")).await.unwrap();
    let scratch = Store::scratch().await.unwrap();
    scratch.append(&batch()).await.unwrap();
    assert_eq!((count(&scratch, "otel_traces").await, count(&store, "otel_traces").await), (2, 0));
    let refused = open(dir.join("two")).await.err();
    assert!(matches!(refused, Some(Error::AnotherFolderOpen { .. })), "{refused:?}");
    let same = open(dir.join("one")).await.unwrap();
    same.append(&batch()).await.unwrap();
    assert_eq!(count(&store, "otel_traces").await, 2);
    let clone = store.clone();
    clone.ping().await.unwrap();
    for store in [scratch, same, store] {
        store.close().await.unwrap();
    }
    // The folder is let go of, and a clone left behind says so.
    assert!(clone.ping().await.is_err());
    assert!(clone.health().await.is_err());
    open(dir.join("two")).await.unwrap().close().await.unwrap();
}
