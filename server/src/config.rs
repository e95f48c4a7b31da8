//! The settings: one tree of structs, read from a TOML file, checked once at the start.
//!
//! Order of precedence: command line, environment, file, defaults. The defaults stand in [`Config::default`] and the
//! `Default` of each part, and nowhere else. Constraints live in the types, so that the parser can point at the line.
//! The environment variables, each the same as a flag:
//!
//! | variable | flag | meaning |
//! |---|---|---|
//! | `INQUEST_CONFIG` | `--config` | config file |
//! | `INQUEST_DATA` | `--data` | data folder of the embedded engine |
//! | `INQUEST_CLICKHOUSE` | `--clickhouse` | address of a ClickHouse server, instead of the embedded engine |
//! | `INQUEST_LISTEN` | `--listen` | address of pages and API |
//! | `INQUEST_GRPC` | `--grpc` | address of OTLP over gRPC |
//! | `INQUEST_HTTP` | `--http` | address of OTLP over HTTP |
//! | `INQUEST_SERVER` | `--server` | address that `why` and `recording` ask |
//! | `INQUEST_MODEL_KEY` | | key of the language model, unless `narrator.key_env` names another variable |
//! | `INQUEST_LOG` | | what to log, as `info,ingest=debug` |
//! | `INQUEST_ENGINE` | | path of the engine's library, instead of fetching it |

mod burn;
mod duration;
mod inspections;
mod knowledge;
mod narrator;
mod problem;
mod reach;
mod slo;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

pub use burn::Burn;
pub use duration::{Keep, Span};
pub use inspections::InspectionLimits;
pub use knowledge::{Knowledge, Memory};
pub use narrator::{Narrator, Provider};
pub use problem::Problem;
pub use reach::{Access, Channel, Noise, Secret, Slack, SlackUser, Target};
pub use slo::{Counter, Millis, NameGlob, Ratio, SliRule, SloRule, table};

/// Everything that can be set.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where to listen.
    pub listen: Listen,
    /// Address under which people reach the pages, for links; the listening address when left out.
    pub public_url: Option<String>,
    /// Where telemetry is kept.
    pub storage: Storage,
    /// How long it is kept.
    pub retention: Retention,
    /// What is refused as too large.
    pub limits: Limits,
    /// When an incident is opened.
    pub detection: Detection,
    /// Limits of inspections that differ from the defaults.
    pub inspections: InspectionLimits,
    /// How an incident is looked into.
    pub investigation: Investigation,
    /// Who phrases the answers.
    pub narrator: Narrator,
    /// What is known of failures.
    pub knowledge: Knowledge,
    /// How past incidents are compared.
    pub memory: Memory,
    /// Objectives by service and endpoint; the last match wins.
    pub slo: Vec<SloRule>,
    /// Indicators made of metrics.
    pub sli: Vec<SliRule>,
    /// Who may use the API for programs.
    pub access: Access,
    /// Which alerts may be held back.
    pub noise: Noise,
    /// The Slack app; off when left out.
    pub slack: Option<Slack>,
    /// Where news of incidents is sent; nowhere when left out.
    pub notify: Vec<Channel>,
}

/// Where to listen. Port 0 takes a free one.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Listen {
    /// Pages, API, `/healthz`, `/readyz` and `/metrics`.
    pub pages: SocketAddr,
    /// OTLP over gRPC.
    pub grpc: SocketAddr,
    /// OTLP over HTTP.
    pub http: SocketAddr,
}

impl Default for Listen {
    fn default() -> Self {
        let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self { pages: loopback(8080), grpc: loopback(4317), http: loopback(4318) }
    }
}

/// Where telemetry is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Storage {
    /// Data folder of the embedded engine.
    pub data: PathBuf,
    /// A ClickHouse server instead of the embedded engine: `http://user:password@host:8123`.
    pub clickhouse: Option<String>,
    /// Database in it.
    pub database: String,
}

impl Default for Storage {
    fn default() -> Self {
        Self { data: "inquest-data".into(), clickhouse: None, database: "inquest".into() }
    }
}

/// How long each signal is kept: a length such as `30d`, or `forever`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// Spans.
    pub traces: Keep,
    /// Log records.
    pub logs: Keep,
    /// Metric samples.
    pub metrics: Keep,
    /// Profiles.
    pub profiles: Keep,
    /// Deploys, flags and other changes.
    pub changes: Keep,
    /// Per-minute aggregates of requests.
    pub aggregates: Keep,
}

impl Default for Retention {
    fn default() -> Self {
        let days = |days: u64| Keep::For(Span(Duration::from_secs(days * 86_400)));
        Self {
            traces: days(7),
            logs: days(7),
            metrics: days(30),
            profiles: days(7),
            changes: days(365),
            aggregates: days(90),
        }
    }
}

/// What is refused as too large. The defaults are `ingest`'s.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Largest request body, as sent and again once decompressed, in bytes.
    pub body_bytes: usize,
    /// Longest attribute value, log body or message in bytes; longer ones are cut, and counted.
    pub field_bytes: usize,
    /// Attributes kept per row.
    pub attributes: usize,
    /// Bytes being read, decoded or stored, before senders are told to wait.
    pub inflight_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        let limits = ingest::Limits::default();
        Self {
            body_bytes: limits.max_body_bytes,
            field_bytes: limits.max_field_bytes,
            attributes: limits.max_attributes,
            inflight_bytes: limits.max_inflight_bytes,
        }
    }
}

