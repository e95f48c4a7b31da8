//! News of incidents at every channel: each once, changed in its place, and kept where it cannot be sent.

use super::*;

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
