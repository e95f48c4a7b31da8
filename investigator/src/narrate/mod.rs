//! Tells a diagnosis: from templates always, in the words of a language model when one is configured.
//!
//! The model never decides. It is shown a [`Pack`] of redacted findings, its answer is a [`Draft`] bound to a schema, every
//! sentence of the draft is [checked](check) by code against the evidence it cites, and whatever fails is not shown. When
//! nothing is left, or nothing came, the template's report stands and says so.
//!
//! Deliberately absent: tools for the model to call, raw telemetry, clocks.

mod anthropic;
mod budget;
pub mod check;
mod draft;
mod embeddings;
#[cfg(test)]
pub(crate) mod fixture;
mod http;
mod model;
mod narrator;
mod openai;
mod pack;
pub mod prompt;
mod replay;
mod steps;
mod template;
#[cfg(test)]
mod tests;

pub use anthropic::Anthropic;
pub use budget::{Caps, Prices, Purpose, Spent, Total};
pub use draft::{Draft, DraftStep, INCONCLUSIVE, Segment, schema};
pub use embeddings::Embeddings;
pub use model::{Completion, Failure, Model, Prompt, Speaker, Turn, Usage};
pub use narrator::{Asked, Narration, Narrator, Settings};
pub use openai::OpenAi;
pub use pack::Pack;
pub use replay::Replay;
pub use template::{narrate, narrate_with};
