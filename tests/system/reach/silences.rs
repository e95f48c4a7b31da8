//! Approved suppressions as silences of an Alertmanager.

use super::*;

/// Debian's Alertmanager, when it is installed or `INQUEST_ALERTMANAGER` names it.
fn alertmanager() -> Option<std::path::PathBuf> {
    let named = std::env::var_os("INQUEST_ALERTMANAGER").map(std::path::PathBuf::from);
    let found = named.or_else(|| {
        let paths = std::env::var_os("PATH")?;
        let programs = ["prometheus-alertmanager", "alertmanager"];
        std::env::split_paths(&paths)
            .flat_map(|dir| programs.map(|name| dir.join(name)))
            .find(|path| path.is_file())
    });
    if found.is_none() {
        eprintln!("skipped: Alertmanager is not installed (`apt-get install prometheus-alertmanager`)");
    }
    found
}

/// A process that ends with its test.
struct Process(std::process::Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Settings of a server that tells the Alertmanager at `base` of what was approved.
fn silencing(base: &str) -> impl Fn(&mut server::config::Config) {
    let base = base.to_owned();
    move |config| {
        config.access.api_token = Some(Secret::new(TOKEN));
        config.noise.alertmanager = Some(base.clone());
        config.noise.mode = detectors::suppression::Mode::Recommend;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alertmanager_that_does_not_answer_holds_up_no_decision() {
    // It answers nothing until it is told to.
    let (asked, free) =
        (Arc::new(Mutex::new(Vec::<String>::new())), Arc::new(tokio::sync::Semaphore::new(0)));
    let (noted, waits) = (asked.clone(), free.clone());
    let answer = move |request: axum::extract::Request| async move {
        noted.lock().expect("a lock").push(request.method().to_string());
        waits.acquire().await.expect("it is never closed").forget();
        axum::Json(json!({"silenceID": "s-1"}))
    };
    let base = listening(axum::Router::new().fallback(answer)).await;
    serve_with(silencing(&base), async |server: &mut TestServer| {
        send_alert(server, webhook("cart", "a", "retrying in 17 ms", 60)).await;
        let (fingerprint, _) = fingerprint_of(server, "cart").await;
        assert_eq!(press(server, &format!("/review/{fingerprint}/approve"), "").await, 200);
        let methods = || asked.lock().expect("a lock").clone();
        server.until("the question", async |_| (!methods().is_empty()).then_some(())).await;
        // It still waits, and alerts are judged all the same.
        let held = send_alert(server, webhook("cart", "a", "retrying in 17 ms", 30)).await;
        assert_eq!(held["suppressed"], 1, "{held}");
        assert_eq!(methods(), ["POST"]);
        free.add_permits(2);
        assert_eq!(press(server, &format!("/review/{fingerprint}/undo"), "").await, 200);
        server.until("the end", async |_| methods().contains(&"DELETE".to_owned()).then_some(())).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silence_that_is_refused_keeps_no_other_waiting() {
    let (refused, taken) = (Arc::new(Mutex::new(String::new())), Arc::new(Mutex::new(Vec::<String>::new())));
    let (refuses, takes) = (refused.clone(), taken.clone());
    let answer = move |body: String| async move {
        if body.contains(&*refuses.lock().expect("a lock")) {
            return Err(axum::http::StatusCode::BAD_REQUEST);
        }
        takes.lock().expect("a lock").push(body);
        Ok(axum::Json(json!({"silenceID": "s-1"})))
    };
    let base = listening(axum::Router::new().fallback(answer)).await;
    serve_with(silencing(&base), async |server: &mut TestServer| {
        let mut groups = Vec::new();
        for service in ["cart", "payment"] {
            send_alert(server, webhook(service, "a", "retrying in 17 ms", 60)).await;
            groups.push((fingerprint_of(server, service).await.0, service));
        }
        // The one that comes first in every round.
        groups.sort_unstable();
        *refused.lock().expect("a lock") = format!("\"{}\"", groups[0].1);
        for (fingerprint, _) in &groups {
            assert_eq!(press(server, &format!("/review/{fingerprint}/approve"), "").await, 200);
        }
        let silence = server.until("the other silence", async |_: &TestServer| {
            taken.lock().expect("a lock").first().cloned()
        });
        assert!(silence.await.contains(groups[1].1));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approved_suppression_is_a_silence_of_the_real_alertmanager() {
    let Some(program) = alertmanager() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("alertmanager.yml");
    std::fs::write(&config, "route: { receiver: none }\nreceivers: [{ name: none }]\n").expect("a file");
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|socket| socket.local_addr())
        .expect("a port")
        .port();
    let address = format!("127.0.0.1:{port}");
    let child = std::process::Command::new(program)
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.path={}", folder.path().display()))
        .arg(format!("--web.listen-address={address}"))
        .arg("--cluster.listen-address=")
        .stderr(std::process::Stdio::null())
        .spawn();
    let _process = Process(child.expect("Alertmanager starts"));
    let base = format!("http://{address}");
    serve_with(silencing(&base), async |server: &mut TestServer| {
        let silences = async |server: &TestServer| -> Option<Vec<Value>> {
            server.http().get(format!("{base}/api/v2/silences")).send().await.ok()?.json().await.ok()
        };
        server.until("Alertmanager", async |server: &TestServer| silences(server).await).await;
        send_alert(server, webhook("cart", "a", "retrying in 17 ms", 60)).await;
        let alerts: Vec<Value> = serde_json::from_str(&server.get("/api/v1/alerts").await.1).expect("JSON");
        let fingerprint = alerts[0]["fingerprint"].as_str().expect("a fingerprint").to_owned();
        assert_eq!(press(server, &format!("/review/{fingerprint}/approve"), "").await, 200);
        let all = server.until("a silence", async |server: &TestServer| {
            silences(server).await.filter(|all| !all.is_empty())
        });
        let all = all.await;
        assert_eq!(all.len(), 1, "{all:?}");
        assert_eq!(all[0]["status"]["state"], "active");
        let matchers = all[0]["matchers"].as_array().expect("matchers");
        let named = |name: &str| {
            matchers.iter().find(|matcher| matcher["name"] == name).map(|matcher| matcher["value"].clone())
        };
        assert_eq!(
            (named("alertname"), named("service"), named("pod")),
            (Some(json!("Retries")), Some(json!("cart")), None)
        );
        assert_eq!(press(server, &format!("/review/{fingerprint}/undo"), "").await, 200);
        let ended = server.until("the end of the silence", async |server: &TestServer| {
            silences(server).await.filter(|all| all[0]["status"]["state"] == "expired")
        });
        ended.await;
    })
    .await;
}
