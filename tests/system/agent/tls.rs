//! Plaintext of TLS that is not OpenSSL's: Go's own, and rustls.

use std::time::Duration;

use agent::kernel::{Feature, Layout, Programs};
use agent::tls::TlsLibraries;

use super::requests::check_pair;
use super::{MACHINE, Watched, can_watch, watch};
use crate::programs::{accepting, build_go, finish, free_address, start};

/// A server and a client in Go.
const GO_PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/programs/tls/main.go");
/// How often the probes come and go in the soak, and how long they stay each time.
const TURNS: u32 = 20;
const STAY: Duration = Duration::from_millis(300);

#[tokio::test(flavor = "multi_thread")]
async fn go_with_symbols() {
    go(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn go_stripped() {
    go(&["-ldflags=-s -w"]).await;
}

/// Both ends in Go, by HTTP/2 and HTTP/1.1, and from another client.
async fn go(flags: &[&str]) {
    watch(async |watched| {
        let folder = watched.folder();
        let Some(program) = build_go(folder, GO_PROGRAM.as_ref(), flags) else { return };
        let program = program.display().to_string();
        let port = free_address().port();
        let _server = start(folder, "go-server", &program, &["serve", &format!("127.0.0.1:{port}")]);
        accepting(port).await;
        let url = format!("https://127.0.0.1:{port}");
        // The program must be watched before its first connection by HTTP/2, of which the beginning must be known.
        let ready = format!("{url}/ready");
        let ask = async || assert!(finish(folder, "", "curl", &["-sk", "--http1.1", &ready]).await);
        watched.trace_of_asking("go-server", "GET /ready", ask).await;
        assert!(
            finish(folder, "go-http2", &program, &["ask", &url, "20", "0", "2"]).await,
            "all are answered"
        );
        assert!(
            finish(folder, "go-http1", &program, &["ask1", &url, "20", "0", "2"]).await,
            "all are answered"
        );
        for client in ["go-http2", "go-http1"] {
            both_ends(watched, client, "go-server", "GET /orders/{id}", 100).await;
        }
        assert!(finish(folder, "", "curl", &["-sk", "--http1.1", &format!("{url}/failing")]).await);
        let trace = watched.trace("go-server", "GET /failing").await;
        check_pair(&trace, "curl", "go-server");
        assert!(trace.iter().any(|span| span.service == "go-server" && span.status == "Error"), "{trace:?}");
        moving_stack(watched, &program).await;
    })
    .await;
}

/// A buffer on a stack that moves while it is read into.
async fn moving_stack(watched: &Watched<'_>, program: &str) {
    let folder = watched.folder();
    let port = free_address().port();
    let _server = start(folder, "go-plain", program, &["plain", &format!("127.0.0.1:{port}")]);
    accepting(port).await;
    for _ in 0..5 {
        let url = format!("https://127.0.0.1:{port}/moved");
        assert!(finish(folder, "", "curl", &["-sk", "--http1.1", &url]).await);
    }
    check_pair(&watched.trace("go-plain", "GET /moved").await, "curl", "go-plain");
}

/// `count` requests were seen from each end, and tied.
async fn both_ends(watched: &Watched<'_>, client: &str, server: &str, name: &str, count: u64) {
    watched.edge(client, server).await;
    let query = "SELECT count() FROM otel_traces WHERE ServiceName = ? AND SpanName = ? AND SpanKind = ? \
                 AND (? = '' OR TraceId IN (SELECT TraceId FROM otel_traces WHERE ServiceName = ?))";
    for (service, kind, other) in [(client, "Client", ""), (server, "Server", client)] {
        let what = format!("{count} spans {name} of {service} as {kind}");
        watched
            .until(&what, async |it| {
                let store = it.server.store();
                let asked = store.client().query(query).bind(service).bind(name).bind(kind);
                let found =
                    asked.bind(other).bind(other).fetch_one::<u64>().await.expect("the store answers");
                (found == count).then_some(())
            })
            .await;
    }
    check_pair(&watched.trace(client, name).await, client, server);
}

/// Probes come and go on programs that are busy all the time: none ends, and no request fails.
#[tokio::test(flavor = "multi_thread")]
async fn probes_come_and_go_under_load() {
    if !can_watch() {
        return;
    }
    let _alone = MACHINE.write().await;
    let folder = tempfile::tempdir().expect("a folder");
    let Some(program) = build_go(folder.path(), GO_PROGRAM.as_ref(), &[]) else { return };
    let program = program.display().to_string();
    let port = free_address().port();
    let address = format!("127.0.0.1:{port}");
    let mut server = start(folder.path(), "", &program, &["serve", &address]);
    accepting(port).await;
    let url = format!("https://{address}");
    let seconds = (TURNS * STAY * 4).as_secs().to_string();
    let mut newest = start(folder.path(), "", &program, &["ask", &url, "8", &seconds]);
    let mut older = start(folder.path(), "", &program, &["ask1", &url, "8", &seconds]);
    agent::kernel::show_trace_points().expect("root");
    let layout = Layout::of_this_kernel().expect("a kernel that is known");
    let features = [Feature::Payloads, Feature::Tls, Feature::TlsOfGo];
    for turn in 0..TURNS {
        let mut programs = Programs::attach(&layout, &features).expect("attached");
        let mut libraries = TlsLibraries::new("/".into());
        libraries.watch_start(server.child.id().expect("it runs"));
        while libraries.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
            libraries.settle(&mut programs);
        }
        // Short-lived programs of the same file start and end meanwhile, probes or not.
        let few = ["ask1", url.as_str(), "4", "0"];
        let (asked, ()) = tokio::join!(finish(folder.path(), "", &program, &few), tokio::time::sleep(STAY));
        assert!(asked, "all are answered in turn {turn}");
        drop(libraries);
        drop(programs);
        for child in [&mut server.child, &mut newest.child, &mut older.child] {
            let ended = child.try_wait().expect("a child");
            assert!(ended.is_none_or(|it| it.success()), "{ended:?} in turn {turn}");
        }
    }
    for client in [&mut newest.child, &mut older.child] {
        assert!(client.wait().await.expect("it ends").success(), "a request failed");
    }
    assert!(server.child.try_wait().expect("a child").is_none(), "the server has ended");
}
