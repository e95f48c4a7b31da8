//! The answer of a recorded incident, for scoring only.

use std::path::Path;

use anyhow::Context;
use serde::Deserialize;

/// What really happened. Fields that a set does not know are absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Label {
    /// The service to blame.
    #[serde(default)]
    pub root_service: Option<String>,
    /// Other right answers.
    #[serde(default)]
    pub acceptable: Vec<String>,
    /// Reference of the change to blame; `none` when no change is.
    #[serde(default)]
    pub culprit_change: Option<String>,
    /// Kind of fault, in the set's own words.
    #[serde(default)]
    pub fault_type: Option<String>,
    /// The metric that shows it.
    #[serde(default)]
    pub root_metric: Option<String>,
    /// The log statements between which behaviour diverges, joined by `_`.
    #[serde(default)]
    pub root_log_region: Option<String>,
}

impl Label {
    /// Reads `label.json` of a case; `None` when it has none.
    pub fn read(dir: &Path) -> anyhow::Result<Option<Self>> {
        let path = dir.join("label.json");
        if !path.exists() {
            return Ok(None);
        }
        let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("parse {}", path.display())).map(Some)
    }

    /// Whether a service is a right answer.
    pub fn accepts(&self, service: &str) -> bool {
        self.root_service.as_deref() == Some(service) || self.acceptable.iter().any(|other| other == service)
    }

    /// Whether it says that no change is to blame.
    pub fn no_change(&self) -> bool {
        self.culprit_change.as_deref() == Some("none")
    }

    /// The metric and the log statements that evidence should show; empty when the set knows none.
    pub fn signs(&self) -> Vec<&str> {
        let region = self.root_log_region.iter().flat_map(|region| region.split('_'));
        self.root_metric.as_deref().into_iter().chain(region).filter(|sign| !sign.is_empty()).collect()
    }
}
