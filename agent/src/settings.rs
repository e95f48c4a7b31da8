//! The settings of the agent: one TOML file, flags for the common few.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::identity::Rule;

/// What can be set between measurements: rates are told by the minute.
pub const INTERVAL_SECONDS: RangeInclusive<u64> = 1..=60;

/// Everything that can be set. Unknown names are refused.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where telemetry goes, OTLP over gRPC.
    pub server: String,
    /// Headers of each request, for servers that want a token.
    pub headers: BTreeMap<String, String>,
    /// Holds what waits while the server is away, and how far logs were read.
    pub data: PathBuf,
    /// Most bytes that wait there.
    pub spool_bytes: u64,
    /// Where `/metrics` is served; nowhere when it is set to `""`.
    #[serde(deserialize_with = "optional_address")]
    pub metrics: Option<SocketAddr>,
    /// `host.name`; by default what the system calls itself.
    pub host: Option<String>,
    /// Where `/` of the host is, when the agent runs in a container: `/host`.
    pub root: PathBuf,
    /// Processor cores that the agent may use; above it, it captures less and says so.
    pub cores: f64,
    /// How often measurements are made and shipped, in seconds, [`INTERVAL_SECONDS`].
    pub interval_seconds: u64,
    /// Peers told apart for each service; the rest is `other`.
    pub peers: usize,
    /// What is looked at.
    pub watch: Watch,
    /// Which logs are followed.
    pub logs: Logs,
    /// Names of services, by program or command line; the first that matches counts.
    pub service: Vec<ServiceRule>,
}

/// Parts that can be left out.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct Watch {
    /// Requests, from the heads of what is read and written.
    pub requests: bool,
    /// Requests inside TLS.
    pub tls: bool,
    /// Where processor time goes.
    pub profiles: bool,
}

/// Logs.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct Logs {
    /// Files, such as `/var/log/**/*.log`; those of containers are among them by default.
    pub files: Vec<String>,
    /// Whether the journal of systemd is followed, where there is one.
    pub journal: bool,
}

/// One rule.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct ServiceRule {
    /// A pattern for the path of the program: `/opt/**/bin/api`.
    pub program: Option<String>,
    /// A regular expression for the command line.
    pub command: Option<String>,
    /// The name.
    pub name: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            server: "http://127.0.0.1:4317".to_owned(),
            headers: BTreeMap::new(),
            data: "/var/lib/inquest-agent".into(),
            spool_bytes: 256 << 20,
            metrics: Some(([127, 0, 0, 1], 9469).into()),
            host: None,
            root: "/".into(),
            cores: 0.2,
            interval_seconds: 10,
            peers: 50,
            watch: Watch::default(),
            logs: Logs::default(),
            service: Vec::new(),
        }
    }
}

impl Default for Logs {
    fn default() -> Self {
        let containers = ["/var/log/pods/*/*/*.log", "/var/lib/docker/containers/*/*-json.log"];
        Self { files: containers.map(str::to_owned).to_vec(), journal: true }
    }
}

impl Default for Watch {
    fn default() -> Self {
        Self { requests: true, tls: true, profiles: true }
    }
}

/// An address and port; none for the empty text.
pub fn address(text: &str) -> Result<Option<SocketAddr>, std::net::AddrParseError> {
    if text.is_empty() { Ok(None) } else { text.parse().map(Some) }
}

fn optional_address<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<SocketAddr>, D::Error> {
    let text = String::deserialize(from)?;
    address(&text).map_err(|error| serde::de::Error::custom(format!("metrics = {text:?}: {error}")))
}

impl Settings {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let settings: Self = toml::from_str(&text).with_context(|| format!("in {}", path.display()))?;
        settings.rules().with_context(|| format!("in {}", path.display()))?;
        anyhow::ensure!(
            INTERVAL_SECONDS.contains(&settings.interval_seconds),
            "in {}: interval_seconds = {} is not from {} to {}",
            path.display(),
            settings.interval_seconds,
            INTERVAL_SECONDS.start(),
            INTERVAL_SECONDS.end()
        );
        anyhow::ensure!(
            settings.cores.is_finite() && settings.cores > 0.0,
            "in {}: cores = {} is not a number of cores",
            path.display(),
            settings.cores
        );
        Ok(settings)
    }

    /// The rules, ready for use.
    pub fn rules(&self) -> Result<Vec<Rule>> {
        self.service
            .iter()
            .map(|rule| {
                anyhow::ensure!(
                    rule.program.is_some() || rule.command.is_some(),
                    "the service {:?} needs a `program` or a `command` to be known by",
                    rule.name
                );
                let glob =
                    |text: &String| Ok::<_, globset::Error>(globset::Glob::new(text)?.compile_matcher());
                Ok(Rule {
                    program: rule.program.as_ref().map(glob).transpose()?,
                    command: rule.command.as_deref().map(regex::Regex::new).transpose()?,
                    name: rule.name.clone(),
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<Settings> {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), text).expect("written");
        Settings::read(file.path())
    }

    #[test]
    fn a_file() {
        let settings = check(
            "cores = 0.5\n[watch]\ntls = false\n[[service]]\nprogram = \"/opt/*/api\"\nname = \"api\"\n",
        );
        let settings = settings.expect("good");
        assert_eq!((settings.cores, settings.watch.tls, settings.watch.requests), (0.5, false, true));
        assert_eq!(settings.rules().expect("good").len(), 1);
        assert_eq!(check("").expect("good"), Settings::default());
        assert_eq!(check("metrics = \"\"").expect("good").metrics, None);
        let elsewhere = check("metrics = \"[::1]:80\"").expect("good").metrics;
        assert_eq!(elsewhere, Some("[::1]:80".parse().expect("an address")));
    }

    #[test]
    fn mistakes() {
        for (text, said) in [
            ("sever = \"x\"", "unknown field `sever`"),
            ("metrics = \"here\"", "metrics = \"here\": invalid socket address"),
            ("cores = -1.0", "not a number of cores"),
            ("interval_seconds = 0", "interval_seconds = 0 is not from 1 to 60"),
            ("interval_seconds = 61", "interval_seconds = 61 is not from 1 to 60"),
            ("[[service]]\nname = \"x\"", "needs a `program` or a `command`"),
            ("[[service]]\nname = \"x\"\ncommand = \"(\"", "unclosed group"),
        ] {
            let error = format!("{:#}", check(text).expect_err("a mistake"));
            assert!(error.contains(said), "{error}");
        }
    }
}
