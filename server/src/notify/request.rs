//! News in the form of each receiver, within the limits that it documents. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::UnixNanos;
use domain::text::plain;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::news::{Kind, News};
use crate::brief;
use crate::config::Target;
use crate::signature;
use crate::slack::blocks;

/// What is known of the last message about the same subject.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Previous {
    /// Slack: the channel's id, which may differ from what the settings call it.
    #[serde(default)]
    pub channel: String,
    /// Slack: what names the message.
    #[serde(default)]
    pub ts: String,
}

/// A request to send.
#[derive(Clone, Debug, PartialEq)]
pub struct Outgoing {
    /// Where to.
    pub url: String,
    /// With which headers.
    pub headers: Vec<(&'static str, String)>,
    /// With which body.
    pub body: String,
    /// Whether an address within a private network is meant.
    pub private: bool,
}

/// The request that tells a receiver.
pub fn of(target: &Target, news: &News, previous: &Previous, now: UnixNanos) -> Outgoing {
    match target {
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
        Target::Opsgenie { key, api } => {
            let headers = vec![("authorization", format!("GenieKey {}", key.expose()))];
            let alias = plain(&news.subject, 500);
            let base = format!("{}/v2/alerts", api.trim_end_matches('/'));
            match news.kind {
                Kind::Resolved => {
                    let url = format!("{base}/{}/close?identifierType=alias", path_segment(&alias));
                    outgoing(url, headers, &json!({"source": "Inquest", "note": "resolved"}), true)
                }
                _ => outgoing(base, headers, &opsgenie(news, &alias), true),
            }
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
            Outgoing { url: url.expose().to_owned(), headers, body, private: *private }
        }
    }
}

fn outgoing(url: String, headers: Vec<(&'static str, String)>, body: &Value, private: bool) -> Outgoing {
    Outgoing { url, headers, body: body.to_string(), private }
}

fn slack(news: &News) -> Value {
    let buttons = match news.kind {
        Kind::Test => Vec::new(),
        _ if news.is_alert() => vec![
            blocks::Button { label: "Suppress", action: "suppress", value: &news.subject },
            blocks::Button { label: "Not noise", action: "not_noise", value: &news.subject },
        ],
        _ => blocks::incident_buttons(&news.subject, true),
    };
    let name = (!news.is_alert() && news.kind != Kind::Test).then_some(news.subject.as_str());
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
            evidence: vec!["Errors began 21 s after the deploy.".into()],
            link: "https://inquest.example/incidents/142".into(),
            started: UnixNanos::from_seconds(1_795_096_951),
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
                .map(|kind| of(&target, &news(kind), &Previous::default(), UnixNanos(0)))
                .iter()
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
            let out = of(&target, &news, &Previous::default(), UnixNanos(0));
            assert!(out.body.len() < 28_000, "{name}: {}", out.body.len());
        }
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
        let out =
            of(&target, &news(Kind::Firing), &Previous::default(), UnixNanos::from_seconds(1_614_265_330));
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
