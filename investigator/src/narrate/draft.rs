//! What a model writes: sentences with citations, bound to a schema that is made for each request.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Pack;

/// The verdict of a draft that names no candidate.
pub const INCONCLUSIVE: &str = "inconclusive";

/// An answer before it is checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Draft {
    /// A candidate, or `inconclusive`.
    pub verdict: String,
    /// What is going on.
    pub going_on: Vec<Segment>,
    /// The most likely cause.
    pub cause: Vec<Segment>,
    /// Known steps, in other words.
    pub next_steps: Vec<DraftStep>,
}

/// A sentence and what it cites.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Segment {
    /// Plain text; `{T1}` stands for a text of the pack.
    pub text: String,
    /// `E1`, `E2`...
    pub cites: Vec<String>,
}

/// A known step in the model's words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DraftStep {
    /// `S1`, `S2`...
    pub step: String,
    /// The kind of that step.
    pub kind: String,
    /// Plain text.
    pub text: String,
    /// `E1`, `E2`...
    pub cites: Vec<String>,
}

impl Draft {
    /// Reads an answer. Some servers wrap JSON in a fence although they were given a schema.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(unfenced(text))
    }
}

/// The text without a fence around it.
pub(super) fn unfenced(text: &str) -> &str {
    let text = text.trim();
    let text = text.strip_prefix("```json").or_else(|| text.strip_prefix("```")).unwrap_or(text);
    text.trim_end_matches("```").trim()
}

/// The schema of an answer to this pack: only its candidates, evidence and steps can be named. Flat, without references and
/// patterns, every property required: the subset that every provider takes.
pub fn schema(pack: &Pack) -> Value {
    let evidence: Vec<&str> = pack.evidence.iter().map(|item| item.id.as_str()).collect();
    let steps: Vec<&str> = pack.steps.iter().map(|step| step.id.as_str()).collect();
    let mut verdicts: Vec<&str> = pack.candidates.iter().map(|candidate| candidate.id.as_str()).collect();
    verdicts.push(INCONCLUSIVE);
    let text = json!({ "type": "string" });
    let cites = json!({ "type": "array", "items": { "type": "string", "enum": evidence } });
    let segments = json!({
        "type": "array",
        "items": object(&json!({ "text": text, "cites": cites })),
    });
    let step = object(&json!({
        "step": { "type": "string", "enum": steps },
        "kind": { "type": "string", "enum": ["verify", "mitigate", "fix"] },
        "text": text,
        "cites": cites,
    }));
    object(&json!({
        "verdict": { "type": "string", "enum": verdicts },
        "going_on": segments,
        "cause": segments,
        "next_steps": { "type": "array", "items": step },
    }))
}

fn object(properties: &Value) -> Value {
    let required: Vec<&String> =
        properties.as_object().into_iter().flat_map(|object| object.keys()).collect();
    json!({ "type": "object", "additionalProperties": false, "required": required, "properties": properties })
}
