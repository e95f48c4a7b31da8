//! News in the form of each receiver, within the limits that it documents. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::UnixNanos;
use domain::text::plain;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::news::{Kind, News};
use crate::brief;
use crate::config::Target;
use crate::signature;
use crate::slack::blocks;

/// What is known of the last message about the same subject, where it can be changed in its place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Previous {
    /// Slack: the channel's id, which may differ from what the settings call it.
    #[serde(default)]
    pub channel: String,
    /// What names the message: its time in Slack, its alias in Opsgenie while it is open there. Empty when there is none.
    #[serde(default)]
    pub ts: String,
}

/// A request to send.
#[derive(Clone, Debug, PartialEq)]
pub struct Outgoing {
    /// How.
    pub method: Method,
    /// Where to.
    pub url: String,
    /// With which headers.
    pub headers: Vec<(&'static str, String)>,
    /// With which body.
    pub body: String,
    /// Whether an address within a private network is meant.
    pub private: bool,
}

/// Whether what was sent to this receiver can be changed in its place, unheard. Teams cannot: a workflow only posts. Nor can
/// PagerDuty, whose summary stays that of the first event, or a webhook.
pub const fn edits(target: &Target) -> bool {
    matches!(target, Target::Slack { .. } | Target::Opsgenie { .. })
}

/// The requests that tell a receiver, one after the other; at least one.
pub fn of(target: &Target, news: &News, previous: &Previous, now: UnixNanos) -> Vec<Outgoing> {
    vec![match target {
        Target::Opsgenie { key, api } => return opsgenie_requests(news, previous, key.expose(), api),
        Target::Slack { channel, token, api } => {
            let mut message = slack(news);
            let update = !previous.ts.is_empty();
            message["channel"] = json!(if update { &previous.channel } else { channel });
            message["unfurl_links"] = json!(false);
            if update {
                message["ts"] = json!(previous.ts);
            }
            let method = if update { "chat.update" } else { "chat.postMessage" };
            let headers = vec![("authorization", format!("Bearer {}", token.expose()))];
            outgoing(format!("{}/{method}", api.trim_end_matches('/')), headers, &message, true)
        }
        Target::Teams { url, private } => {
            outgoing(url.expose().to_owned(), Vec::new(), &teams(news), *private)
        }
        Target::Pagerduty { routing_key, api } => {
            let url = format!("{}/v2/enqueue", api.trim_end_matches('/'));
            outgoing(url, Vec::new(), &pagerduty(news, routing_key.expose()), true)
        }
        Target::Webhook { url, secret, private } => {
            let digest = news.digest();
            let id = format!("msg_{}_{digest}", news.subject);
            let timestamp = now.seconds().to_string();
            let body = webhook(news, &id).to_string();
            let key = match secret.expose().strip_prefix("whsec_").map(|text| STANDARD.decode(text)) {
                Some(Ok(key)) => key,
                _ => secret.expose().as_bytes().to_vec(),
            };
            let parts: [&[u8]; 5] = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body.as_bytes()];
            let signature = format!("v1,{}", STANDARD.encode(signature::hmac(&key, &parts)));
            let headers =
                vec![("webhook-id", id), ("webhook-timestamp", timestamp), ("webhook-signature", signature)];
            let url = url.expose().to_owned();
            Outgoing { method: Method::POST, url, headers, body, private: *private }
        }
    }]
}

/// What is known of the message that was just sent.
pub fn posted(target: &Target, news: &News) -> Previous {
    match target {
        Target::Opsgenie { .. } if news.kind != Kind::Resolved => {
            Previous { channel: String::new(), ts: alias(news) }
        }
        _ => Previous::default(),
    }
}

