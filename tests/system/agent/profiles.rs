//! Processor profiles of real programs: the function that is hot leads what has arrived in the store.

use std::path::PathBuf;
use std::time::Duration;

use agent::settings::{Logs, Settings, Watch};
use domain::UnixNanos;
use tokio_util::sync::CancellationToken;

use super::{MACHINE, can_watch, start_agent};
use crate::harness::{TestServer, now, serve};
use crate::programs::{build_go, installed, start};

/// Long enough for hundreds of samples.
const SPIN: Duration = Duration::from_secs(6);
/// A child of this test that only spins.
const SPINS: &str = "agent::profiles::spins";

/// What `spins` is spent in. Kept apart from its caller, so that it has a frame and a name of its own.
#[inline(never)]
fn hot_function_under_test(rounds: u64) -> u64 {
    // Nothing but operators: what is called would have samples of its own.
    let (mut sum, mut round) = (1, 0);
    while round < rounds {
        sum = (sum ^ round) % 1_000_003;
        round += 1;
    }
    sum
}

/// Not a test: the program under watch, run as a process of its own, which is killed when the test has seen enough.
#[test]
#[ignore = "spins until it is killed"]
fn spins() {
    loop {
        std::hint::black_box(hot_function_under_test(10_000_000));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hot_function_of_a_program_leads() {
    profile("spin-under-test", "hot_function_under_test", |_| {
        let program = std::env::current_exe().expect("this program");
        Some((program, ["--ignored", "--exact", SPINS].map(str::to_owned).to_vec()))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn code_compiled_at_run_time_is_named_by_its_perf_map() {
    profile("node-under-test", "hotLoopUnderTest", |folder| {
        let node = installed(&["node"])?;
        // It calls itself from the loop of events: inside another function it would be built into that.
        let script = "function hotLoopUnderTest() { let x = 1; for (let i = 0; i < 3e7; i++) x = (x * 31 + i) % 1000003; \
             globalThis.kept = x; setImmediate(hotLoopUnderTest); }\nhotLoopUnderTest();\n";
        std::fs::write(folder.join("hot.js"), script).expect("written");
        Some((node, ["--perf-basic-prof", "hot.js"].map(str::to_owned).to_vec()))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stripped_program_of_go_is_named_by_its_own_table() {
    profile("go-under-test", "main.hotLoopUnderTest", |folder| {
        let source = folder.join("main.go");
        let text = "package main\n\nvar kept uint64\n\n//go:noinline\nfunc hotLoopUnderTest() uint64 {\n\tsum := uint64(1)\n\
             \tfor round := uint64(0); round < 10_000_000; round++ {\n\t\tsum = (sum ^ round) % 1_000_003\n\t}\n\treturn sum\n}\n\n\
             func main() {\n\tfor {\n\t\tkept = hotLoopUnderTest()\n\t}\n}\n";
        std::fs::write(&source, text).expect("written");
        Some((build_go(folder, &source, &["-ldflags=-s -w"])?, Vec::new()))
    })
    .await;
}

/// Watches a program that spins, until the agent ends and sends what it has; the hottest function of `service` must be `hot`.
async fn profile(
    service: &str,
    hot: &str,
    program: impl Fn(&std::path::Path) -> Option<(PathBuf, Vec<String>)>,
) {
    let _others_may_run = MACHINE.read().await;
    if !can_watch() {
        return;
    }
    serve(async |server| {
        let folder = tempfile::tempdir().expect("a folder");
        let Some((program, arguments)) = program(folder.path()) else { return };
        let since = now();
        let settings = Settings {
            server: server.grpc(),
            data: folder.path().join("agent"),
            metrics: None,
            watch: Watch { requests: false, tls: false, profiles: true },
            logs: Logs { files: Vec::new(), journal: false },
            ..Settings::default()
        };
        let stop = CancellationToken::new();
        // A test that fails would wait for the agent for ever otherwise.
        let _stops = stop.clone().drop_guard();
        let running = start_agent(settings, &stop);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let spinning = start(folder.path(), service, &program.display().to_string(), &arguments);
        tokio::time::sleep(SPIN).await;
        // While the program lives: its memory is what tells names.
        stop.cancel();
        running.await.expect("no panic").expect("an orderly end");
        drop(spinning);
        let leaves = server
            .until("a profile in the store", async |it| {
                let found = leaves(it, service, since).await;
                (!found.is_empty()).then_some(found)
            })
            .await;
        let total: i64 = leaves.iter().map(|(_, nanos)| nanos).sum();
        let (first, nanos) = &leaves[0];
        assert!(first.contains(hot), "{first} leads: {leaves:#?}");
        assert!(*nanos * 2 > total, "{first} has {nanos} of {total} ns: {leaves:#?}");
        // It ran all the time, on one processor that others use as well.
        let spun = Duration::from_nanos(total.unsigned_abs());
        assert!(spun <= SPIN + Duration::from_secs(2), "{spun:?} of processor time in {SPIN:?}");
        assert!(spun > Duration::from_millis(100), "{spun:?} of processor time in {SPIN:?}");
    })
    .await;
}

/// Functions in which the service was seen, hottest first, with nanoseconds.
async fn leaves(server: &TestServer, service: &str, since: UnixNanos) -> Vec<(String, i64)> {
    let query = "SELECT Stack[-1] AS leaf, sum(Value) AS nanos FROM profiles \
                 WHERE ServiceName = ? AND toUnixTimestamp64Nano(Timestamp) >= ? GROUP BY leaf ORDER BY nanos DESC";
    server
        .store()
        .client()
        .query(query)
        .bind(service)
        .bind(since.0)
        .fetch_all()
        .await
        .expect("the store answers")
}
