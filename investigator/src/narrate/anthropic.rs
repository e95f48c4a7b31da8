//! Models behind Anthropic's own Messages API. Its OpenAI-compatible layer does not enforce schemas.

use futures::FutureExt as _;
use futures::future::BoxFuture;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Completion, Failure, Model, Prompt, Speaker, Usage, http};

const VERSION: &str = "2023-06-01";
/// The one tool, which is nothing but the form of the answer.
const FORM: &str = "answer";

/// A model at a base URL such as `https://api.anthropic.com`.
pub struct Anthropic {
    client: reqwest::Client,
    url: String,
    model: String,
    key: String,
}

#[derive(Deserialize)]
struct Reply {
    content: Vec<Block>,
    #[serde(default)]
    stop_reason: Option<String>,
    usage: Option<ReplyUsage>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block {
    ToolUse {
        name: String,
        input: Value,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct ReplyUsage {
    #[serde(default)]
    input_tokens: u64,
    #[serde(default)]
    cache_read_input_tokens: u64,
    #[serde(default)]
    cache_creation_input_tokens: u64,
    #[serde(default)]
    output_tokens: u64,
}

impl Anthropic {
    /// The model of that name.
    pub fn new(base_url: &str, model: &str, key: &str) -> Result<Self, reqwest::Error> {
        let url = format!("{}/v1/messages", base_url.trim_end_matches('/').trim_end_matches("/v1"));
        Ok(Self { client: http::client()?, url, model: model.to_owned(), key: key.to_owned() })
    }

    async fn ask(&self, prompt: &Prompt) -> Result<Completion, Failure> {
        let request = self
            .client
            .post(&self.url)
            .header("x-api-key", &self.key)
            .header("anthropic-version", VERSION)
            .json(&self.body(prompt));
        let response = request.send().await.map_err(|_| Failure::Unreachable)?;
        if !response.status().is_success() {
            return Err(http::failure(response.status().as_u16()));
        }
        let reply: Reply = http::read(response).await?;
        if matches!(reply.stop_reason.as_deref(), Some("max_tokens" | "refusal")) {
            return Err(Failure::Incomplete);
        }
        let usage = reply.usage.map(|usage| Usage {
            input: usage.input_tokens + usage.cache_read_input_tokens + usage.cache_creation_input_tokens,
            output: usage.output_tokens,
        });
        let form = reply.content.into_iter().find_map(|block| match block {
            Block::ToolUse { name, input } if name == FORM => Some(input),
            _ => None,
        });
        Ok(Completion { text: form.ok_or(Failure::Incomplete)?.to_string(), usage })
    }

    /// The schema is enforced by making the form the only tool, and its use a must.
    fn body(&self, prompt: &Prompt) -> Value {
        let messages: Vec<Value> = prompt
            .turns
            .iter()
            .map(|turn| {
                let role = match turn.speaker {
                    Speaker::Us => "user",
                    Speaker::Model => "assistant",
                };
                json!({ "role": role, "content": turn.text })
            })
            .collect();
        json!({
            "model": self.model,
            "max_tokens": prompt.max_output_tokens,
            "system": prompt.system,
            "messages": messages,
            "tools": [{ "name": FORM, "description": "The answer.", "input_schema": prompt.schema }],
            "tool_choice": { "type": "tool", "name": FORM },
        })
    }
}

impl Model for Anthropic {
    fn name(&self) -> &str {
        &self.model
    }

    fn complete<'a>(&'a self, prompt: &'a Prompt) -> BoxFuture<'a, Result<Completion, Failure>> {
        self.ask(prompt).boxed()
    }
}
