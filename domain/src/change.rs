//! Something a person or a pipeline changed.

use serde::{Deserialize, Serialize};

use crate::UnixNanos;

/// The kind of a change. Unknown kinds are kept as `other`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// A new version starts serving.
    Deploy,
    /// An earlier version serves again.
    Rollback,
    /// A share of traffic moves to another version.
    CanaryStep,
    /// A configuration value.
    Config,
    /// A feature flag.
    Flag,
    /// Replicas or limits.
    Scale,
    /// A data or schema migration.
    Migration,
    /// A commit, not necessarily running anywhere.
    Commit,
    /// Anything else.
    #[default]
    #[serde(other)]
    Other,
}

impl ChangeKind {
    /// Those after which a version of a service serves that did not before, or not as much.
    pub const DEPLOYS: [Self; 3] = [Self::Deploy, Self::Rollback, Self::CanaryStep];

    /// The stored name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deploy => "deploy",
            Self::Rollback => "rollback",
            Self::CanaryStep => "canary_step",
            Self::Config => "config",
            Self::Flag => "flag",
            Self::Scale => "scale",
            Self::Migration => "migration",
            Self::Commit => "commit",
            Self::Other => "other",
        }
    }

    /// Reads a stored name; unknown text is `Other`.
    pub fn parse(text: &str) -> Self {
        match text {
            "deploy" => Self::Deploy,
            "rollback" => Self::Rollback,
            "canary_step" => Self::CanaryStep,
            "config" => Self::Config,
            "flag" => Self::Flag,
            "scale" => Self::Scale,
            "migration" => Self::Migration,
            "commit" => Self::Commit,
            _ => Self::Other,
        }
    }
}

/// One change, whatever its source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// When it took effect, or was made.
    pub at: UnixNanos,
    /// Kind.
    pub kind: ChangeKind,
    /// Service changed; empty when the change names none.
    pub service: String,
    /// Version, flag value or the like, afterwards.
    pub version: String,
    /// The same before, or empty.
    pub previous: String,
    /// The sender's name for it: a deploy id, commit or flag key. Unique among changes of one source.
    pub reference: String,
    /// One line for people, from the sender: data, never trusted.
    pub detail: String,
    /// Who told us: `api`, `telemetry`, `recording`.
    pub source: String,
}
