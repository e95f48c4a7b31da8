//! Questions, buttons and messages in Slack.

use super::*;

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
        let (status, said) = slack_post(server, "/slack/command", &command_of(&url, &service, 1)).await;
        assert!(status == 200 && said.contains("Looking at"), "{status} {said}");
        let answer = server.until("the answer", async |_: &TestServer| {
            chatted.seen().into_iter().find(|(to, _)| to == "/commands/1")
        });
        let answer = answer.await.1.to_string();
        for words in ["payment", "What caused it", "(confidence: "] {
            assert!(answer.contains(words), "no {words:?} in {answer}");
        }
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
    let model = FakeModel::start(Play::Evidence).await;
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
