//! The answer reaches people: alerts and their review, Slack, notifications, tools. Other companies' servers are played
//! in-process, within the limits that they document.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::IntoResponse as _;
use serde_json::{Value, json};
use server::config::{Channel, Secret, SlackUser, Target};
use server::{signature, slack};

use crate::harness::{TestServer, now, serve_with};

const TOKEN: &str = "a token of tests";
const SIGNING: &str = "8f742231b10e8888abcd99yyyzzz85a5";

/// A server of somebody else: notes what it is sent, and answers what it was told to, then "ok".
#[derive(Clone, Default)]
struct Fake {
    seen: Arc<Mutex<Vec<(String, HeaderMap, Value)>>>,
    answers: Arc<Mutex<VecDeque<(u16, &'static str)>>>,
    faults: Arc<Mutex<Vec<String>>>,
}

impl Fake {
    async fn start(answers: &[(u16, &'static str)]) -> (Self, String) {
        let fake =
            Self { answers: Arc::new(Mutex::new(answers.iter().copied().collect())), ..Self::default() };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let router = axum::Router::new().fallback(Self::take).with_state(fake.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (fake, format!("http://{address}"))
    }

    async fn take(
        State(fake): State<Self>,
        uri: Uri,
        headers: HeaderMap,
        body: String,
    ) -> axum::response::Response {
        let body: Value = serde_json::from_str(&body).unwrap_or(Value::Null);
        let path = uri.path().to_owned();
        if (path.starts_with("/api/chat") || path.starts_with("/commands"))
            && let Err(fault) = slack::client::check_limits(&body)
        {
            fake.faults.lock().expect("a lock").push(fault);
        }
        if path == "/v2/enqueue"
            && body["payload"]["summary"].as_str().is_some_and(|text| text.chars().count() > 1024)
        {
            fake.faults.lock().expect("a lock").push("a summary beyond the limit".into());
        }
        fake.seen.lock().expect("a lock").push((path, headers, body));
        let (status, text) = fake
            .answers
            .lock()
            .expect("a lock")
            .pop_front()
            .unwrap_or((200, r#"{"ok":true,"channel":"C9","ts":"1.2"}"#));
        let status = StatusCode::from_u16(status).expect("a status");
        (status, [("retry-after", "0")], text).into_response()
    }

    fn seen(&self) -> Vec<(String, Value)> {
        self.seen.lock().expect("a lock").iter().map(|(path, _, body)| (path.clone(), body.clone())).collect()
    }

    fn headers(&self, index: usize) -> HeaderMap {
        self.seen.lock().expect("a lock")[index].1.clone()
    }

    fn faults(&self) -> Vec<String> {
        self.faults.lock().expect("a lock").clone()
    }
}

fn webhook(service: &str, pod: &str, summary: &str, seconds_ago: i64) -> String {
    let at = domain::UnixNanos::from_seconds(now().seconds() - seconds_ago);
    json!({"version": "4", "status": "firing", "receiver": "inquest", "alerts": [{
        "status": "firing", "startsAt": at.to_string(), "endsAt": "0001-01-01T00:00:00Z", "fingerprint": "f",
        "labels": {"alertname": "Retries", "service": service, "severity": "warning", "pod": pod},
        "annotations": {"summary": summary},
    }]})
    .to_string()
}

async fn send_alert(server: &TestServer, body: String) -> Value {
    let request =
        server.http().post(server.page("/api/v1/alerts/alertmanager")).bearer_auth(TOKEN).body(body);
    let answer = request.send().await.expect("an answer");
    assert_eq!(answer.status().as_u16(), 200);
    answer.json().await.expect("JSON")
}

async fn press(server: &TestServer, path: &str, form: &str) -> u16 {
    server.post(&server.page(path), "application/x-www-form-urlencoded", form.to_owned()).await.0
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_is_reviewed_held_back_and_comes_back() {
    let token = |config: &mut server::config::Config| config.access.api_token = Some(Secret::new(TOKEN));
    serve_with(token, async |server: &mut TestServer| {
        let url = server.page("/api/v1/alerts/alertmanager");
        let refused = server.post(&url, "application/json", webhook("cart", "a", "x", 0)).await;
        assert_eq!(refused.0, 401);
        let hostile = "retrying in 17 ms <script>alert(1)</script>";
        // One an hour: the hour that the test runs in is like those before it, whatever the time.
        for hours in (1..20).rev() {
            let answer = send_alert(server, webhook("cart", "a", hostile, hours * 3600)).await;
            assert_eq!(answer["heard"], 1, "{answer}");
        }
        let once = webhook("cart", "a", hostile, 50);
        assert_eq!(send_alert(server, once.clone()).await["heard"], 1);
        assert_eq!(send_alert(server, once).await["repeated"], 1);

        let (_, alerts) = server.get("/api/v1/alerts").await;
        let alerts: Value = serde_json::from_str(&alerts).expect("JSON");
        assert_eq!(alerts[0]["alerts"], 20);
        let fingerprint = alerts[0]["fingerprint"].as_str().expect("a fingerprint").to_owned();
        let (status, page) = server.get(&format!("/review?open={fingerprint}")).await;
        assert_eq!(status, 200);
        assert!(page.contains("Approve") && page.contains("comes back above"), "{page}");
        assert!(!page.contains("<script>alert"));

        assert_eq!(press(server, "/review/mode", "rule=*&mode=auto").await, 400, "auto is earned");
        assert_eq!(press(server, "/review/mode", "rule=*&mode=recommend").await, 200);
        assert_eq!(
            press(server, &format!("/review/{fingerprint}/approve"), "reason=flapping&days=7").await,
            200
        );
        let held = send_alert(server, webhook("cart", "a", hostile, 30)).await;
        assert_eq!((held["suppressed"].clone(), held["heard"].clone()), (json!(1), json!(0)));

        // A restart forgets nothing.
        let (_, yaml) = server.get("/review/policies.yaml").await;
        assert!(yaml.contains("decision: suppress") && yaml.contains("reason: flapping"), "{yaml}");
        server.restart_with(token).await;
        assert_eq!(server.get("/review/policies.yaml").await.1, yaml);
        let held = send_alert(server, webhook("cart", "a", hostile, 20)).await;
        assert_eq!(held["suppressed"], 1, "{held}");

        // Taken back, and decided again from the file.
        assert_eq!(press(server, &format!("/review/{fingerprint}/undo"), "").await, 200);
        assert!(!server.get("/review/policies.yaml").await.1.contains("suppress"));
        let form = format!("yaml={}", form(&yaml));
        assert_eq!(press(server, "/review/policies", &form).await, 200);
        assert_eq!(server.get("/review/policies.yaml").await.1, yaml);

        let new_host = send_alert(server, webhook("cart", "b", hostile, 10)).await;
        assert_eq!(new_host["heard"], 1, "a new host is heard");
        let (_, audit) = server.get("/review/audit").await;
        for words in ["Approved: Flapping", "Undone", "Came back: new host b", "someone on this page"] {
            assert!(audit.contains(words), "{words}");
        }
        // What is never suppressed cannot be approved by hand either.
        send_alert(server, webhook("cart", "a", "panic: disk full", 5)).await;
        let (_, alerts) = server.get("/api/v1/alerts").await;
        let alerts: Vec<Value> = serde_json::from_str(&alerts).expect("JSON");
        let panic =
            alerts.iter().find(|one| one["pattern"].as_str().is_some_and(|text| text.contains("panic")));
        let panic = panic.expect("the alert")["fingerprint"].as_str().expect("a fingerprint");
        assert_eq!(press(server, &format!("/review/{panic}/approve"), "").await, 400);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_held_back_is_shown_on_the_incident_it_came_before() {
    let token = |config: &mut server::config::Config| {
        config.access.api_token = Some(Secret::new(TOKEN));
        config.noise.mode = detectors::suppression::Mode::Recommend;
    };
    serve_with(token, async |server: &mut TestServer| {
        let said = "retrying in 17 ms <script>alert(1)</script>";
        send_alert(server, webhook("payment", "a", said, 120)).await;
        send_alert(server, webhook("elsewhere", "a", said, 120)).await;
        for service in ["payment", "elsewhere"] {
            let (fingerprint, _) = fingerprint_of(server, service).await;
            let decision = "reason=flapping&days=7&note=it+%3Cb%3Erecovers";
            assert_eq!(press(server, &format!("/review/{fingerprint}/approve"), decision).await, 200);
            for seconds_ago in [90, 60] {
                let held = send_alert(server, webhook(service, "a", said, seconds_ago)).await;
                assert_eq!(held["suppressed"], 1, "{held}");
            }
        }
        crate::incident::break_payment(server).await;
        let path = format!("/incidents/{}", crate::incident::investigated(server).await.id);
        let (_, page) = server.get(&path).await;
        let until = now().plus(std::time::Duration::from_secs(7 * 86_400)).date();
        let row =
            format!("Held back: Flapping (it &lt;b&gt;recovers), until {until}, by someone on this page.");
        assert!(page.contains(&row) && page.contains("2 times"), "{page}");
        assert!(page.contains("payment: Retries") && !page.contains("elsewhere: Retries"), "{page}");
        assert!(!page.contains("<script>alert"));
        assert!(!page.contains("Came back at"));
        // With the incident it is heard again, and the page says so.
        assert_eq!(send_alert(server, webhook("payment", "a", said, 1)).await["heard"], 1);
        let (_, page) = server.get(&path).await;
        assert!(page.contains("Came back at") && page.contains("2 times"), "{page}");
        // The other way round, the review page names the incident.
        let (fingerprint, _) = fingerprint_of(server, "payment").await;
        let (_, review) = server.get(&format!("/review?open={fingerprint}")).await;
        assert!(
            review.contains("Incidents at the same time") && review.contains(">INC-0001</a>"),
            "{review}"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_decided_on_and_taken_back_in_one_step() {
    let token = |config: &mut server::config::Config| {
        config.access.api_token = Some(Secret::new(TOKEN));
        config.noise.mode = detectors::suppression::Mode::Recommend;
    };
    serve_with(token, async |server: &mut TestServer| {
        for service in ["cart", "web", "mail"] {
            send_alert(server, webhook(service, "a", "retrying in 17 ms", 120)).await;
        }
        send_alert(server, webhook("db", "a", "no answer yet", 120)).await;
        let (cart, _) = fingerprint_of(server, "cart").await;
        let (web, _) = fingerprint_of(server, "web").await;
        let audited = async |server: &TestServer, words: &str| {
            server.get("/review/audit").await.1.matches(words).count()
        };
        let day = |days: u64| now().plus(std::time::Duration::from_secs(days * 86_400)).date();
        let states = [
            ("approve", format!("suppressed until {}", day(3))),
            ("reject", "heard".into()),
            ("snooze", format!("snoozed until {}", day(1))),
        ];
        for (action, state) in &states {
            let form = "batch=1&days=3&note=known+%3Cb%3E";
            let (status, page) = server
                .post(
                    &server.page(&format!("/review/{cart}/{action}")),
                    "application/x-www-form-urlencoded",
                    form,
                )
                .await;
            assert_eq!(status, 200, "{page}");
            assert!(page.contains("cart: Retries and 2 of the same pattern:"), "{page}");
            assert_eq!(audited(server, &format!("undecided → {state}")).await, 3, "{action}");
            let (_, open) = server.get(&format!("/review?open={web}")).await;
            assert!(open.contains("known &lt;b&gt;"), "the note of the others, too: {open}");
            if *action == "approve" {
                assert!(
                    open.contains(&format!("or on {}.", day(3))) && !open.contains("or after 14 days"),
                    "{open}"
                );
            }
            // Taken back from any of them, once.
            assert_eq!(press(server, &format!("/review/{web}/undo"), "").await, 200);
            assert_eq!(audited(server, &format!("{state} → undecided")).await, 3, "{action}");
            assert_eq!(press(server, &format!("/review/{cart}/undo"), "").await, 400, "nothing is left");
        }
        assert_eq!(audited(server, "known &lt;b&gt;").await, 9);
        assert_eq!(audited(server, "no answer yet").await, 0, "another pattern is another matter");

        // What was decided on again since stays as it is, also after a restart.
        assert_eq!(press(server, &format!("/review/{cart}/approve"), "batch=1").await, 200);
        assert_eq!(press(server, &format!("/review/{web}/reject"), "").await, 200);
        server.restart_with(token).await;
        assert_eq!(press(server, &format!("/review/{cart}/undo"), "").await, 200);
        let yaml = server.get("/review/policies.yaml").await.1;
        assert!(!yaml.contains("suppress") && yaml.matches("decision: keep").count() == 1, "{yaml}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_policies_says_what_came_of_it_and_waits_for_its_alerts() {
    let settings = |config: &mut server::config::Config| {
        config.access.api_token = Some(Secret::new(TOKEN));
        config.noise.protected = vec![serde_json::from_value(json!("vault")).expect("a glob")];
    };
    serve_with(settings, async |server: &mut TestServer| {
        let import = async |server: &TestServer, yaml: &str| {
            let body = format!("yaml={}", form(yaml));
            let url = server.page("/review/policies");
            server.post(&url, "application/x-www-form-urlencoded", body).await
        };
        send_alert(server, webhook("cart", "a", "retrying in 17 ms", 120)).await;
        let pattern = fingerprint_of(server, "cart").await.1["pattern"].as_str().expect("a pattern").to_owned();
        send_alert(server, webhook("cart", "a", "panic: disk full", 120)).await;
        let yaml = format!("format: 1\nmodes: {{ '*': recommend }}\npolicies:\n\
            - {{ rule: Retries, service: cart, pattern: '{pattern}', decision: suppress, reason: flapping }}\n\
            - {{ rule: Retries, service: cart, pattern: 'panic: disk full', decision: suppress }}\n\
            - {{ rule: Retries, service: vault, pattern: 'sealed', decision: suppress }}\n\
            - {{ rule: Retries, service: mail, pattern: 'greylisted by the other side', decision: suppress, reason: expected_retry }}\n\
            - {{ rule: Retries, service: web, pattern: 'slow', decision: keep }}\n\
            - {{ rule: Retries, service: old, pattern: 'x', decision: suppress, expires: 2020-01-01T00:00:00Z }}\n");
        let (status, page) = import(server, &yaml).await;
        assert_eq!(status, 200);
        for said in [
            "1 mode changed, 1 policy changed, 2 alerts not seen yet: decided when they come, 1 already over, 2 forbidden (",
            "cart: Retries: it speaks of “panic”; vault: Retries: settings protect vault).",
        ] {
            assert!(page.contains(said), "{said}: {page}");
        }
        let (_, page) = import(server, &yaml).await;
        assert!(page.contains("1 stands already, 2 alerts not seen yet"), "{page}");
        let exported = server.get("/review/policies.yaml").await.1;
        assert!(exported.contains("service: mail") && exported.contains("service: web"), "{exported}");

        // They outlive a restart, and are decided when their alerts come.
        server.restart_with(settings).await;
        assert_eq!(server.get("/review/policies.yaml").await.1, exported);
        let first = send_alert(server, webhook("mail", "a", "greylisted by the other side", 100)).await;
        let second = send_alert(server, webhook("mail", "a", "greylisted by the other side", 50)).await;
        assert_eq!((&first["suppressed"], &second["suppressed"]), (&json!(1), &json!(1)), "{first} {second}");
        assert_eq!(send_alert(server, webhook("web", "a", "slow", 100)).await["heard"], 1);
        let audit = server.get("/review/audit").await.1;
        assert!(audit.contains("Approved: Expected retry") && audit.contains("undecided → heard"), "{audit}");
        let (_, page) = import(server, &yaml).await;
        assert!(page.contains("3 stand already, 1 already over, 2 forbidden"), "{page}");
        // A file as large as one may be; what is larger is told.
        let comment = |bytes: usize| format!("format: 1\n# {}\n", "x".repeat(bytes));
        let (status, page) = import(server, &comment((1 << 20) - 100)).await;
        assert!(status == 200 && page.contains("The file decides nothing."), "{status}");
        let (_, page) = import(server, &comment(1 << 20)).await;
        assert!(page.contains("the file is larger than"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_navigation_counts_what_looks_like_noise_and_waits() {
    let token = |config: &mut server::config::Config| config.access.api_token = Some(Secret::new(TOKEN));
    serve_with(token, async |server: &mut TestServer| {
        let waits = "1<span class=\"vh\"> waiting</span>";
        let two_days = 2 * 86_400;
        for number in 0..6 {
            let service = format!("svc{number}");
            send_alert(server, webhook(&service, "a", "retrying in 17 ms", two_days)).await;
            let (fingerprint, _) = fingerprint_of(server, &service).await;
            assert_eq!(press(server, &format!("/review/{fingerprint}/approve"), "").await, 200);
        }
        assert!(!server.get("/settings").await.1.contains(" waiting</span>"));
        send_alert(server, webhook("another", "a", "retrying in 17 ms", two_days)).await;
        // The queue counts anew; other pages are at most half a minute behind.
        let (_, review) = server.get("/review").await;
        assert!(review.contains("1 alert looks like noise") && review.contains(waits), "{review}");
        assert!(server.get("/settings").await.1.contains(waits));
        let (fingerprint, _) = fingerprint_of(server, "another").await;
        assert_eq!(press(server, &format!("/review/{fingerprint}/reject"), "").await, 200);
        assert!(!server.get("/settings").await.1.contains(" waiting</span>"));
    })
    .await;
}

/// An event of Kubernetes as the receiver `k8s_events` sends it.
fn kubernetes_event(pod: &str, uid: &str, kind: &str, at: domain::UnixNanos) -> String {
    let attribute = |key: &str, value: &str| json!({"key": key, "value": {"stringValue": value}});
    json!({"resourceLogs": [{
        "resource": {"attributes": [
            attribute("k8s.object.kind", "Pod"), attribute("k8s.object.name", pod), attribute("k8s.node.name", "node-1"),
        ]},
        "scopeLogs": [{"logRecords": [{
            "timeUnixNano": at.0.to_string(), "severityNumber": 13, "severityText": kind,
            "body": {"stringValue": format!("Readiness probe failed: dial to {pod} timed out")},
            "attributes": [
                attribute("k8s.event.reason", "Unhealthy"), attribute("k8s.event.uid", uid),
                attribute("k8s.namespace.name", "shop"), {"key": "k8s.event.count", "value": {"intValue": "3"}},
            ],
        }]}],
    }]})
    .to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_kubernetes_are_alerts_and_are_held_back_like_others() {
    serve_with(
        |_| (),
        async |server: &mut TestServer| {
            let began = now().seconds();
            let send = async |pod: &str, uid: &str, kind: &str, seconds_ago: i64| {
                let at = domain::UnixNanos::from_seconds(began - seconds_ago);
                let body = kubernetes_event(pod, uid, kind, at);
                let sent = server.post(&server.otlp("/v1/logs"), "application/json", body).await;
                assert_eq!(sent.0, 200, "{}", sent.1);
            };
            let counted = async |alerts: u64| {
                let all = server.get("/api/v1/alerts").await.1;
                let all: Vec<Value> = serde_json::from_str(&all).expect("JSON");
                all.into_iter().find(|one| one["service"] == "cart" && one["alerts"] == alerts)
            };
            send("cart-7d9f8b6c5-x2kqz", "u1", "Warning", 600).await;
            send("cart-7d9f8b6c5-bb95d", "u2", "Warning", 500).await;
            // Sent again, it is the same; what is normal is none; what is long past is no news.
            send("cart-7d9f8b6c5-bb95d", "u2", "Warning", 500).await;
            send("cart-7d9f8b6c5-bb95d", "u3", "Normal", 400).await;
            send("cart-7d9f8b6c5-bb95d", "u4", "Warning", 7300).await;
            send("cart-7d9f8b6c5-bb95d", "u2", "Warning", 300).await;
            let alert = server.until("three alerts", async |_| counted(3).await).await;
            assert_eq!(
                (&alert["rule"], &alert["severity"]),
                (&json!("Kubernetes Unhealthy"), &json!("warning"))
            );
            assert_eq!(alert["pattern"], "Readiness probe failed: dial to <*> timed out");
            assert_eq!(server.store().health().await.expect("an answer").logs.rows, 6, "stored like any log");

            let fingerprint = alert["fingerprint"].as_str().expect("a fingerprint");
            assert_eq!(press(server, "/review/mode", "rule=Kubernetes+Unhealthy&mode=recommend").await, 200);
            assert_eq!(press(server, &format!("/review/{fingerprint}/approve"), "").await, 200);
            send("cart-7d9f8b6c5-bb95d", "u5", "Warning", 10).await;
            server.until("a fourth alert", async |_| counted(4).await).await;
            let since = domain::UnixNanos::from_seconds(0);
            // It is known a moment before it is stored.
            let stored = async |server: &TestServer| {
                let stored = server.store().alerts_of(fingerprint, since, 10).await.expect("an answer");
                (stored.len() == 4).then_some(stored)
            };
            let stored = server.until("it is stored", stored).await;
            let held_back: Vec<bool> = stored.iter().map(|seen| seen.suppressed).collect();
            assert_eq!(held_back, [true, false, false, false]);
        },
    )
    .await;
}

/// The fingerprint of a service's only alert.
async fn fingerprint_of(server: &TestServer, service: &str) -> (String, Value) {
    let alerts: Vec<Value> = serde_json::from_str(&server.get("/api/v1/alerts").await.1).expect("JSON");
    let alert = alerts.into_iter().find(|one| one["service"] == service).expect("its alert");
    (alert["fingerprint"].as_str().expect("a fingerprint").to_owned(), alert)
}

#[tokio::test(flavor = "multi_thread")]
async fn automatic_suppression_is_earned_and_lost() {
    const DECISIONS: usize = 106;
    let token = |config: &mut server::config::Config| config.access.api_token = Some(Secret::new(TOKEN));
    serve_with(token, async |server: &mut TestServer| {
        let two_days = 2 * 86_400;
        for number in 0..DECISIONS {
            let service = format!("svc{number}");
            send_alert(server, webhook(&service, "a", "retrying in 17 ms", two_days)).await;
            if number % 20 == 19 && number < 100 {
                assert_eq!(press(server, "/review/mode", "rule=*&mode=auto").await, 400, "after {number}");
            }
            let (fingerprint, _) = fingerprint_of(server, &service).await;
            assert_eq!(press(server, &format!("/review/{fingerprint}/approve"), "").await, 200);
        }
        assert_eq!(press(server, "/review/mode", "rule=*&mode=auto").await, 200);
        let held = send_alert(server, webhook("another", "a", "retrying in 21 ms", two_days)).await;
        assert_eq!(held["suppressed"], 1, "{:?}", fingerprint_of(server, "another").await);
        // Another rule has shown nothing of its own yet, whatever its alerts look like.
        let other = webhook("another", "a", "retrying in 21 ms", two_days).replace("Retries", "Backlog");
        assert_eq!(send_alert(server, other).await["heard"], 1);
        let (status, said) = server
            .post(&server.page("/review/mode"), "application/x-www-form-urlencoded", "rule=Backlog&mode=auto")
            .await;
        assert_eq!(status, 400);
        assert!(said.contains("automatic for Backlog needs 10 more decisions of its own"), "{said}");
        let (_, rules) = server.get("/review/rules").await;
        assert!(rules.contains("auto needs 10 more decisions"), "{rules}");
        // The first two were no proposals: nothing had been learned yet.
        assert!(rules.contains("104 of 104 proposals were right"), "{rules}");
        // What is new is news, and what is dangerous is heard.
        let new = send_alert(server, webhook("newcomer", "a", "retrying in 21 ms", 60)).await;
        let fatal = send_alert(server, webhook("fatal", "a", "panic: retrying in 21 ms", two_days)).await;
        assert_eq!((new["heard"].clone(), fatal["heard"].clone()), (json!(1), json!(1)));
        // Once it came back, it is never suppressed by itself again.
        let back = send_alert(server, webhook("another", "b", "retrying in 21 ms", 600)).await;
        let again = send_alert(server, webhook("another", "b", "retrying in 21 ms", 300)).await;
        assert_eq!((back["heard"].clone(), again["heard"].clone()), (json!(1), json!(1)));
    })
    .await;
}

fn form(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn channel(name: &str, target: Target) -> Channel {
    Channel { name: name.into(), severity: domain::Severity::Warning, services: None, alerts: true, target }
}

#[tokio::test(flavor = "multi_thread")]
async fn news_reach_every_channel_and_what_cannot_be_sent_is_kept() {
    let (slack_fake, slack_url) = Fake::start(&[(429, "")]).await;
    let (pagerduty, pagerduty_url) = Fake::start(&[]).await;
    let (teams, teams_url) = Fake::start(&[]).await;
    let (hook, hook_url) = Fake::start(&[]).await;
    let (_broken, broken_url) = Fake::start(&[(400, "no such hook"), (202, "")]).await;
    let secret = || Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    let channels = vec![
        channel(
            "chat",
            Target::Slack { channel: "C1".into(), token: secret(), api: format!("{slack_url}/api") },
        ),
        channel("pager", Target::Pagerduty { routing_key: secret(), api: pagerduty_url }),
        channel("teams", Target::Teams { url: Secret::new(teams_url), private: true }),
        channel("hook", Target::Webhook { url: Secret::new(hook_url), secret: secret(), private: true }),
        channel("broken", Target::Webhook { url: Secret::new(broken_url), secret: secret(), private: true }),
        channel(
            "inside",
            Target::Webhook { url: Secret::new("https://127.0.0.1:1/"), secret: secret(), private: false },
        ),
    ];
    let settings = |config: &mut server::config::Config| {
        config.access.api_token = Some(Secret::new(TOKEN));
        config.notify = channels.clone();
    };
    serve_with(settings, async |server: &mut TestServer| {
        send_alert(server, webhook("cart", "a", "token=hunter2hunter2 refused", 10)).await;
        for (name, fake) in
            [("slack", &slack_fake), ("pagerduty", &pagerduty), ("teams", &teams), ("hook", &hook)]
        {
            let wanted = if name == "slack" { 2 } else { 1 };
            server.until(name, async |_: &TestServer| (fake.seen().len() >= wanted).then_some(())).await;
            let said = serde_json::to_string(&fake.seen()).expect("JSON");
            assert!(!said.contains("hunter2"), "{name} got a secret: {said}");
            assert!(fake.faults().is_empty(), "{name}: {:?}", fake.faults());
        }
        let (_, body) = pagerduty.seen().remove(0);
        assert_eq!(body["event_action"], "trigger");
        let headers = hook.headers(0);
        assert!(headers["webhook-signature"].to_str().expect("text").starts_with("v1,"));
        let letters = server.until("letters", async |server: &TestServer| {
            let page = server.get("/settings").await.1;
            (page.contains("no such hook") && page.contains("private network")).then_some(page)
        });
        let page = letters.await;
        assert!(!page.contains("whsec_"), "secrets are not shown");
        // A test is news of its own.
        assert_eq!(press(server, "/settings/notify/pager/test", "").await, 200);
        server.until("the test", async |_: &TestServer| (pagerduty.seen().len() == 2).then_some(())).await;
        assert_eq!(press(server, "/settings/notify/nobody/test", "").await, 404);
        // The letter is tried again, and settled.
        let id =
            page.split("/letters/").skip(1).map(|rest| rest.split('/').next().unwrap_or_default().to_owned());
        for id in id {
            press(server, &format!("/settings/notify/letters/{id}/retry"), "").await;
        }
        server
            .until("the letter", async |server: &TestServer| {
                (!server.get("/settings").await.1.contains("no such hook")).then_some(())
            })
            .await;
    })
    .await;
}

async fn slack_post(server: &TestServer, path: &str, body: &str) -> (u16, String) {
    let timestamp = now().seconds().to_string();
    let tag = signature::hmac(SIGNING.as_bytes(), &[b"v0:", timestamp.as_bytes(), b":", body.as_bytes()]);
    let hex: String = tag.iter().map(|byte| format!("{byte:02x}")).collect();
    let request = server
        .http()
        .post(server.page(path))
        .header("x-slack-request-timestamp", timestamp)
        .header("x-slack-signature", format!("v0={hex}"))
        .body(body.to_owned());
    let answer = request.send().await.expect("an answer");
    (answer.status().as_u16(), answer.text().await.expect("a body"))
}

#[tokio::test(flavor = "multi_thread")]
async fn slack_is_answered_at_once_and_then_in_full() {
    let (fake, url) = Fake::start(&[]).await;
    let host = url.trim_start_matches("http://").to_owned();
    let settings = |config: &mut server::config::Config| {
        config.slack = Some(server::config::Slack {
            signing_secret: Secret::new(SIGNING),
            bot_token: Some(Secret::new("xoxb")),
            users: vec![SlackUser { id: "U1".into(), name: "on call".into() }],
            response_hosts: vec![host.clone()],
            api: format!("{url}/api"),
        });
    };
    serve_with(settings, async |server: &mut TestServer| {
        let command = |text: &str| {
            format!("command=%2Fwhy&user_id=U1&text={}&response_url={}", form(text), form(&format!("{url}/commands/1")))
        };
        let (status, _) = server.post(&server.page("/slack/command"), "text/plain", command("x")).await;
        assert_eq!(status, 401, "unsigned");
        let (status, said) = slack_post(server, "/slack/command", &command("help")).await;
        assert!(status == 200 && said.contains("/why incident"), "{said}");
        let (status, _) = slack_post(server, "/slack/command", &command("help")).await;
        assert!(status == 401 || status == 200, "a replay within the second is refused");
        let (_, said) = slack_post(server, "/slack/command", &command("<!channel>*chekout*")).await;
        assert!(said.contains("Looking at") && !said.contains("<!channel>"), "{said}");
        server.until("the answer", async |_: &TestServer| (fake.seen().len() == 1).then_some(())).await;
        let (path, message) = fake.seen().remove(0);
        assert_eq!((path.as_str(), &message["replace_original"]), ("/commands/1", &json!(true)));
        assert!(message["text"].as_str().is_some_and(|text| text.contains("nothing is known of a service")), "{message}");

        let elsewhere = "command=%2Fwhy&user_id=U1&text=cart&response_url=https%3A%2F%2Fevil.example%2F";
        let (_, said) = slack_post(server, "/slack/command", elsewhere).await;
        assert!(said.contains("not one of Slack"), "{said}");

        let (_, said) = slack_post(server, "/slack/event", r#"{"type":"url_verification","challenge":"abc"}"#).await;
        assert_eq!(said, r#"{"challenge":"abc"}"#);
        let mention = json!({"type": "event_callback", "event_id": "E1", "event": {
            "type": "app_mention", "user": "U1", "channel": "C1", "ts": "1.1", "text": "<@B> incident INC-0007"}});
        slack_post(server, "/slack/event", &mention.to_string()).await;
        server.until("the reply", async |_: &TestServer| (fake.seen().len() == 3).then_some(())).await;
        let paths: Vec<String> = fake.seen().into_iter().skip(1).map(|(path, _)| path).collect();
        assert_eq!(paths, ["/api/chat.postMessage", "/api/chat.update"]);
        let last = fake.seen().remove(2).1;
        assert!(last["text"].as_str().is_some_and(|text| text.contains("no incident")), "{last}");

        let payload = |user: &str| {
            let press = json!({"type": "block_actions", "user": {"id": user}, "response_url": format!("{url}/commands/2"),
                "actions": [{"action_id": "suppress", "value": "alert-0000000000000000"}]});
            format!("payload={}", form(&press.to_string()))
        };
        slack_post(server, "/slack/action", &payload("U2")).await;
        server.until("the refusal", async |_: &TestServer| (fake.seen().len() == 4).then_some(())).await;
        assert!(fake.seen()[3].1["text"].as_str().is_some_and(|text| text.contains("not among the people")));
        assert!(fake.faults().is_empty(), "{:?}", fake.faults());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incident_is_told_updated_and_explained_when_asked() {
    let (chat, url) = Fake::start(&[]).await;
    let (pager, pager_url) = Fake::start(&[(503, "")]).await;
    let host = url.trim_start_matches("http://").to_owned();
    let secret = || Secret::new("0123456789abcdef0123456789abcdef");
    let settings = |config: &mut server::config::Config| {
        config.slack = Some(server::config::Slack {
            signing_secret: Secret::new(SIGNING),
            bot_token: Some(secret()),
            users: Vec::new(),
            response_hosts: vec![host.clone()],
            api: format!("{url}/api"),
        });
        config.notify = vec![
            channel(
                "chat",
                Target::Slack { channel: "C1".into(), token: secret(), api: format!("{url}/api") },
            ),
            channel("pager", Target::Pagerduty { routing_key: secret(), api: pager_url.clone() }),
        ];
    };
    serve_with(settings, async |server: &mut TestServer| {
        crate::incident::break_payment(server).await;
        let incident = crate::incident::investigated(server).await;
        let verdict = incident.summary.clone();
        let told = server
            .until("the verdict on the pager", async |_: &TestServer| {
                let triggers = pager.seen();
                triggers.into_iter().rev().find(|(_, body)| {
                    body["payload"]["custom_details"]["confidence"]
                        .as_str()
                        .is_some_and(|said| !said.is_empty())
                })
            })
            .await;
        assert_eq!(told.1["dedup_key"], incident.id.to_string());
        assert!(
            told.1["payload"]["custom_details"]["verdict"].as_str().is_some_and(|said| !said.is_empty()),
            "{verdict}"
        );
        // One message, replaced when more is known.
        server
            .until("an update in chat", async |_: &TestServer| {
                chat.seen().iter().any(|(path, _)| path == "/api/chat.update").then_some(())
            })
            .await;
        let posted = chat
            .seen()
            .iter()
            .filter(|(path, body)| {
                path == "/api/chat.postMessage"
                    && body["text"].as_str().is_some_and(|text| text.contains("payment"))
            })
            .count();
        assert!(posted <= 2, "an incident is told once: {posted}");

        let service = incident.findings[0].service.clone();
        let body = format!(
            "command=%2Fwhy&user_id=U1&text={}&response_url={}",
            form(&service),
            form(&format!("{url}/commands/1"))
        );
        let began = tokio::time::Instant::now();
        let (status, _) = slack_post(server, "/slack/command", &body).await;
        let acknowledged = began.elapsed();
        assert_eq!(status, 200);
        let answer = server
            .until("the answer", async |_: &TestServer| {
                chat.seen().into_iter().find(|(path, _)| path == "/commands/1")
            })
            .await;
        eprintln!("/why was acknowledged in {acknowledged:?} and answered in {:?}", began.elapsed());
        let answer = answer.1.to_string();
        assert!(
            answer.contains("payment")
                && answer.contains("What caused it")
                && answer.contains("(confidence: "),
            "{answer}"
        );
        assert!(chat.faults().is_empty() && pager.faults().is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_are_read_only_and_behind_the_token() {
    let token = |config: &mut server::config::Config| config.access.api_token = Some(Secret::new(TOKEN));
    serve_with(token, async |server: &mut TestServer| {
        let call = async |server: &TestServer, body: Value| -> Value {
            let request = server.http().post(server.page("/mcp")).bearer_auth(TOKEN).json(&body);
            request.send().await.expect("an answer").json().await.expect("JSON")
        };
        let (status, _) = server.post(&server.page("/mcp"), "application/json", "{}").await;
        assert_eq!(status, 401);
        let hello = call(server, json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-03-26"}})).await;
        assert_eq!(hello["result"]["protocolVersion"], "2025-03-26");
        let tools = call(server, json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"})).await;
        let tools = tools["result"]["tools"].as_array().expect("tools").clone();
        let names: Vec<_> = tools.iter().map(|tool| tool["name"].as_str().unwrap_or_default()).collect();
        assert_eq!(names, ["list_incidents", "get_incident", "why", "evidence", "similar"]);
        assert!(tools.iter().all(|tool| tool["annotations"]["readOnlyHint"] == true));
        let tool = |name: &str, arguments: Value| json!({"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": {"name": name, "arguments": arguments}});
        let none = call(server, tool("list_incidents", json!({}))).await;
        assert_eq!(none["result"]["structuredContent"]["all"], 0);
        let unknown = call(server, tool("why", json!({"service": "nobody"}))).await;
        assert_eq!(unknown["result"]["isError"], true);
        let missing = call(server, json!({"jsonrpc": "2.0", "id": 4, "method": "tools/delete"})).await;
        assert_eq!(missing["error"]["code"], -32601);
        let why = server.http().get(server.page("/api/v1/why/nobody")).bearer_auth(TOKEN).send().await.expect("an answer");
        assert_eq!(why.status().as_u16(), 404);
    })
    .await;
}

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

/// Serves what `router` answers; its address.
async fn listening(router: axum::Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let base = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    base
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
