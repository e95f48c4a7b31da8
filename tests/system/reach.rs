//! The answer reaches people: alerts and their review, Slack, notifications, tools. Other companies' servers are played
//! in-process (`fakes`), within the limits that they document.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use domain::IncidentEvent;
use serde_json::{Value, json};
use server::config::{Channel, Config, NameGlob, Secret, SlackUser, Target};
use server::signature;

use crate::fakes::{Company, Fake};
use crate::harness::{TestServer, now, serve_with};
use crate::slow_model::{FakeModel, Play};

const TOKEN: &str = "a token of tests";
const SIGNING: &str = "8f742231b10e8888abcd99yyyzzz85a5";
/// Signs webhooks.
const HOOK: &str = "a secret of hooks";
/// Keys of PagerDuty have 32 characters.
const KEY: &str = "0123456789abcdef0123456789abcdef";

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
        config.noise.protected = serde_json::from_value(json!(["vault"])).expect("patterns");
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

fn chat(url: &str) -> Target {
    Target::Slack { channel: "C1".into(), token: Secret::new("xoxb"), api: format!("{url}/api") }
}

fn hook(url: &str) -> Target {
    Target::Webhook { url: Secret::new(url), secret: Secret::new(HOOK), private: true }
}

fn pager(url: &str) -> Target {
    Target::Pagerduty { routing_key: Secret::new(KEY), api: url.into() }
}

/// What settings show of letters, once it has all of these words.
async fn letters(server: &TestServer, words: &[&str]) -> String {
    let page = server.until("letters", async |server: &TestServer| {
        let page = server.get("/settings").await.1;
        words.iter().all(|words| page.contains(words)).then_some(page)
    });
    page.await
}

