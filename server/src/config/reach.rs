//! Settings of how the answer reaches people: the token of programs, noise, Slack, notifications.

use std::fmt;

use detectors::suppression::Mode;
use domain::Severity;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{NameGlob, Ratio};

/// What must be kept secret: written as it is, or as `env:NAME` to be read from the environment. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    value: String,
    /// As it stood in the file, when that gives nothing away.
    named: Option<String>,
}

impl Secret {
    /// A secret that is known.
    pub fn new(value: impl Into<String>) -> Self {
        Self { value: value.into(), named: None }
    }

    /// The secret itself.
    pub fn expose(&self) -> &str {
        &self.value
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(…)")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let secret = match text.strip_prefix("env:") {
            None => Self::new(text),
            Some(name) => match std::env::var(name) {
                Ok(value) => Self { value: value.trim().to_owned(), named: Some(text) },
                Err(_) => {
                    return Err(serde::de::Error::custom(format!(
                        "the environment variable {name} is not set"
                    )));
                }
            },
        };
        match secret.value.is_empty() {
            true => Err(serde::de::Error::custom("a secret is not empty")),
            false => Ok(secret),
        }
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.named.as_deref().unwrap_or("(secret)"))
    }
}

/// Who may use the API for programs.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Access {
    /// The token that MCP and webhooks of alerts must carry (`Authorization: Bearer`). Without it MCP is switched off.
    pub api_token: Option<Secret>,
}

/// Which alerts may be held back.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Noise {
    /// `observe` or `recommend` for rules that nobody set apart on the review page. `auto` is switched on there, once
    /// earned.
    pub mode: Mode,
    /// Services whose alerts are never held back.
    pub protected: Vec<NameGlob>,
    /// Confidence from which suppression is proposed.
    pub threshold: Option<Ratio>,
    /// Days that a suppression lasts, at most 90.
    pub expiry_days: Option<u32>,
    /// Address of an Alertmanager that approved suppressions of its alerts are told to, as silences.
    pub alertmanager: Option<String>,
}

/// The Slack app.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slack {
    /// "Signing Secret" of the app.
    pub signing_secret: Secret,
    /// "Bot User OAuth Token", for mentions and for posting to channels.
    #[serde(default)]
    pub bot_token: Option<Secret>,
    /// Slack users who may press buttons that change something; empty for none.
    #[serde(default)]
    pub users: Vec<SlackUser>,
    /// Hosts that answers may be posted to.
    #[serde(default = "slack_hosts")]
    pub response_hosts: Vec<String>,
    /// Address of Slack's API.
    #[serde(default = "slack_api")]
    pub api: String,
}

/// A Slack user, and what they may do.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlackUser {
    /// `U0123ABCD`.
    pub id: String,
    /// The name that the audit notes.
    pub name: String,
}

fn slack_hosts() -> Vec<String> {
    vec!["hooks.slack.com".into()]
}

fn slack_api() -> String {
    "https://slack.com/api".into()
}

/// Where news of incidents is sent. Each channel takes what matches; none takes anything until it is named here.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Channel {
    /// Its name, as settings and letters show it.
    pub name: String,
    /// The mildest severity that is sent.
    #[serde(default = "warning")]
    pub severity: Severity,
    /// Services that it is for; all when left out.
    #[serde(default)]
    pub services: Option<NameGlob>,
    /// Whether alerts that are heard are sent as well as incidents.
    #[serde(default)]
    pub alerts: bool,
    /// What it is.
    #[serde(flatten)]
    pub target: Target,
}

const fn warning() -> Severity {
    Severity::Warning
}

/// What a channel is.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Target {
    /// A channel in Slack, through the app.
    Slack {
        /// `C0123ABCD`.
        channel: String,
        /// "Bot User OAuth Token".
        token: Secret,
        /// Address of Slack's API.
        #[serde(default = "slack_api")]
        api: String,
    },
    /// A Workflows webhook of Microsoft Teams.
    Teams {
        /// Its address, which is secret.
        url: Secret,
        /// Whether an address within a private network is meant.
        #[serde(default)]
        private: bool,
    },
    /// A service of PagerDuty.
    Pagerduty {
        /// Its integration key (Events API v2).
        routing_key: Secret,
        /// Address of the API.
        #[serde(default = "pagerduty_api")]
        api: String,
    },
    /// A team of Opsgenie.
    Opsgenie {
        /// Its API key.
        key: Secret,
        /// Address of the API.
        #[serde(default = "opsgenie_api")]
        api: String,
    },
    /// Anything that takes JSON, signed as Standard Webhooks are.
    Webhook {
        /// Its address.
        url: Secret,
        /// What it is signed with: `whsec_` and base64, or any text.
        secret: Secret,
        /// Whether an address within a private network is meant.
        #[serde(default)]
        private: bool,
    },
}

fn pagerduty_api() -> String {
    "https://events.pagerduty.com".into()
}

fn opsgenie_api() -> String {
    "https://api.opsgenie.com".into()
}