fn outgoing(url: String, headers: Vec<(&'static str, String)>, body: &Value, private: bool) -> Outgoing {
    Outgoing { method: Method::POST, url, headers, body: body.to_string(), private }
}

fn slack(news: &News) -> Value {
    let buttons = if news.is_alert() {
        blocks::alert_buttons(&news.subject, news.may_suppress)
    } else if news.is_incident() {
        blocks::incident_buttons(&news.subject, true)
    } else {
        Vec::new()
    };
    let name = news.is_incident().then_some(news.subject.as_str());
    blocks::answer(&news.brief(), name, Some(&news.link), &buttons)
}

/// Workflows take an adaptive card of at most about 28 KB, whose only buttons open addresses.
fn teams(news: &News) -> Value {
    let text = |text: String, weight: &str, limit: usize| json!({"type": "TextBlock", "text": teams_plain(&plain(&text, limit)), "weight": weight, "wrap": true});
    let mut body = vec![text(format!("{}: {}", news.word(), news.title), "Bolder", 400)];
    if !news.verdict.is_empty() {
        let confidence = if news.confidence.is_empty() {
            String::new()
        } else {
            format!(" (confidence: {})", news.confidence)
        };
        body.push(text(format!("{}{confidence}", news.verdict), "Default", 600));
    }
    body.extend(news.evidence.iter().take(3).map(|line| text(format!("– {line}"), "Default", 400)));
    body.push(json!({"type": "FactSet", "facts": [
        {"title": "Service", "value": teams_plain(&plain(&news.service, 200))},
        {"title": "Severity", "value": news.severity_word()},
        {"title": "Since", "value": news.started.to_string()},
    ]}));
    json!({"type": "message", "attachments": [{
        "contentType": "application/vnd.microsoft.card.adaptive",
        "content": {
            "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
            "type": "AdaptiveCard",
            "version": "1.4",
            "body": body,
            "actions": [{"type": "Action.OpenUrl", "title": "Open in Inquest", "url": news.link}],
        },
    }]})
}

/// Cards read a part of Markdown: its marks are escaped.
fn teams_plain(text: &str) -> String {
    let mut escaped = String::new();
    for character in text.chars() {
        if matches!(character, '[' | ']' | '(' | ')' | '*' | '_' | '#' | '`' | '<' | '>' | '!' | '\\') {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

fn pagerduty(news: &News, routing_key: &str) -> Value {
    let key = plain(&news.subject, 250);
    if news.kind == Kind::Resolved {
        return json!({"routing_key": routing_key, "event_action": "resolve", "dedup_key": key});
    }
    let severity = match news.severity {
        domain::Severity::Critical => "critical",
        domain::Severity::Warning => "warning",
        domain::Severity::Notice => "info",
    };
    json!({
        "routing_key": routing_key,
        "event_action": "trigger",
        "dedup_key": key,
        "client": "Inquest",
        "client_url": news.link,
        "links": [{"href": news.link, "text": "Open in Inquest"}],
        "payload": {
            "summary": plain(&news.title, 1000),
            "source": plain(if news.service.is_empty() { "inquest" } else { &news.service }, 200),
            "severity": severity,
            "timestamp": news.started.to_string(),
            "component": plain(&news.service, 200),
            "custom_details": {
                "verdict": news.verdict,
                "confidence": news.confidence,
                "evidence": news.evidence,
            },
        },
    })
}

fn alias(news: &News) -> String {
    plain(&news.subject, 500)
}

/// An alert is made once. Made again under its alias, it would only be counted: its texts are changed each by its own request.
fn opsgenie_requests(news: &News, previous: &Previous, key: &str, api: &str) -> Vec<Outgoing> {
    let base = format!("{}/v2/alerts", api.trim_end_matches('/'));
    let to = |url: String, body: Value| {
        outgoing(url, vec![("authorization", format!("GenieKey {key}"))], &body, true)
    };
    let alias = alias(news);
    let of_alert = |action: &str| format!("{base}/{}/{action}?identifierType=alias", path_segment(&alias));
    let alert = opsgenie(news, &alias);
    if news.kind == Kind::Resolved {
        return vec![to(of_alert("close"), json!({"source": "Inquest", "note": "resolved"}))];
    }
    if previous.ts.is_empty() {
        return vec![to(base, alert)];
    }
    let change =
        |field: &str| Outgoing { method: Method::PUT, ..to(of_alert(field), json!({ field: alert[field] })) };
    ["message", "description", "priority"].map(change).into()
}

fn opsgenie(news: &News, alias: &str) -> Value {
    let priority = match news.severity {
        domain::Severity::Critical => "P1",
        domain::Severity::Warning => "P3",
        domain::Severity::Notice => "P5",
    };
    let description =
        std::iter::once(&news.verdict).chain(&news.evidence).cloned().collect::<Vec<_>>().join("\n");
    json!({
        "message": plain(&news.title, 129),
        "alias": alias,
        "description": description.chars().take(14_000).collect::<String>(),
        "priority": priority,
        "source": "Inquest",
        "details": {"service": news.service, "confidence": news.confidence, "link": news.link},
    })
}

fn webhook(news: &News, id: &str) -> Value {
    let kind = match news.kind {
        Kind::Firing => "firing",
        Kind::Resolved => "resolved",
        Kind::Test => "test",
    };
    let about = if news.is_alert() { "alert" } else { "incident" };
    json!({
        "id": id,
        "type": format!("{about}.{kind}"),
        "timestamp": news.started.to_string(),
        "data": {
            "subject": news.subject,
            "severity": brief::severity(news.severity),
            "service": news.service,
            "title": news.title,
            "verdict": news.verdict,
            "confidence": news.confidence,
            "evidence": news.evidence,
            "link": news.link,
        },
    })
}

fn path_segment(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;
    use domain::Severity;

    fn news(kind: Kind) -> News {
        News {
            subject: "INC-0142".into(),
            kind,
            severity: Severity::Critical,
            service: "checkout".into(),
            title: "checkout availability 92.1%, objective 99%".into(),
            verdict: "The deploy of cart 1.4.2 is to blame.".into(),
            confidence: "High".into(),
            found: super::super::news::Found::default(),
            evidence: vec!["Errors began 21 s after the deploy.".into()],
            link: "https://inquest.example/incidents/142".into(),
            started: UnixNanos::from_seconds(1_795_096_951),
            may_suppress: false,
        }
    }

    fn targets() -> Vec<(&'static str, Target)> {
        let secret = || Secret::new("0123456789abcdef0123456789abcdef");
        vec![
            (
                "slack",
                Target::Slack { channel: "C1".into(), token: secret(), api: "https://slack.com/api".into() },
            ),
            ("teams", Target::Teams { url: Secret::new("https://teams.example/x"), private: false }),
            (
                "pagerduty",
                Target::Pagerduty { routing_key: secret(), api: "https://events.pagerduty.com".into() },
            ),
            ("opsgenie", Target::Opsgenie { key: secret(), api: "https://api.opsgenie.com".into() }),
        ]
    }

    #[test]
    fn every_receiver_gets_its_form() {
        for (name, target) in targets() {
            let shown: Vec<Value> = [Kind::Firing, Kind::Resolved]
                .into_iter()
                .flat_map(|kind| of(&target, &news(kind), &Previous::default(), UnixNanos(0)))
                .map(|out| json!({"url": out.url, "body": serde_json::from_str::<Value>(&out.body).unwrap()}))
                .collect();
            insta::assert_json_snapshot!(name, shown);
        }
    }

    #[test]
    fn floods_stay_within_the_limits() {
        let flood = "x*[<".repeat(30_000);
        let news = News {
            title: flood.clone(),
            verdict: plain(&flood, 400),
            service: plain(&flood, 200),
            evidence: vec![plain(&flood, 400); 3],
            ..news(Kind::Firing)
        };
        for (name, target) in targets() {
            for out in of(&target, &news, &Previous::default(), UnixNanos(0)) {
                assert!(out.body.len() < 28_000, "{name}: {}", out.body.len());
            }
        }
    }

    #[test]
    fn an_alert_at_opsgenie_is_made_once_and_changed_in_its_place() {
        let target = Target::Opsgenie { key: Secret::new("key"), api: "https://api.opsgenie.com".into() };
        let check = |news: &News, previous: &Previous, expected: &[(&str, &str)]| {
            let sent = of(&target, news, previous, UnixNanos(0));
            let sent: Vec<(String, String)> =
                sent.into_iter().map(|out| (format!("{} {}", out.method, out.url), out.body)).collect();
            assert_eq!(sent.len(), expected.len(), "{sent:?}");
            for ((line, body), (url, part)) in sent.iter().zip(expected) {
                assert_eq!(line, &url.replace("ALERTS", "https://api.opsgenie.com/v2/alerts"));
                assert!(body.contains(part), "{body}");
            }
        };
        let first = news(Kind::Firing);
        check(&first, &Previous::default(), &[("POST ALERTS", r#""alias":"INC-0142""#)]);
        let known = posted(&target, &first);
        let changed = News { verdict: "It was the database.".into(), ..news(Kind::Firing) };
        check(
            &changed,
            &known,
            &[
                ("PUT ALERTS/INC-0142/message?identifierType=alias", r#"{"message":"checkout availability"#),
                ("PUT ALERTS/INC-0142/description?identifierType=alias", "It was the database."),
                ("PUT ALERTS/INC-0142/priority?identifierType=alias", r#"{"priority":"P1"}"#),
            ],
        );
        let over = news(Kind::Resolved);
        check(&over, &known, &[("POST ALERTS/INC-0142/close?identifierType=alias", "resolved")]);
        assert_eq!(posted(&target, &over), Previous::default(), "when it comes again, it is another alert");
    }

    #[test]
    fn webhooks_are_signed_as_the_standard_has_it() {
        // The secret of the example in the Standard Webhooks specification.
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let target = Target::Webhook {
            url: Secret::new("https://a.example"),
            secret: Secret::new(secret),
            private: false,
        };
        let now = UnixNanos::from_seconds(1_614_265_330);
        let out = of(&target, &news(Kind::Firing), &Previous::default(), now).remove(0);
        let header = |name: &str| out.headers.iter().find(|(known, _)| *known == name).unwrap().1.clone();
        let key = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signed = format!("{}.{}.{}", header("webhook-id"), header("webhook-timestamp"), out.body);
        let tag = STANDARD.encode(signature::hmac(&key, &[signed.as_bytes()]));
        assert_eq!(header("webhook-signature"), format!("v1,{tag}"));
        // And the published vector itself.
        let body = br#"{"test": 2432232314}"#;
        let parts: [&[u8]; 2] = [b"msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.", body];
        assert_eq!(
            STANDARD.encode(signature::hmac(&key, &parts)),
            "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }
}
