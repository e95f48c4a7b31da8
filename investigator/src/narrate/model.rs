//! The one seam to language models.

use futures::future::BoxFuture;
use serde_json::Value;

/// What is asked of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Prompt {
    /// What it is for, and how to answer.
    pub system: String,
    /// The conversation, oldest first; it ends with [`Speaker::Us`].
    pub turns: Vec<Turn>,
    /// JSON schema of the answer.
    pub schema: Value,
    /// Longest answer.
    pub max_output_tokens: u32,
}

impl Prompt {
    /// Tokens it will cost at most, guessed high: a token has at least three bytes in logs and JSON.
    pub fn tokens(&self) -> u64 {
        let bytes = self.system.len()
            + self.turns.iter().map(|turn| turn.text.len()).sum::<usize>()
            + self.schema.to_string().len();
        bytes.div_ceil(3) as u64
    }
}

/// One side's say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Who says it.
    pub speaker: Speaker,
    /// What.
    pub text: String,
}

/// Who says something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaker {
    /// This program.
    Us,
    /// The model.
    Model,
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// The answer: should be JSON after the schema.
    pub text: String,
    /// What it cost; `None` when the provider does not say.
    pub usage: Option<Usage>,
}

/// Tokens used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Of the prompt.
    pub input: u64,
    /// Of the answer.
    pub output: u64,
}

/// Why a model gave no answer. The words end the sentence "written from template: MODEL ...", and hold nothing that came from
/// outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Not reached, or the connection broke.
    #[error("could not be reached")]
    Unreachable,
    /// It asks to come back later (429, 5xx).
    #[error("was busy (HTTP {0})")]
    Busy(u16),
    /// It refuses (other 4xx): a wrong key, an unknown model.
    #[error("refused the request (HTTP {0})")]
    Refused(u16),
    /// Its reply is not what its interface promises, or is too large.
    #[error("gave a reply that cannot be read")]
    Unreadable,
    /// It stopped before the end, or declined.
    #[error("stopped before its answer was complete")]
    Incomplete,
    /// No recorded answer is left.
    #[error("has no recorded answer")]
    NotRecorded,
}

impl Failure {
    /// Whether trying again may help.
    pub const fn is_passing(self) -> bool {
        matches!(self, Self::Unreachable | Self::Busy(_))
    }
}

/// A language model, wherever it runs. Implementations neither retry nor wait: the narrator bounds both.
pub trait Model: Send + Sync {
    /// Its name, as shown to people.
    fn name(&self) -> &str;

    /// Asks it once.
    fn complete<'a>(&'a self, prompt: &'a Prompt) -> BoxFuture<'a, Result<Completion, Failure>>;
}
