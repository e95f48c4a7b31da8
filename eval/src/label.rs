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
}