#[tokio::test(flavor = "multi_thread")]
async fn news_reach_every_channel_and_what_cannot_be_sent_is_kept() {
    // Each asks to wait a second at first.
    let busy = [(429, "")];
    let (slack_fake, slack_url) = Fake::start(Company::Slack, &busy).await;
    let (pagerduty, pagerduty_url) = Fake::start(Company::Pagerduty, &busy).await;
    let (teams, teams_url) = Fake::start(Company::Teams, &busy).await;
    let (opsgenie, opsgenie_url) = Fake::start(Company::Opsgenie, &busy).await;
    let (hooked, hook_url) = Fake::start(Company::Webhook(HOOK), &busy).await;
    let broken = [(400, "no such hook"), (202, "")];
    let (_broken, broken_url) = Fake::start(Company::Webhook(HOOK), &broken).await;
    let refusing = [(200, r#"{"ok":false,"error":"channel_not_found"}"#)];
    let (_refusing, refusing_url) = Fake::start(Company::Slack, &refusing).await;
    let channels = vec![
        channel("chat", chat(&slack_url)),
        channel("pager", pager(&pagerduty_url)),
        channel("teams", Target::Teams { url: Secret::new(teams_url), private: true }),
        channel("duty", Target::Opsgenie { key: Secret::new("key"), api: opsgenie_url }),
        channel("hook", hook(&hook_url)),
        channel("broken", hook(&broken_url)),
        channel("refusing", chat(&refusing_url)),
        channel(
            "inside",
            Target::Webhook {
                url: Secret::new("https://127.0.0.1:1/"),
                secret: Secret::new(HOOK),
                private: false,
            },
        ),
    ];
    let settings = |config: &mut Config| {
        config.access.api_token = Some(Secret::new(TOKEN));
        config.notify = channels.clone();
    };
    serve_with(settings, async |server: &mut TestServer| {
        let flood = format!("token=hunter2hunter2 refused {}", "<!channel> *x* ".repeat(400));
        send_alert(server, webhook("cart", "a", &flood, 10)).await;
        let fakes = [
            ("slack", &slack_fake),
            ("pagerduty", &pagerduty),
            ("teams", &teams),
            ("opsgenie", &opsgenie),
            ("hook", &hooked),
        ];
        for (name, fake) in fakes {
            server.until(name, async |_: &TestServer| (fake.seen().len() == 2).then_some(())).await;
            let said = serde_json::to_string(&fake.seen()).expect("JSON");
            assert!(!said.contains("hunter2"), "{name} got a secret: {said}");
            assert_eq!(fake.faults(), [""; 0], "{name}");
        }
        assert_eq!(pagerduty.seen()[1].1["event_action"], "trigger");
        let page = letters(server, &["no such hook", "private network", "channel_not_found"]).await;
        assert!(!page.contains(HOOK) && !page.contains("xoxb"), "secrets are not shown");
        // A test is news of its own.
        assert_eq!(press(server, "/settings/notify/pager/test", "").await, 200);
        server.until("the test", async |_: &TestServer| (pagerduty.seen().len() == 3).then_some(())).await;
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

#[tokio::test(flavor = "multi_thread")]
async fn news_go_where_their_severity_and_service_lead() {
    let mut fakes = Vec::new();
    let mut channels = Vec::new();
    let glob = |pattern: &str| Some(serde_json::from_value::<NameGlob>(json!(pattern)).expect("a pattern"));
    let (warning, critical) = (domain::Severity::Warning, domain::Severity::Critical);
    for (name, severity, services, expected) in [
        ("all", warning, None, &["cart", "payment", "payment-db"][..]),
        ("critical", critical, None, &["payment"]),
        ("payments", warning, glob("payment*"), &["payment", "payment-db"]),
        ("others", warning, glob("{cart,search}"), &["cart"]),
    ] {
        let (fake, url) = Fake::start(Company::Webhook(HOOK), &[]).await;
        channels.push(Channel { severity, services, ..channel(name, hook(&url)) });
        fakes.push((name, fake, expected));
    }
    let settings = |config: &mut Config| {
        config.access.api_token = Some(Secret::new(TOKEN));
        config.notify = channels.clone();
    };
    serve_with(settings, async |server: &mut TestServer| {
        for (service, severity) in [("cart", "warning"), ("payment", "critical"), ("payment-db", "warning")] {
            let body = webhook(service, "a", "slow", 10).replace("\"warning\"", &format!("\"{severity}\""));
            send_alert(server, body).await;
        }
        let (_, all, expected) = &fakes[0];
        server.until("all", async |_: &TestServer| (all.seen().len() == expected.len()).then_some(())).await;
        // Channels send in order: what came before the test is all there is.
        for (name, fake, expected) in &fakes {
            assert_eq!(press(server, &format!("/settings/notify/{name}/test"), "").await, 200);
            let seen = server.until("the test", async |_: &TestServer| {
                let seen = fake.seen();
                seen.last().is_some_and(|(_, body)| body["type"] == "incident.test").then_some(seen)
            });
            let seen = seen.await;
            let services: Vec<&str> =
                seen.iter().filter_map(|(_, body)| body["data"]["service"].as_str()).collect();
            assert_eq!(services[..services.len() - 1], **expected, "{name}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_stop_cuts_off_is_told_at_the_start_or_kept() {
    let (fake, url) = Fake::start(Company::Webhook(HOOK), &[]).await;
    let settings = |config: &mut Config| {
        config.access.api_token = Some(Secret::new(TOKEN));
        config.notify = vec![channel("hook", hook(&url))];
    };
    serve_with(settings, async |server: &mut TestServer| {
        crate::incident::break_payment(server).await;
        let incident = crate::incident::investigated(server).await;
        let kinds = |kind: &str| fake.seen().iter().filter(|(_, body)| body["type"] == kind).count();
        server
            .until("the incident", async |_: &TestServer| {
                let told = fake.seen().pop()?.1;
                told["data"]["confidence"].as_str().filter(|said| !said.is_empty()).map(|_| ())
            })
            .await;
        fake.refuse(true);
        assert_eq!(press(server, &format!("/incidents/{}/resolve", incident.id), "").await, 200);
        server.until("a try", async |_: &TestServer| (kinds("incident.resolved") > 0).then_some(())).await;
        // The end waits to be tried again, and the alert waits behind it.
        send_alert(server, webhook("mailer", "a", "retrying in 17 ms", 10)).await;
        fake.refuse(false);
        let tried = kinds("incident.resolved");
        server.restart_with(settings).await;
        server
            .until("the end", async |_: &TestServer| (kinds("incident.resolved") > tried).then_some(()))
            .await;
        // The end is told, so that only the alert remains.
        server
            .until("one letter", async |server: &TestServer| {
                let page = server.get("/settings").await.1;
                (page.matches("the program stopped before").count() == 1 && page.contains("retrying in"))
                    .then_some(())
            })
            .await;
        // What was told is not told again.
        server.restart_with(settings).await;
        assert_eq!(press(server, "/settings/notify/hook/test", "").await, 200);
        server.until("the test", async |_: &TestServer| (kinds("incident.test") == 1).then_some(())).await;
        assert_eq!(kinds("incident.resolved"), tried + 1);
        assert_eq!(fake.faults(), [""; 0]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_into_the_queue_is_kept() {
    // It takes requests and never answers.
    let silent = listening(axum::Router::new().fallback(std::future::pending::<()>)).await;
    let settings = |config: &mut Config| {
        config.access.api_token = Some(Secret::new(TOKEN));
        config.notify = vec![channel("silent", hook(&silent))];
    };
    serve_with(settings, async |server: &mut TestServer| {
        for batch in 0..9 {
            let alerts = (0..30).map(|number| {
                let one: Value =
                    serde_json::from_str(&webhook(&format!("svc{batch}-{number}"), "a", "retrying", 10))
                        .expect("JSON");
                one["alerts"][0].clone()
            });
            let all = json!({"version": "4", "alerts": alerts.collect::<Vec<_>>()});
            assert_eq!(send_alert(server, all.to_string()).await["heard"], 30);
        }
        letters(server, &["too much waited to be sent"]).await;
    })
    .await;
}

/// The headers with which Slack sends a body now.
fn signed(body: &str) -> [(&'static str, String); 2] {
    let timestamp = now().seconds().to_string();
    let tag = signature::hmac(SIGNING.as_bytes(), &[b"v0:", timestamp.as_bytes(), b":", body.as_bytes()]);
    let hex: String = tag.iter().map(|byte| format!("{byte:02x}")).collect();
    [("x-slack-request-timestamp", timestamp), ("x-slack-signature", format!("v0={hex}"))]
}

async fn slack_send(
    server: &TestServer,
    path: &str,
    body: &str,
    headers: &[(&str, String)],
) -> (u16, String) {
    let mut request = server.http().post(server.page(path)).body(body.to_owned());
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    let answer = request.send().await.expect("an answer");
    (answer.status().as_u16(), answer.text().await.expect("a body"))
}

async fn slack_post(server: &TestServer, path: &str, body: &str) -> (u16, String) {
    slack_send(server, path, body, &signed(body)).await
}

/// Settings of the app at this fake; `U1` may decide.
fn app_at(url: &str) -> server::config::Slack {
    server::config::Slack {
        signing_secret: Secret::new(SIGNING),
        bot_token: Some(Secret::new("xoxb")),
        users: vec![SlackUser { id: "U1".into(), name: "on call".into() }],
        response_hosts: vec![url.trim_start_matches("http://").to_owned()],
        api: format!("{url}/api"),
    }
}

fn command_of(url: &str, text: &str, number: usize) -> String {
    let response_url = form(&format!("{url}/commands/{number}"));
    format!("command=%2Fwhy&user_id=U1&text={}&response_url={response_url}", form(text))
}

/// The buttons of a message: what they do, and what they are about.
fn buttons(message: &Value) -> Vec<(String, String)> {
    let blocks = message["blocks"].as_array().into_iter().flatten();
    let elements = blocks.filter(|block| block["type"] == "actions").flat_map(|block| {
        block["elements"].as_array().into_iter().flatten().map(|one| {
            let value = one["value"].as_str().or(one["url"].as_str()).unwrap_or_default();
            (one["action_id"].as_str().unwrap_or_default().to_owned(), value.to_owned())
        })
    });
    elements.collect()
}

/// `U1` presses a button; `number` tells the places to answer to apart.
async fn press_in_slack(server: &TestServer, url: &str, (action, value): &(String, String), number: usize) {
    let press = json!({
        "type": "block_actions", "user": {"id": "U1"}, "channel": {"id": "C7"},
        "response_url": format!("{url}/commands/press-{number}"),
        "actions": [{"action_id": action, "value": value}],
    });
    let body = format!("payload={}", form(&press.to_string()));
    assert_eq!(slack_post(server, "/slack/action", &body).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn slack_is_answered_at_once_and_then_in_full() {
    let (fake, url) = Fake::start(Company::Slack, &[]).await;
    let settings = |config: &mut Config| config.slack = Some(app_at(&url));
    serve_with(settings, async |server: &mut TestServer| {
        let command = |text: &str| command_of(&url, text, 1);
        let (status, _) = server.post(&server.page("/slack/command"), "text/plain", command("x")).await;
        assert_eq!(status, 401, "unsigned");
        let help = command("help");
        let headers = signed(&help);
        let (status, said) = slack_send(server, "/slack/command", &help, &headers).await;
        assert!(status == 200 && said.contains("/why incident"), "{said}");
        let (status, said) = slack_send(server, "/slack/command", &help, &headers).await;
        assert_eq!(status, 401, "the same request again: {said}");
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
    let (chatted, url) = Fake::start(Company::Slack, &[]).await;
    let (pager_fake, pager_url) = Fake::start(Company::Pagerduty, &[(503, "")]).await;
    let (duty, duty_url) = Fake::start(Company::Opsgenie, &[]).await;
    let settings = |config: &mut Config| {
        config.slack = Some(app_at(&url));
        let duty = Target::Opsgenie { key: Secret::new("key"), api: duty_url.clone() };
        config.notify =
            vec![channel("chat", chat(&url)), channel("pager", pager(&pager_url)), channel("duty", duty)];
    };
    serve_with(settings, async |server: &mut TestServer| {
        crate::incident::break_payment(server).await;
        let incident = crate::incident::investigated(server).await;
        let verdict = incident.summary.clone();
        let told = server
            .until("the verdict on the pager", async |_: &TestServer| {
                let triggers = pager_fake.seen();
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
                chatted.seen().iter().any(|(path, _)| path == "/api/chat.update").then_some(())
            })
            .await;
        let posted = chatted
            .seen()
            .iter()
            .filter(|(path, body)| {
                path == "/api/chat.postMessage"
                    && body["text"].as_str().is_some_and(|text| text.contains("payment"))
            })
            .count();
        assert!(posted <= 2, "an incident is told once: {posted}");

        // One alert at Opsgenie, whose texts are changed in their place.
        let description = format!("/v2/alerts/{}/description", incident.id);
        let changed = server.until("a change at Opsgenie", async |_: &TestServer| {
            duty.all().into_iter().find(|seen| seen.path == description)
        });
        assert!(changed.await.body["description"].as_str().is_some_and(|text| text.contains("payment")));
        let made = duty
            .all()
            .into_iter()
            .filter(|seen| seen.path == "/v2/alerts" && seen.body["alias"] == incident.id.to_string());
        assert_eq!(made.count(), 1);
        assert_eq!(duty.faults(), [""; 0]);

        let service = incident.findings[0].service.clone();
        // Asked a few times: the machine may be busy once.
        let (mut acknowledged, mut answered) = (Vec::new(), Vec::new());
        for number in 0..5 {
            let began = tokio::time::Instant::now();
            let (status, _) = slack_post(server, "/slack/command", &command_of(&url, &service, number)).await;
            acknowledged.push(began.elapsed());
            assert_eq!(status, 200);
            let path = format!("/commands/{number}");
            let answer = server.until("the answer", async |_: &TestServer| {
                chatted.seen().into_iter().find(|(to, _)| *to == path)
            });
            let answer = answer.await.1.to_string();
            answered.push(began.elapsed());
            assert!(
                answer.contains("payment")
                    && answer.contains("What caused it")
                    && answer.contains("(confidence: "),
                "{answer}"
            );
        }
        acknowledged.sort();
        answered.sort();
        let (acknowledged, answered) = (acknowledged[2], answered[2]);
        eprintln!("/why, in the middle of five: acknowledged in {acknowledged:?}, answered in {answered:?}");
        assert!(acknowledged < Duration::from_millis(300), "{acknowledged:?}");
        assert!(answered < Duration::from_secs(2), "{answered:?}");
        assert_eq!((chatted.faults(), pager_fake.faults()), (vec![], vec![]));

        // Somebody deletes the message: that it is over is told in a new one.
        chatted.forget();
        let before = chatted.seen().len();
        assert_eq!(press(server, &format!("/incidents/{}/resolve", incident.id), "").await, 200);
        server
            .until("a new message", async |_: &TestServer| {
                let mut seen = chatted.seen().into_iter().skip(before);
                seen.any(|(path, body)| {
                    path == "/api/chat.postMessage" && body.to_string().contains("Resolved")
                })
                .then_some(())
            })
            .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_button_in_slack_does_what_it_says() {
    let (fake, url) = Fake::start(Company::Slack, &[]).await;
    let settings = |config: &mut Config| {
        config.access.api_token = Some(Secret::new(TOKEN));
        config.slack = Some(app_at(&url));
        config.notify = vec![channel("chat", chat(&url))];
    };
    serve_with(settings, async |server: &mut TestServer| {
        // The latest message that says this, and has these buttons.
        let message = async |server: &TestServer, words: &str, actions: &[&str]| {
            server
                .until(words, async |_: &TestServer| {
                    let seen = fake.seen().into_iter().rev().map(|(_, body)| body);
                    let buttons_of =
                        |body: &Value| buttons(body).into_iter().map(|(action, _)| action).collect();
                    let mut wanted = seen.filter(|body| body.to_string().contains(words));
                    wanted.find(|body| {
                        let found: Vec<String> = buttons_of(body);
                        found == actions
                    })
                })
                .await
        };
        let said = async |server: &TestServer, number: usize| {
            let path = format!("/commands/press-{number}");
            let said = server.until("an answer to the press", async |_: &TestServer| {
                fake.seen().into_iter().find(|(to, _)| *to == path)
            });
            said.await.1["text"].as_str().unwrap_or_default().to_owned()
        };
        let pick = |message: &Value, action: &str| {
            buttons(message).into_iter().find(|(known, _)| known == action).expect("the button")
        };
        let audited = async |server: &TestServer, words: &str| {
            server.get("/review/audit").await.1.matches(words).count()
        };

        send_alert(server, webhook("mailer", "a", "retrying in 17 ms", 60)).await;
        send_alert(server, webhook("sender", "a", "giving way to others", 60)).await;
        send_alert(server, webhook("printer", "a", "panic: disk full", 60)).await;
        let alert = message(server, "retrying", &["open", "suppress", "not_noise"]).await;
        let other = message(server, "giving way", &["open", "suppress", "not_noise"]).await;
        // No button promises what a rule forbids.
        message(server, "disk full", &["open", "not_noise"]).await;

        press_in_slack(server, &url, &pick(&alert, "suppress"), 1).await;
        assert!(said(server, 1).await.starts_with("Suppressed"));
        press_in_slack(server, &url, &pick(&alert, "suppress"), 2).await;
        assert!(said(server, 2).await.contains("already"));
        assert_eq!(audited(server, "Approved").await, 1, "pressed twice is decided once");
        assert!(server.get("/review/audit").await.1.contains("on call in Slack"));
        press_in_slack(server, &url, &pick(&other, "not_noise"), 3).await;
        assert!(said(server, 3).await.starts_with("Noted"));
        press_in_slack(server, &url, &pick(&other, "not_noise"), 4).await;
        assert!(said(server, 4).await.starts_with("Noted already"));
        assert_eq!(audited(server, "Rejected").await, 1);

        crate::incident::break_payment(server).await;
        let incident = crate::incident::investigated(server).await;
        let told = message(server, &incident.id.to_string(), &["open", "right", "wrong"]).await;
        let link = pick(&told, "open").1;
        assert!(link.ends_with(&format!("/incidents/{}", incident.id.0)), "{link}");
        let verdicts = |server: &TestServer| -> Vec<(String, String)> {
            let known =
                server.incidents().into_iter().find(|one| one.id == incident.id).expect("the incident");
            let events = known.events.into_iter().filter_map(|(_, event)| match event {
                IncidentEvent::Feedback { actor, verdict, .. } => Some((actor, verdict)),
                _ => None,
            });
            events.collect()
        };
        for (number, action) in [(5, "right"), (6, "right"), (7, "wrong")] {
            press_in_slack(server, &url, &pick(&told, action), number).await;
            assert!(said(server, number).await.contains(&format!("is {action}")));
        }
        let actor = "on call in Slack".to_owned();
        assert_eq!(verdicts(server), [(actor.clone(), "right".to_owned()), (actor, "wrong".to_owned())]);

        // Asked for oneself, and then shown to all.
        let command = command_of(&url, &incident.id.to_string(), 1).replace("text=", "text=incident%20");
        assert_eq!(slack_post(server, "/slack/command", &command).await.0, 200);
        let mine = server.until("the answer", async |_: &TestServer| {
            fake.seen().into_iter().find(|(to, _)| to == "/commands/1")
        });
        let mine = mine.await.1;
        assert_eq!(mine["response_type"], "ephemeral");
        press_in_slack(server, &url, &pick(&mine, "post"), 8).await;
        let posted = server.until("the post", async |_: &TestServer| {
            fake.seen().into_iter().find(|(_, body)| body["channel"] == "C7")
        });
        let (path, posted) = posted.await;
        assert_eq!(path, "/api/chat.postMessage");
        assert!(posted.to_string().contains("What caused it"), "{posted}");
        // A link opens by itself: nothing is said about it.
        let count = fake.seen().len();
        press_in_slack(server, &url, &pick(&mine, "open"), 9).await;
        assert!(!fake.seen()[count..].iter().any(|(to, _)| to == "/commands/press-9"));
        assert_eq!(fake.faults(), [""; 0]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_in_slack_is_answered_before_the_model_and_then_in_its_words() {
    let (fake, url) = Fake::start(Company::Slack, &[]).await;
    let model = FakeModel::start(Play::After(Duration::ZERO)).await;
    let settings = |config: &mut Config| {
        config.slack = Some(app_at(&url));
        model.configure(config);
    };
    serve_with(settings, async |server: &mut TestServer| {
        crate::incident::break_payment(server).await;
        let incident = crate::incident::investigated(server).await;
        server.until("the telling", async |_: &TestServer| (model.asked() > 0).then_some(())).await;
        model.behave(Play::Silence);
        let question = format!("incident {} which errors are there?", incident.id);
        let (status, _) = slack_post(server, "/slack/command", &command_of(&url, &question, 1)).await;
        assert_eq!(status, 200);
        let answers = || -> Vec<Value> {
            fake.seen().into_iter().filter(|(to, _)| to == "/commands/1").map(|(_, body)| body).collect()
        };
        let first = server.until("an answer", async |_: &TestServer| answers().into_iter().next());
        let first = first.await.to_string();
        assert!(first.contains("Written from template") && first.contains("citations checked"), "{first}");
        assert_eq!(answers().len(), 1);
        model.let_go(9);
        let second = server.until("the model's words", async |_: &TestServer| answers().into_iter().nth(1));
        let second = second.await;
        assert_eq!(second["replace_original"], true);
        let second = second.to_string();
        assert!(second.contains("Written by parrot") && second.contains("citations checked"), "{second}");
        assert!(second.contains("[E"), "what is cited is named: {second}");
        assert_eq!(fake.faults(), [""; 0]);
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
        crate::incident::break_payment(server).await;
        let incident = crate::incident::investigated(server).await;
        let id = incident.id.to_string();
        let one = call(server, tool("get_incident", json!({"id": id}))).await;
        let one = &one["result"]["structuredContent"];
        assert_eq!((&one["id"], &one["root_service"]), (&json!(id), &json!("payment")));
        assert!(one["answer"]["cause"].as_array().is_some_and(|cause| !cause.is_empty()), "{one}");
        let shown = call(server, tool("evidence", json!({"id": id}))).await;
        let shown = shown["result"]["structuredContent"]["evidence"].as_array().expect("evidence").clone();
        assert!(shown.iter().all(|one| one["claim"].as_str().is_some_and(|claim| !claim.is_empty())), "{shown:?}");
        assert!(shown.iter().any(|one| one["service"] == "payment"), "{shown:?}");
        let similar = call(server, tool("similar", json!({"id": id}))).await;
        // It is the only one there ever was.
        assert_eq!(similar["result"]["structuredContent"], json!({"incident": id, "similar": []}));
        let why = call(server, tool("why", json!({"service": incident.service}))).await;
        let why = &why["result"]["structuredContent"];
        assert!(why["answer"]["cause"].to_string().contains("payment"), "{why}");
        assert!(why["evidence"].as_array().is_some_and(|evidence| !evidence.is_empty()), "{why}");
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
