//! Who phrases the answers: templates, or a language model whose every sentence is checked.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Span;

/// Who phrases the answers. Nothing is sent anywhere unless a provider is named.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Narrator {
    /// `template` (no model), `openai` (OpenAI and everything that speaks its chat completions) or `anthropic`.
    pub provider: Provider,
    /// Where the provider is reached, as `http://localhost:11434/v1`; the provider's own address when left out.
    pub base_url: Option<String>,
    /// Name of the model.
    pub model: String,
    /// Environment variable that holds the key.
    pub key_env: String,
    /// File that holds the key, instead.
    pub key_file: Option<PathBuf>,
    /// For a whole narration, repairs included; the template's report is shown meanwhile.
    pub timeout: Span,
    /// Longest answer, in tokens.
    pub max_output_tokens: u32,
    /// Tokens for one incident, in and out.
    pub incident_tokens: Option<u64>,
    /// Tokens in a calendar month, in and out.
    pub month_tokens: Option<u64>,
    /// Cost of one incident, in the currency of the prices.
    pub incident_cost: Option<f64>,
    /// Cost in a calendar month.
    pub month_cost: Option<f64>,
    /// Price of a million tokens of prompts.
    pub input_price: f64,
    /// Price of a million tokens of answers.
    pub output_price: f64,
}

/// Where a model is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// None: templates.
    #[default]
    Template,
    /// Chat completions.
    OpenAi,
    /// Anthropic's Messages API.
    Anthropic,
}

impl Default for Narrator {
    fn default() -> Self {
        Self {
            provider: Provider::Template,
            base_url: None,
            model: String::new(),
            key_env: "INQUEST_MODEL_KEY".into(),
            key_file: None,
            timeout: Span(Duration::from_secs(60)),
            max_output_tokens: 1200,
            incident_tokens: Some(100_000),
            month_tokens: Some(5_000_000),
            incident_cost: None,
            month_cost: None,
            input_price: 0.0,
            output_price: 0.0,
        }
    }
}
