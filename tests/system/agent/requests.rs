//! Requests of real clients to real servers, seen from both ends.

use super::{watch, watch_with};
use crate::programs::{accepting, finish, free_address, installed, python, start};

#[tokio::test(flavor = "multi_thread")]
async fn http_between_curl_and_a_server() {
    watch(async |watched| {
        let Some(python) = python() else { return };
        let port = free_address().port();
        std::fs::write(watched.folder().join("note.txt"), "hello").expect("written");
        let _server = start(
            watched.folder(),
            "http-under-test",
            &python,
            &["-m", "http.server", &port.to_string(), "--bind", "127.0.0.1"],
        );
        accepting(port).await;
        let url = format!("http://127.0.0.1:{port}/note.txt");
        let missing = format!("http://127.0.0.1:{port}/orders/12345");
        for _ in 0..5 {
            assert!(finish(watched.folder(), "", "curl", &["-s", &url]).await);
            assert!(finish(watched.folder(), "", "curl", &["-s", &missing]).await);
        }
        let edge = watched.edge("curl", "http-under-test").await;
        assert!(edge.calls > 0);
        let trace = watched.trace("http-under-test", "GET /note.txt").await;
        check_pair(&trace, "curl", "http-under-test");
        // An id in a path is no part of the name; 404 is the client's error.
        let trace = watched.trace("curl", "GET /orders/{id}").await;
        assert!(trace.iter().any(|span| span.service == "curl" && span.status == "Error"), "{trace:?}");
        assert!(trace.iter().all(|span| span.service == "curl" || span.status != "Error"), "{trace:?}");
        watched
            .measured(
                "inquest_inbound_request_duration_seconds_count",
                &["service=\"http-under-test\"", "protocol=\"http\""],
            )
            .await;
        watched.stored("container_net_tcp_accepted_connects_total", "http-under-test").await;
        let listens = format!("port=\"{port}\"");
        let once = watched
            .measured("container_net_tcp_listen_info", &["service=\"http-under-test\"", &listens])
            .await;
        assert_eq!(once, 1.0);
        watched.stored("container_net_tcp_listen_info", "http-under-test").await;
        let (status, page) = watched.server.get("/services").await;
        assert!(status == 200 && page.contains("http-under-test"), "{page}");
        // Who talks to whom stands on the pages of both.
        for (service, other) in [("http-under-test", "curl"), ("curl", "http-under-test")] {
            let (status, page) = watched.server.get(&format!("/services/{service}")).await;
            let calls = page.split("id=\"calls\"").nth(1).and_then(|rest| rest.split("</section>").next());
            let link = format!("href=\"/services/{other}\"");
            assert!(status == 200 && calls.is_some_and(|calls| calls.contains(&link)), "{page}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn https_through_openssl() {
    watch(async |watched| {
        let (Some(python), Some(_)) = (python(), installed(&["openssl"])) else { return };
        let folder = watched.folder();
        let made = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key", "-out", "cert", "-days", "2", "-subj", "/CN=x"];
        assert!(finish(folder, "", "openssl", &made).await);
        let port = free_address().port();
        let script = format!(
            "import http.server, ssl\n\
             context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\n\
             context.load_cert_chain('cert', 'key')\n\
             server = http.server.ThreadingHTTPServer(('127.0.0.1', {port}), http.server.SimpleHTTPRequestHandler)\n\
             server.socket = context.wrap_socket(server.socket, server_side=True)\n\
             server.serve_forever()\n"
        );
        std::fs::write(folder.join("secure.py"), script).expect("written");
        let _server = start(folder, "https-under-test", &python, &["secure.py"]);
        accepting(port).await;
        let url = format!("https://127.0.0.1:{port}/cert");
        // Whatever library a program brings is watched from its first TLS connection on.
        for _ in 0..3 {
            assert!(finish(folder, "", "curl", &["-sk", &url]).await);
        }
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        for _ in 0..5 {
            assert!(finish(folder, "", "curl", &["-sk", "--http1.1", &url]).await);
        }
        let trace = watched.trace("https-under-test", "GET /cert").await;
        check_pair(&trace, "curl", "https-under-test");
        // OpenSSL's own client.
        let ask = format!(
            "(printf 'GET /key HTTP/1.0\\r\\n\\r\\n'; sleep 0.5) | openssl s_client -quiet -connect 127.0.0.1:{port}"
        );
        for _ in 0..3 {
            finish(folder, "", "sh", &["-c", &ask]).await;
        }
        check_pair(&watched.trace("https-under-test", "GET /key").await, "openssl", "https-under-test");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_that_a_request_carries_is_continued() {
    watch(async |watched| {
        let Some(python) = python() else { return };
        let port = free_address().port();
        let folder = watched.folder();
        let arguments = ["-m", "http.server", &port.to_string(), "--bind", "127.0.0.1"];
        let _server = start(folder, "traced-under-test", &python, &arguments);
        accepting(port).await;
        let (trace, caller) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
        let header = format!("traceparent: 00-{trace}-{caller}-01");
        let url = format!("http://127.0.0.1:{port}/");
        assert!(finish(folder, "", "curl", &["-s", "-H", &header, &url]).await);
        let spans = watched
            .until("both spans of the trace", async |it| {
                let spans = it.server.store().trace(trace).await.expect("the store answers");
                (spans.len() >= 2).then_some(spans)
            })
            .await;
        check_pair(&spans, "curl", "traced-under-test");
        assert!(spans.iter().any(|span| span.service == "curl" && span.parent == caller), "{spans:#?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http_over_ipv6() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        eprintln!("skipped: there is no IPv6 here");
        return;
    }
    watch(async |watched| {
        let Some(python) = python() else { return };
        let port = free_address().port();
        let folder = watched.folder();
        let arguments = ["-m", "http.server", &port.to_string(), "--bind", "::1"];
        let _server = start(folder, "ipv6-under-test", &python, &arguments);
        let url = format!("http://[::1]:{port}/");
        for _ in 0..100 {
            if finish(folder, "", "curl", &["-sf", &url]).await {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        for _ in 0..3 {
            assert!(finish(folder, "", "curl", &["-sf", &url]).await);
        }
        check_pair(&watched.trace("ipv6-under-test", "GET /").await, "curl", "ipv6-under-test");
        let labels = ["service=\"curl\"", "destination=\"ipv6-under-test\""];
        watched.measured("container_net_tcp_successful_connects_total", &labels).await;
        let listens = ["service=\"ipv6-under-test\"", &format!("port=\"{port}\"")];
        watched.measured("container_net_tcp_listen_info", &listens).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_what_it_may_use_it_captures_less_and_says_so() {
    // So little that to read any event at all is too much.
    watch_with(
        |settings, _| settings.cores = 0.000_1,
        async |watched| {
            let Some(python) = python() else { return };
            let port = free_address().port();
            let folder = watched.folder();
            let arguments = ["-m", "http.server", &port.to_string(), "--bind", "127.0.0.1"];
            let _server = start(folder, "shed-under-test", &python, &arguments);
            accepting(port).await;
            let url = format!("http://127.0.0.1:{port}/");
            let value = |page: &str, name: &str| -> Option<f64> {
                let line =
                    page.lines().find(|line| line.strip_prefix(name).is_some_and(|it| it.starts_with(' ')));
                line?.rsplit(' ').next()?.parse().ok()
            };
            let shed = "inquest_agent_events_lost_total{reason=\"shed\"}";
            let (ratio, shed) = watched
                .until("events left out", async |it| {
                    // Each from another port, so that it is not the same ones that are captured or left out.
                    for _ in 0..10 {
                        finish(folder, "", "curl", &["-s", &url]).await;
                    }
                    let page = it.page().await?;
                    let found = (value(&page, "inquest_agent_captured_ratio")?, value(&page, shed)?);
                    (found.0 < 1.0 && found.1 > 0.0).then_some(found)
                })
                .await;
            // One of a power of two, 64 at most.
            let (one_of, counted) = (1.0 / ratio, shed);
            assert!((2.0..=64.0).contains(&one_of) && one_of.log2().fract() == 0.0, "{ratio}");
            // What is left out goes on to be counted, and connections are counted all the same.
            for _ in 0..50 {
                finish(folder, "", "curl", &["-s", &url]).await;
            }
            watched
                .until("more events left out", async |it| {
                    let page = it.page().await?;
                    value(&page, "inquest_agent_events_lost_total{reason=\"shed\"}")
                        .filter(|now| *now > counted)
                })
                .await;
            watched
                .until("each connection", async |it| {
                    let page = it.page().await?;
                    let fits = |line: &&str| {
                        line.starts_with("container_net_tcp_successful_connects_total{service=\"curl\"")
                            && line.contains("destination=\"shed-under-test\"")
                    };
                    let opened: f64 = page.lines().find(fits)?.rsplit(' ').next()?.parse().ok()?;
                    (opened >= 60.0).then_some(())
                })
                .await;
        },
    )
    .await;
}

/// The client's span is above the server's, in one trace.
pub(super) fn check_pair(trace: &[storage::questions::trace::TraceRow], client: &str, server: &str) {
    let find = |service: &str, kind: &str| {
        trace.iter().find(|span| span.service == service && span.kind == kind).unwrap_or_else(|| {
            panic!("no {kind} span of {service} in {trace:#?}");
        })
    };
    let (asks, answers) = (find(client, "Client"), find(server, "Server"));
    assert_eq!(answers.parent, asks.span_id);
    assert!(asks.start <= answers.start && answers.duration_ns <= asks.duration_ns + 2_000_000);
}
