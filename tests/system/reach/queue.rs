//! Alerts under review: held back by people's decisions, and back when something changes.

use super::*;

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
