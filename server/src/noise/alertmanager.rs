//! Alertmanager: its webhook taken as alerts, and approved suppressions told to it as silences.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use detectors::suppression::Approval;
use domain::alert::{MAX_ALERT_NAME, MAX_ALERT_NUMBERS, MAX_ALERT_TEXT};
use domain::text::plain;
use domain::{Alert, AlertSource, Severity, UnixNanos};
use serde::{Deserialize, Serialize};

use crate::answer;

/// Largest webhook body, in bytes.
pub const MAX_BODY_BYTES: usize = 4 << 20;
/// Most alerts taken from one webhook; the rest is counted in the answer.
pub const MAX_ALERTS: usize = 2000;
/// Most labels kept of an alert.
const MAX_LABELS: usize = 40;
/// Longest that Alertmanager may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How far ahead the sender's clock may be. A time that is cut would be another one at each repeat, and look like news.
const CLOCKS: Duration = Duration::from_secs(300);

/// What Alertmanager sends (version 4). Fields that we do not use are passed over.
#[derive(Debug, Deserialize)]
pub struct Webhook {
    #[serde(default)]
    version: String,
    /// The alerts.
    pub alerts: Vec<WireAlert>,
}

/// One alert of a webhook.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WireAlert {
    status: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    #[serde(default)]
    starts_at: String,
    #[serde(default)]
    ends_at: String,
    #[serde(default)]
    fingerprint: String,
}

impl Webhook {
    /// Reads a body, or says what is wrong with it.
    pub fn parse(body: &[u8]) -> Result<Self, String> {
        let webhook: Self = serde_json::from_slice(body).map_err(|error| plain(&error.to_string(), 200))?;
        match webhook.version.as_str() {
            "" | "4" => Ok(webhook),
            other => Err(format!(
                "version {} of the webhook is unknown; this program reads version 4",
                plain(other, 20)
            )),
        }
    }

    /// Its alerts, at most [`MAX_ALERTS`], and how many were left out. Times that cannot be read, or that
    /// lie more than [`CLOCKS`] ahead, are taken as `now`: what is dated in the future would make all that follows it look old.
    pub fn into_alerts(self, now: UnixNanos) -> (Vec<Alert>, usize) {
        let left_out = self.alerts.len().saturating_sub(MAX_ALERTS);
        (self.alerts.into_iter().take(MAX_ALERTS).map(|alert| alert.into_alert(now)).collect(), left_out)
    }
}

impl WireAlert {
    fn into_alert(self, now: UnixNanos) -> Alert {
        let label = |names: &[&str]| {
            let found = names.iter().find_map(|name| self.labels.get(*name)).map(String::as_str);
            plain(found.unwrap_or_default(), MAX_ALERT_NAME)
        };
        let said = ["summary", "description", "message"].iter().find_map(|name| self.annotations.get(*name));
        let rule = label(&["alertname"]);
        let text = plain(said.map_or(rule.as_str(), String::as_str), MAX_ALERT_TEXT);
        let resolved = self.status == "resolved";
        let at = if resolved { &self.ends_at } else { &self.starts_at };
        let numbers =
            ["value", "threshold"].iter().filter_map(|name| Some((*name, self.annotations.get(*name)?)));
        Alert {
            source: AlertSource::Alertmanager,
            service: label(&["service", "service_name", "app", "application", "job", "deployment"]),
            severity: severity(self.labels.get("severity").map_or("", String::as_str)),
            host: label(&["instance", "pod", "node", "host", "hostname"]),
            version: label(&["version", "service_version", "image"]),
            pattern: plain(&detectors::log_template::mask(&text), MAX_ALERT_TEXT),
            numbers: numbers
                .take(MAX_ALERT_NUMBERS)
                .map(|(name, value)| (name.to_owned(), plain(value, MAX_ALERT_NAME)))
                .collect(),
            at: UnixNanos::parse(at).filter(|at| at.seconds() > 0 && *at <= now.plus(CLOCKS)).unwrap_or(now),
            resolved,
            objective: false,
            foreign_id: plain(&self.fingerprint, 64),
            labels: self
                .labels
                .iter()
                .take(MAX_LABELS)
                .map(|(name, value)| (plain(name, MAX_ALERT_NAME), plain(value, MAX_ALERT_NAME)))
                .collect(),
            rule,
            text,
        }
    }
}

/// What people write into `severity`.
fn severity(word: &str) -> Severity {
    match word.to_ascii_lowercase().as_str() {
        "critical" | "crit" | "error" | "page" | "fatal" | "emergency" | "p1" | "high" => Severity::Critical,
        "info" | "notice" | "none" | "debug" | "low" => Severity::Notice,
        _ => Severity::Warning,
    }
}

