//! A diagnosis, told: the one structure behind the page, the terminal, Markdown and JSON.

use serde::{Deserialize, Serialize};

use crate::{Diagnosis, EvidenceId};

/// A sentence and the evidence it rests on. The text is plain: never markup, always escaped by whoever shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sentence {
    /// Plain text.
    pub text: String,
    /// What it rests on.
    pub cites: Vec<EvidenceId>,
}

impl Sentence {
    /// A sentence with citations.
    pub fn new(text: impl Into<String>, cites: impl Into<Vec<EvidenceId>>) -> Self {
        Self { text: text.into(), cites: cites.into() }
    }
}

/// What a next step is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    /// Look at something, read-only.
    Verify,
    /// Stop the harm.
    Mitigate,
    /// Remove the cause.
    Fix,
}

/// One thing to do next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What it is for.
    pub kind: StepKind,
    /// What to do.
    pub text: Sentence,
    /// A read-only command to copy, or empty.
    pub command: String,
}

/// The answer box.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// What is going on.
    pub going_on: Vec<Sentence>,
    /// The most likely cause, or that there is none to name.
    pub cause: Vec<Sentence>,
    /// At most three.
    pub next_steps: Vec<Step>,
}

/// Who phrased the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum NarratedBy {
    /// Our templates; no model is configured.
    Template,
    /// A model; what it wrote was checked.
    Model {
        /// Its name.
        model: String,
        /// Version of the prompt.
        prompt: String,
        /// Sentences that failed the checks and are not shown.
        dropped: u32,
        /// Secrets masked before anything was sent.
        masked: u32,
    },
    /// Our templates, because the model that is configured gave nothing to show.
    TemplateInstead {
        /// Its name.
        model: String,
        /// Why, as the end of "written from template: ...".
        reason: String,
    },
}

impl NarratedBy {
    /// Who wrote the answer, in words.
    pub fn words(&self) -> String {
        match self {
            Self::Template => "Written from template, no model configured".to_owned(),
            Self::Model { model, dropped, masked, .. } => {
                let mut text = format!("Written by {model}");
                match dropped {
                    0 => {}
                    1 => text += " (1 sentence failed a check and is left out)",
                    _ => text += &format!(" ({dropped} sentences failed a check and are left out)"),
                }
                match masked {
                    0 => {}
                    1 => text += " (1 secret masked before sending)",
                    _ => text += &format!(" ({masked} secrets masked before sending)"),
                }
                text
            }
            Self::TemplateInstead { model, reason } => format!("Written from template: {model} {reason}"),
        }
    }
}

/// What a model used to tell a report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Used {
    /// Tokens in and out, repairs included.
    pub tokens: u64,
    /// Cost in the currency of the configured prices; 0 without prices.
    pub cost: f64,
}

impl Used {
    /// `4120 tokens, cost 0.0123`.
    pub fn words(&self) -> String {
        let cost = if self.cost > 0.0 { format!(", cost {:.4}", self.cost) } else { String::new() };
        format!("{} tokens{cost}", self.tokens)
    }
}

/// What a reader gets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Format of this structure; readers refuse a newer one.
    pub format: u32,
    /// The answer.
    pub answer: Answer,
    /// Who phrased it.
    pub narrated: NarratedBy,
    /// What that used; `None` when no model was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<Used>,
    /// Citations in the answer that point at evidence which exists.
    pub citations_checked: u32,
    /// All citations in the answer.
    pub citations: u32,
    /// Version of the engine.
    pub engine: String,
    /// What it rests on.
    #[serde(flatten)]
    pub diagnosis: Diagnosis,
}

impl Report {
    /// The present value of [`Report::format`].
    pub const FORMAT: u32 = 1;
}
