//! The journal, followed through a stand-in for `journalctl` that knows cursors as it does, and through restarts.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use agent::logs::journal::{Settings, follow};
use agent::logs::{Shipment, Told};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Prints the lines of `journal` behind the one whose number is the cursor, and waits for more as `--follow` does.
const PROGRAM: &str = r#"#!/bin/sh
from=1
for word in "$@"; do
    case "$word" in --after-cursor=*) from=$((${word#--after-cursor=} + 1));; esac
done
tail -n "+$from" "$(dirname "$0")/journal"
exec sleep 600
"#;

fn settings(folder: &Path) -> Settings {
    let program = folder.join("journalctl");
    fs::write(&program, PROGRAM).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    Settings { program, folder: None, position: folder.join("cursor"), from_start: true }
}

/// What arrives from one run of the agent, of a server that takes the first `taken` batches.
async fn run(folder: &Path, taken: usize, batches: usize) -> Vec<String> {
    let (send, mut receive) = mpsc::channel(1);
    let stop = CancellationToken::new();
    let task = tokio::spawn(follow(settings(folder), Told::default(), send, stop.clone()));
    let mut arrived = Vec::new();
    for number in 0..batches {
        let Shipment { entries, done } =
            tokio::time::timeout(Duration::from_secs(30), receive.recv()).await.unwrap().unwrap();
        if number < taken {
            arrived.extend(entries.into_iter().map(|entry| entry.body));
            done.send(true).unwrap();
        }
    }
    stop.cancel();
    task.await.unwrap();
    arrived
}

#[tokio::test]
async fn each_entry_arrives_once() {
    let folder = tempfile::tempdir().unwrap();
    let entry = |number: usize| {
        format!(
            "{{\"__CURSOR\":\"{number}\",\"__REALTIME_TIMESTAMP\":\"{number}000000\",\"MESSAGE\":\"m{number}\"}}\n"
        )
    };
    let journal =
        |count: usize| fs::write(folder.path().join("journal"), (1..=count).map(entry).collect::<String>());
    journal(3).unwrap();
    assert_eq!(run(folder.path(), 1, 1).await, ["m1", "m2", "m3"]);
    journal(5).unwrap();
    // The server does not take them: they come again in the next run.
    assert_eq!(run(folder.path(), 0, 1).await, [""; 0]);
    assert_eq!(run(folder.path(), 1, 1).await, ["m4", "m5"]);
}