/// Tells Alertmanager of suppressions.
pub struct Silencer {
    base: String,
    client: reqwest::Client,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Silence {
    matchers: Vec<Matcher>,
    starts_at: String,
    ends_at: String,
    created_by: &'static str,
    comment: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Matcher {
    name: String,
    value: String,
    is_regex: bool,
    is_equal: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Created {
    #[serde(rename = "silenceID")]
    silence_id: String,
}

impl Silencer {
    /// At this address: `http://alertmanager:9093`.
    pub fn new(base: &str) -> anyhow::Result<Self> {
        anyhow::ensure!(
            base.starts_with("http://") || base.starts_with("https://"),
            "the address of Alertmanager begins with http:// or https://"
        );
        let client = reqwest::Client::builder().timeout(TIMEOUT).build()?;
        Ok(Self { base: base.trim_end_matches('/').to_owned(), client })
    }

    /// Silences what has the same labels, until the suppression ends; the id of the silence. The host is left out, so that
    /// the whole alert is silent, as it is here.
    pub async fn create(&self, alert: &Alert, approval: &Approval, now: UnixNanos) -> anyhow::Result<String> {
        let places = ["instance", "pod", "node", "host", "hostname"];
        let labels = alert.labels.iter().filter(|(name, _)| !places.contains(&name.as_str()));
        let matchers: Vec<Matcher> = labels
            .map(|(name, value)| Matcher {
                name: name.clone(),
                value: value.clone(),
                is_regex: false,
                is_equal: true,
            })
            .collect();
        // A silence without a name would silence everything.
        anyhow::ensure!(alert.labels.contains_key("alertname"), "the alert has no alertname");
        let silence = Silence {
            matchers,
            starts_at: now.to_string(),
            ends_at: approval.expires.to_string(),
            created_by: "inquest",
            comment: format!(
                "{}: approved in Inquest, fingerprint {}",
                approval.reason.words(),
                alert.fingerprint()
            ),
        };
        let response =
            self.client.post(format!("{}/api/v2/silences", self.base)).json(&silence).send().await?;
        let created = answer::json::<Created>(accepted(response).await?, answer::MAX_BYTES).await;
        Ok(created.context("the answer cannot be read")?.silence_id)
    }

    /// Ends a silence. One that is gone already is no error.
    pub async fn end(&self, id: &str) -> anyhow::Result<()> {
        let plain_id = id.chars().all(|character| character.is_ascii_alphanumeric() || character == '-');
        anyhow::ensure!(plain_id, "the id of the silence is not one");
        let response = self.client.delete(format!("{}/api/v2/silence/{id}", self.base)).send().await?;
        match response.status().as_u16() {
            404 => Ok(()),
            // Ending what has ended is answered with an error of this form.
            500 if answer::excerpt(response).await.contains("expired") => Ok(()),
            200..300 => Ok(()),
            other => anyhow::bail!("Alertmanager answered {other}"),
        }
    }
}

/// Whether Alertmanager could not be asked at all, as opposed to refusing what it was asked.
pub fn is_away(error: &anyhow::Error) -> bool {
    let asked = error.downcast_ref::<reqwest::Error>();
    asked.is_some_and(|error| error.is_connect() || error.is_timeout())
}

async fn accepted(response: reqwest::Response) -> anyhow::Result<reqwest::Response> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let said = answer::excerpt(response).await;
    anyhow::bail!("Alertmanager answered {status}: {}", plain(&said, 200))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixNanos = UnixNanos::from_seconds(1_795_096_951);

    fn check(labels: &str, annotations: &str, expected: (&str, &str, Severity, &str)) {
        let body = format!(
            r#"{{"version":"4","groupKey":"{{}}:{{}}","status":"firing","receiver":"inquest","notification_reason":"x","alerts":[
            {{"status":"firing","labels":{labels},"annotations":{annotations},"startsAt":"2026-11-19T14:02:31.5Z",
            "endsAt":"0001-01-01T00:00:00Z","generatorURL":"","fingerprint":"c0ffee"}}]}}"#
        );
        let (alerts, left_out) = Webhook::parse(body.as_bytes()).unwrap().into_alerts(NOW);
        let alert = &alerts[0];
        assert_eq!(
            (alert.rule.as_str(), alert.service.as_str(), alert.severity, alert.pattern.as_str()),
            expected
        );
        assert_eq!((alert.at.seconds(), left_out, alert.foreign_id.as_str()), (1_795_096_951, 0, "c0ffee"));
    }

    #[test]
    fn webhooks_become_alerts() {
        check(
            r#"{"alertname":"HighMemory","job":"cart","severity":"critical"}"#,
            r#"{"summary":"memory of 10.0.0.7 is 97%"}"#,
            (
                "HighMemory",
                "cart",
                Severity::Critical,
                &detectors::log_template::mask("memory of 10.0.0.7 is 97%"),
            ),
        );
        check(r#"{"alertname":"X","service":"a","job":"b"}"#, "{}", ("X", "a", Severity::Warning, "X"));
        check("{}", "{}", ("", "", Severity::Warning, ""));
    }

    #[test]
    fn an_alert_dated_in_the_future_is_taken_as_of_now() {
        let body = r#"{"alerts":[{"status":"firing","startsAt":"2100-01-01T00:00:00Z"},
            {"status":"resolved","endsAt":"2100-01-01T00:00:00Z"}]}"#;
        let (alerts, _) = Webhook::parse(body.as_bytes()).unwrap().into_alerts(NOW);
        assert_eq!(alerts.iter().map(|alert| alert.at).collect::<Vec<_>>(), [NOW, NOW]);
    }

    #[test]
    fn what_is_no_webhook_is_refused_with_a_reason() {
        for (body, reason) in
            [("", "EOF"), ("{}", "alerts"), (r#"{"version":"5","alerts":[]}"#, "version 5"), ("[1]", "")]
        {
            let error = Webhook::parse(body.as_bytes()).map(|_| ()).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[tokio::test]
    async fn an_answer_that_does_not_end_is_read_within_bounds() {
        let refusing = Silencer::new(&crate::answer::tests::endless(500).await).unwrap();
        let error = refusing.end("c0ffee").await.unwrap_err();
        assert_eq!(error.to_string(), "Alertmanager answered 500");
        assert!(!is_away(&error));
    }
}
