//! Posts to Slack: answers to a `response_url`, messages to channels. Hosts are from a list, sizes within limits.

use std::time::Duration;

use anyhow::Context as _;
use serde::Deserialize;
use serde_json::{Value, json};

use super::blocks::{MAX_BLOCKS, MAX_HEADER, MAX_SECTION, MAX_VALUE};
use crate::answer;

/// Longest that Slack may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Tries of one post.
const TRIES: u32 = 3;
/// Longest that we wait because Slack asks us to.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// Posts to Slack. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    api: String,
    token: Option<String>,
    hosts: Vec<String>,
}

/// A message that was posted.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Posted {
    /// The channel.
    #[serde(default)]
    pub channel: String,
    /// Its time, which names it.
    #[serde(default)]
    pub ts: String,
}

#[derive(Deserialize)]
struct Answer {
    ok: bool,
    #[serde(default)]
    error: String,
    #[serde(flatten)]
    posted: Posted,
}

impl Client {
    /// `api` is Slack's, `hosts` those that answers may be posted to.
    pub fn new(api: &str, token: Option<String>, hosts: Vec<String>) -> anyhow::Result<Self> {
        // A redirect would lead past the list of hosts.
        let http = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self { http, api: api.trim_end_matches('/').to_owned(), token, hosts })
    }

    /// Whether an answer may be posted there.
    pub fn allows(&self, response_url: &str) -> bool {
        let Ok(url) = reqwest::Url::parse(response_url) else { return false };
        let Some(host) = url.host_str() else { return false };
        let named = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        let loopback = matches!(host, "127.0.0.1" | "localhost" | "[::1]");
        let secure = url.scheme() == "https" || (loopback && url.scheme() == "http");
        secure && url.username().is_empty() && url.password().is_none() && self.hosts.contains(&named)
    }

    /// Answers a question where it was asked.
    pub async fn respond(&self, response_url: &str, message: &Value) -> anyhow::Result<()> {
        anyhow::ensure!(self.allows(response_url), "the address to answer to is not one of Slack's");
        check_limits(message).map_err(anyhow::Error::msg)?;
        self.send(|| self.http.post(response_url).json(message)).await.map(|_| ())
    }

    /// Posts to a channel, in a thread if one is named.
    pub async fn post(&self, channel: &str, thread: Option<&str>, message: &Value) -> anyhow::Result<Posted> {
        let mut message = message.clone();
        message["channel"] = json!(channel);
        message["unfurl_links"] = json!(false);
        if let Some(thread) = thread {
            message["thread_ts"] = json!(thread);
        }
        self.call("chat.postMessage", &message).await
    }

    /// Replaces a message.
    pub async fn update(&self, posted: &Posted, message: &Value) -> anyhow::Result<Posted> {
        let mut message = message.clone();
        message["channel"] = json!(posted.channel);
        message["ts"] = json!(posted.ts);
        self.call("chat.update", &message).await
    }

    async fn call(&self, method: &str, message: &Value) -> anyhow::Result<Posted> {
        check_limits(message).map_err(anyhow::Error::msg)?;
        let token = self.token.as_deref().context("the Slack app has no bot token")?;
        let url = format!("{}/{method}", self.api);
        let body = self.send(|| self.http.post(&url).bearer_auth(token).json(message)).await?;
        let answer: Answer = serde_json::from_slice(&body).context("Slack's answer cannot be read")?;
        anyhow::ensure!(answer.ok, "Slack refused {method}: {}", domain::text::plain(&answer.error, 80));
        Ok(answer.posted)
    }

    async fn send(&self, request: impl Fn() -> reqwest::RequestBuilder) -> anyhow::Result<Vec<u8>> {
        let mut tries = 0;
        loop {
            tries += 1;
            // The address is a secret: errors are told without it.
            let sent = request().send().await.map_err(reqwest::Error::without_url);
            let wait = match sent {
                Ok(response) => {
                    let status = response.status();
                    let asked = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
                    let asked = asked
                        .and_then(|text| text.parse().ok())
                        .map_or(Duration::from_secs(1), Duration::from_secs);
                    if status.is_success() {
                        return answer::whole(response, answer::MAX_BYTES).await;
                    }
                    anyhow::ensure!(
                        tries < TRIES && (status.as_u16() == 429 || status.is_server_error()),
                        "Slack answered {status}"
                    );
                    anyhow::ensure!(asked <= MAX_WAIT, "Slack asks to wait for {} s", asked.as_secs());
                    asked
                }
                Err(error) if tries < TRIES && (error.is_connect() || error.is_timeout()) => {
                    Duration::from_secs(1)
                }
                Err(error) => return Err(error).context("cannot reach Slack"),
            };
            tokio::time::sleep(wait).await;
        }
    }
}

/// Whether a message is within Slack's documented limits.
pub fn check_limits(message: &Value) -> Result<(), String> {
    let length = |value: &Value| value.as_str().map_or(0, |text| text.chars().count());
    if length(&message["text"]) == 0 {
        return Err("a message has a text besides its blocks".into());
    }
    let Some(blocks) = message["blocks"].as_array() else { return Ok(()) };
    if blocks.len() > MAX_BLOCKS {
        return Err(format!("{} blocks", blocks.len()));
    }
    for block in blocks {
        let text = length(&block["text"]["text"]);
        match block["type"].as_str() {
            Some("section") if (1..=MAX_SECTION).contains(&text) => {}
            Some("header") if (1..=MAX_HEADER).contains(&text) => {}
            Some("context") if block["elements"].as_array().is_some_and(|list| list.len() <= 10) => {}
            Some("actions") => {
                let elements = block["elements"].as_array().map(Vec::as_slice).unwrap_or_default();
                let fits = |element: &Value| {
                    length(&element["text"]["text"]) <= 75
                        && length(&element["value"]) <= MAX_VALUE
                        && length(&element["url"]) <= 3000
                        && (1..=255).contains(&length(&element["action_id"]))
                };
                if elements.is_empty() || elements.len() > 25 || !elements.iter().all(fits) {
                    return Err("buttons beyond the limits".into());
                }
            }
            other => return Err(format!("a block of kind {other:?} with {text} characters")),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_go_to_slack_alone() {
        let client = Client::new("https://slack.com/api", None, vec!["hooks.slack.com".into()]).unwrap();
        assert!(client.allows("https://hooks.slack.com/commands/1/2/3"));
        for url in [
            "http://hooks.slack.com/commands/1",
            "https://hooks.slack.com.evil.example/x",
            "https://hooks.slack.com@evil.example/x",
            "https://user@hooks.slack.com/x",
            "https://evil.example/hooks.slack.com",
            "https://hooks.slack.com:8443/x",
            "http://169.254.169.254/latest/meta-data",
            "file:///etc/passwd",
            "",
        ] {
            assert!(!client.allows(url), "{url}");
        }
    }
}
