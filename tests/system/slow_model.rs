//! A server of models that is slow, wrong, broken or silent: the answer reaches people from templates meanwhile.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use domain::{Incident, NarratedBy, Report};
use serde_json::{Value, json};
use server::config::{Channel, Config, Provider, Secret, Span, Target};
use tokio::sync::Semaphore;

use crate::harness::{TestServer, serve_with};
use crate::incident::{break_payment, investigated};

/// How the model behaves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Play {
    /// It repeats the evidence.
    Evidence,
    /// It says this.
    Words(&'static str),
    /// It answers with this status.
    Status(u16),
    /// It says nothing until it is let go; then it repeats the evidence.
    Silence,
}

/// Chat completions on a port of its own.
#[derive(Clone)]
pub struct FakeModel {
    play: Arc<Mutex<Play>>,
    asked: Arc<AtomicUsize>,
    free: Arc<Semaphore>,
    url: String,
}

impl FakeModel {
    pub async fn start(play: Play) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/v1", listener.local_addr().expect("an address"));
        let fake = Self {
            play: Arc::new(Mutex::new(play)),
            asked: Arc::default(),
            free: Arc::new(Semaphore::new(0)),
            url,
        };
        let model = fake.clone();
        let answer = move |body: String| {
            let model = model.clone();
            async move { model.answer(&body).await }
        };
        let router = axum::Router::new().fallback(answer);
        tokio::spawn(async move { axum::serve(listener, router).await });
        fake
    }

    async fn answer(&self, body: &str) -> Response {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let play = *self.play.lock().expect("a lock");
        let text = match play {
            Play::Status(status) => {
                return (StatusCode::from_u16(status).expect("a status"), "out of order").into_response();
            }
            Play::Words(words) => words.to_owned(),
            Play::Evidence => repeated(body),
            Play::Silence => {
                self.free.acquire().await.expect("it is never closed").forget();
                repeated(body)
            }
        };
        axum::Json(json!({
            "choices": [{"message": {"content": text}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 900, "completion_tokens": 80},
        }))
        .into_response()
    }

    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    pub fn behave(&self, play: Play) {
        *self.play.lock().expect("a lock") = play;
    }

    /// Lets so many of those that wait go.
    pub fn let_go(&self, count: usize) {
        self.free.add_permits(count);
    }

    pub fn configure(&self, config: &mut Config) {
        config.narrator.provider = Provider::OpenAi;
        config.narrator.base_url = Some(self.url.clone());
        config.narrator.model = "parrot".into();
        // Longer than any test: nothing may wait for it.
        config.narrator.timeout = Span(Duration::from_secs(600));
        config.narrator.month_tokens = Some(5_000_000);
    }
}

/// An answer that passes the checks: the first evidence for the verdict, as it stands in the prompt.
fn repeated(body: &str) -> String {
    let body: Value = serde_json::from_str(body).expect("JSON");
    let turns = body["messages"].as_array().expect("messages").iter();
    let text =
        turns.filter_map(|turn| turn["content"].as_str()).find(|text| text.starts_with("=== findings"));
    // Asked which lookups to make, it wants none.
    let Some(text) = text else { return json!({"lookups": []}).to_string() };
    let findings =
        text.split_once('\n').and_then(|(_, rest)| rest.split_once("\n=== end")).expect("an end").0;
    let findings: Value = serde_json::from_str(findings).expect("JSON");
    let candidate = |one: &&Value| one["id"] == findings["verdict"];
    let cited = findings["candidates"].as_array().expect("candidates").iter().find(candidate);
    let cited = cited.and_then(|one| one["evidence"][0].as_str()).unwrap_or("E1").to_owned();
    let evidence = findings["evidence"].as_array().expect("evidence").iter();
    let claim =
        evidence.clone().find(|one| one["id"] == cited.as_str()).expect("the evidence")["claim"].clone();
    let segments = json!([{"text": claim, "cites": [cited]}]);
    json!({"verdict": findings["verdict"], "going_on": segments, "cause": segments, "next_steps": []})
        .to_string()
}

/// Somebody who is told: an address, and what came there.
async fn told() -> (Channel, Arc<Mutex<Vec<Value>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noted = seen.clone();
    let take = move |axum::Json(body): axum::Json<Value>| async move {
        noted.lock().expect("a lock").push(body);
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(take)).await });
    let target =
        Target::Webhook { url: Secret::new(url), secret: Secret::new("a secret of tests"), private: true };
    let severity = domain::Severity::Warning;
    (Channel { name: "hook".into(), severity, services: None, alerts: false, target }, seen)
}