impl Limits {
    /// What `ingest` is handed.
    pub fn to_ingest(&self) -> ingest::Limits {
        ingest::Limits {
            max_body_bytes: self.body_bytes,
            max_field_bytes: self.field_bytes,
            max_attributes: self.attributes,
            max_inflight_bytes: self.inflight_bytes,
            ..ingest::Limits::default()
        }
    }
}

/// When an incident is opened and closed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Detection {
    /// Whether to look for incidents at all.
    pub enabled: bool,
    /// How often objectives are evaluated.
    pub every: Span,
    /// How long objectives must be met before an incident counts as over.
    pub resolve_after: Span,
    /// Windows and burn rates that fire, most urgent first. Ones that are given replace all of the default.
    pub burn: Vec<Burn>,
}

impl Default for Detection {
    fn default() -> Self {
        Self {
            enabled: true,
            every: Span(Duration::from_secs(10)),
            resolve_after: Span(Duration::from_secs(300)),
            burn: Burn::defaults(),
        }
    }
}

/// How an incident is looked into.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Investigation {
    /// Investigations that may run at once.
    pub concurrency: Concurrency,
    /// Longest an investigation may take.
    pub timeout: Span,
    /// Longest window looked at; an older start is cut to it.
    pub longest_window: Span,
}

impl Default for Investigation {
    fn default() -> Self {
        Self {
            concurrency: Concurrency(2),
            timeout: Span(Duration::from_secs(60)),
            longest_window: Span(Duration::from_secs(6 * 3600)),
        }
    }
}

/// How many of something may run at once: 1 to 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "usize", into = "usize")]
pub struct Concurrency(usize);

impl Concurrency {
    /// The number.
    pub const fn get(self) -> usize {
        self.0
    }
}

impl TryFrom<usize> for Concurrency {
    type Error = String;

    fn try_from(value: usize) -> Result<Self, String> {
        match value {
            1..=64 => Ok(Self(value)),
            _ => Err(format!("{value} is not between 1 and 64")),
        }
    }
}

impl From<Concurrency> for usize {
    fn from(concurrency: Concurrency) -> Self {
        concurrency.0
    }
}

impl Config {
    /// Reads a file.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the config file {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("the config file {} is wrong", path.display()))
    }

    /// Reads the text of a file.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        toml::from_str(text).map_err(|error| Problem::from_toml(&error, text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_problem(text: &str, expected: &str) {
        assert_eq!(Config::parse(text).unwrap_err().to_string(), expected);
    }

    #[test]
    fn an_empty_file_means_the_defaults() {
        let config = Config::parse("").unwrap();
        assert_eq!(config.listen.pages.to_string(), "127.0.0.1:8080");
        assert_eq!(config.retention.traces.duration(), Some(Duration::from_secs(7 * 86_400)));
    }

    #[test]
    fn a_full_file_is_read() {
        let config = Config::parse(
            "public_url = 'https://inquest.example'\n\
             [listen]\npages = '0.0.0.0:80'\n\
             [storage]\nclickhouse = 'http://localhost:8123'\n\
             [retention]\ntraces = '36h'\nchanges = 'forever'\n\
             [detection]\nevery = '30s'\n\
             [[detection.burn]]\nlong = '1h'\nshort = '5m'\nlimit = 14.4\nseverity = 'critical'\n\
             [[slo]]\nmatch = 'checkout*'\navailability = 0.995\nlatency_ms = 300\nlatency_ratio = 0.99\n\
             [[sli]]\nname = 'orders'\nservice = 'checkout'\nobjective = 0.99\n\
             good = { metric = 'orders_total', labels = { result = 'ok' } }\ntotal = { metric = 'orders_total' }",
        )
        .unwrap();
        assert_eq!(config.listen.grpc.port(), 4317);
        assert_eq!(config.retention.changes, Keep::Forever);
        assert_eq!(config.detection.every.0, Duration::from_secs(30));
        assert_eq!(table(&config.slo).of("checkout-eu").latency_ms, 300.0);
        assert_eq!(config.detection.burn.len(), 1);
        assert_eq!(config.sli[0].good.labels["result"], "ok");
    }

    #[test]
    fn what_is_written_can_be_read_back() {
        let text = toml::to_string(&Config::default()).unwrap();
        assert_eq!(toml::to_string(&Config::parse(&text).unwrap()).unwrap(), text);
    }

    #[test]
    fn a_mistake_is_shown_where_it_is() {
        check_problem(
            "[retention]\n\nlog = '1d'\n",
            "line 3, column 1: unknown field `log`, expected one of `traces`, `logs`, `metrics`, `profiles`, \
             `changes`, `aggregates`; did you mean `logs`?",
        );
        check_problem(
            "[retention]\nlogs = '5 years'\n",
            "line 2, column 8: `5 years` is not a length of time such as `30d`, `1h30m` or `250ms`, or `forever`",
        );
        check_problem(
            "[[slo]]\nmatch = 'a'\navailability = 99.5",
            "line 3, column 16: 99.5 is not a share strictly between 0 and 1, such as 0.995",
        );
        check_problem(
            "[[detection.burn]]\nlong = '5m'\nshort = '1h'\nlimit = 14.4\nseverity = 'critical'",
            "line 1, column 1: the short window (1h) is not shorter than the long one (5m)",
        );
        check_problem("[listen]\npages = '8080'", "line 2, column 9: invalid socket address syntax");
        check_problem("[listen\n", "line 1, column 8: unclosed table, expected `]`");
    }
}
