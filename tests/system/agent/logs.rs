//! Log files, through agents that come and go, into the store: each line once.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use agent::settings::{Logs, Settings, Watch};
use domain::{UnixNanos, Window};
use tokio_util::sync::CancellationToken;

use super::{can_watch, start_agent, threads_of_agent};
use crate::harness::{TestServer, now, serve, serve_with};
use crate::programs::free_address;

const SERVICE: &str = "logs-under-test";

fn write(path: &Path, lines: std::ops::Range<usize>) {
    let text: String = lines.map(|number| format!("ERROR line {}\n", word(number))).collect();
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .expect("open")
        .write_all(text.as_bytes())
        .expect("written");
}

/// A number in letters, so that each line counts by itself.
fn word(number: usize) -> String {
    number.to_string().bytes().map(|digit| char::from(digit - b'0' + b'a')).collect()
}

/// How often each line of the log is in the store.
async fn stored(server: &TestServer, since: UnixNanos) -> Vec<(String, u64)> {
    let window = Window::new(since.minus(Duration::from_secs(5)), now().plus(Duration::from_secs(5)));
    let found = server.store().log_groups(None, window).await.expect("the store answers");
    let groups = found.groups.into_iter().filter(|group| group.service == SERVICE);
    groups.map(|group| (group.sample, group.now)).collect()
}

async fn total(server: &TestServer, since: UnixNanos) -> u64 {
    stored(server, since).await.iter().map(|(_, count)| count).sum()
}

async fn until(server: &TestServer, since: UnixNanos, lines: u64) {
    server.until(&format!("{lines} lines"), async |it| (total(it, since).await >= lines).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_line_once() {
    if !can_watch() {
        return;
    }
    serve(async |server| {
        let since = now();
        let folder = tempfile::tempdir().expect("a folder");
        let logs = folder.path().join(SERVICE);
        fs::create_dir(&logs).expect("a folder");
        let settings = || Settings {
            server: server.grpc(),
            data: folder.path().join("agent"),
            metrics: None,
            watch: Watch { requests: false, tls: false, profiles: false },
            logs: Logs { files: vec![format!("{}/*.log", logs.display())], journal: false },
            ..Settings::default()
        };
        let start = |stop: &CancellationToken| start_agent(settings(), stop);
        // What was there before the first agent is not new: it begins with an empty folder.
        let killed = threads_of_agent();
        killed.spawn(agent::run::run(settings(), CancellationToken::new()));
        let positions = folder.path().join("agent/log-positions");
        server.until("places noted", async |_| positions.exists().then_some(())).await;
        write(&logs.join("a.log"), 0..50);
        until(server, since, 50).await;
        // Between the server's word and its note a kill makes a batch come again: this one comes after the note.
        let length = fs::metadata(logs.join("a.log")).expect("there").len();
        let noted = format!("\"sent\":[{length},{length}]");
        let has_noted = || fs::read_to_string(&positions).is_ok_and(|text| text.contains(&noted));
        server.until("the place noted", async |_| has_noted().then_some(())).await;
        // All that it does ends where it is.
        killed.shutdown_background();
        write(&logs.join("a.log"), 50..60);
        fs::rename(logs.join("a.log"), logs.join("a.log.1")).expect("renamed");
        write(&logs.join("a.log"), 60..80);
        let stop = CancellationToken::new();
        let _stops = stop.clone().drop_guard();
        let second = start(&stop);
        until(server, since, 80).await;
        stop.cancel();
        second.await.expect("no panic").expect("an orderly end");
        // A third finds nothing new.
        let stop = CancellationToken::new();
        let _stops = stop.clone().drop_guard();
        let third = start(&stop);
        write(&logs.join("a.log"), 80..81);
        until(server, since, 81).await;
        stop.cancel();
        third.await.expect("no panic").expect("an orderly end");
        assert_eq!(total(server, since).await, 81, "{:?}", stored(server, since).await);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_misses_nothing() {
    if !can_watch() {
        return;
    }
    // Where the agent finds it again.
    let grpc = free_address();
    let at_home = |config: &mut server::config::Config| config.listen.grpc = grpc;
    serve_with(at_home, async |server| {
        let since = now();
        let folder = tempfile::tempdir().expect("a folder");
        let logs = folder.path().join(SERVICE);
        fs::create_dir(&logs).expect("a folder");
        let settings = Settings {
            server: format!("http://{grpc}"),
            data: folder.path().join("agent"),
            metrics: None,
            watch: Watch { requests: false, tls: false, profiles: false },
            logs: Logs { files: vec![format!("{}/*.log", logs.display())], journal: false },
            ..Settings::default()
        };
        let stop = CancellationToken::new();
        let _stops = stop.clone().drop_guard();
        let running = start_agent(settings, &stop);
        let positions = folder.path().join("agent/log-positions");
        server.until("places noted", async |_| positions.exists().then_some(())).await;
        write(&logs.join("a.log"), 0..10);
        until(server, since, 10).await;
        let spool = folder.path().join("agent/spool");
        let waiting = || {
            let names = fs::read_dir(&spool).into_iter().flatten().flatten().map(|it| it.file_name());
            names.filter(|name| !name.to_string_lossy().ends_with(".part")).count()
        };
        server
            .away_during(at_home, async || {
                // Line after line, until some of them are on disk, and then some more.
                let (mut next, mut kept) = (10, 0);
                while next < 70 || kept == 0 {
                    write(&logs.join("a.log"), next..next + 1);
                    next += 1;
                    kept = waiting();
                    assert!(next < 1_000, "nothing waits on disk");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                fs::write(folder.path().join("written"), next.to_string()).expect("written");
            })
            .await;
        let text = fs::read_to_string(folder.path().join("written")).expect("written");
        let written: usize = text.parse().expect("a number");
        write(&logs.join("a.log"), written..written + 5);
        until(server, since, written as u64 + 5).await;
        let query = "SELECT Body FROM otel_logs WHERE ServiceName = ?";
        let asked = server.store().client().query(query).bind(SERVICE);
        let mut found: Vec<String> = asked.fetch_all().await.expect("the store answers");
        found.sort_unstable();
        let mut expected: Vec<String> =
            (0..written + 5).map(|number| format!("ERROR line {}", word(number))).collect();
        expected.sort_unstable();
        assert_eq!(found, expected, "each once");
        server.until("an empty spool", async |_| (waiting() == 0).then_some(())).await;
        stop.cancel();
        running.await.expect("no panic").expect("an orderly end");
    })
    .await;
}