async fn report(server: &TestServer, incident: &Incident, run: Option<u32>) -> Report {
    let json = server.store().report_get(incident.id.0, run).await.expect("an answer").expect("a report");
    serde_json::from_str(&json).expect("a report")
}

/// Page, API and news say the cause, in the words of templates.
async fn is_whole(server: &TestServer, incident: &Incident, news: &Mutex<Vec<Value>>) {
    let (status, page) = server.get(&format!("/incidents/{}", incident.id)).await;
    assert_eq!(status, 200);
    assert!(page.contains("Most likely cause") && page.contains("payment"), "{page}");
    assert!(page.contains("Written from template"), "{page}");
    let (status, why) = server.get("/api/v1/why/payment").await;
    assert_eq!(status, 200);
    let why: Report = serde_json::from_str(&why).expect("a report");
    assert!(!why.answer.cause.is_empty() && !why.answer.next_steps.is_empty(), "{why:?}");
    let cause = server.until("the cause in the news", async |_: &TestServer| {
        let seen = news.lock().expect("a lock");
        seen.iter()
            .find(|one| one["data"]["confidence"].as_str().is_some_and(|said| !said.is_empty()))
            .cloned()
    });
    assert!(cause.await["data"]["verdict"].as_str().is_some_and(|said| said.contains("payment")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_never_answers_holds_up_no_run_and_no_late_telling_replaces_a_later_run() {
    let model = FakeModel::start(Play::Silence).await;
    let (channel, news) = told().await;
    let settings = |config: &mut Config| {
        model.configure(config);
        config.notify = vec![channel.clone()];
    };
    serve_with(settings, async |server: &mut TestServer| {
        break_payment(server).await;
        let incident = investigated(server).await;
        server.until("the question", async |_: &TestServer| (model.asked() == 1).then_some(())).await;
        is_whole(server, &incident, &news).await;
        // The next run comes while the model still owes its words on the first, and is told by a model that recovered.
        model.behave(Play::Evidence);
        let again = server.until("a second run", async |server: &TestServer| {
            server.incidents().into_iter().find(|one| one.id == incident.id && one.runs == 2)
        });
        again.await;
        let words = async |run| match report(server, &incident, run).await.narrated {
            NarratedBy::Model { model, .. } => Some(model),
            _ => None,
        };
        server.until("the telling of the second run", async |_: &TestServer| words(Some(2)).await).await;
        let latest = report(server, &incident, None).await;
        assert_eq!(words(Some(1)).await, None, "the first is still owed");
        model.let_go(1);
        server.until("the late telling", async |_: &TestServer| words(Some(1)).await).await;
        assert_eq!(report(server, &incident, None).await, latest);
        assert_eq!(model.asked(), 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_is_slow_or_wrong_or_broken_leaves_the_answer_whole() {
    for (play, expected) in [
        // Slow: until the answer was seen to be whole without it.
        (Play::Silence, "Written by parrot"),
        (Play::Words("I am a teapot."), "parrot gave an answer that is not of the form asked for"),
        (Play::Status(500), "parrot was busy (HTTP 500)"),
    ] {
        let model = FakeModel::start(play).await;
        let (channel, news) = told().await;
        let settings = |config: &mut Config| {
            model.configure(config);
            config.notify = vec![channel.clone()];
        };
        serve_with(settings, async |server: &mut TestServer| {
            break_payment(server).await;
            let incident = investigated(server).await;
            is_whole(server, &incident, &news).await;
            model.let_go(1);
            let page = server.until(expected, async |server: &TestServer| {
                let page = server.get(&format!("/incidents/{}", incident.id)).await.1;
                page.contains(expected).then_some(page)
            });
            let page = page.await;
            assert!(page.contains("Most likely cause"));
            if page.contains("Written by parrot") {
                // What the run used, and the month.
                assert!(page.contains("980 tokens"), "{page}");
                let (_, settings) = server.get("/settings/redaction").await;
                assert!(
                    settings.contains("This month") && settings.contains("980 of 5000000 tokens"),
                    "{settings}"
                );
            }
        })
        .await;
    }
}
