//! Models behind OpenAI's chat completions: OpenAI, Azure, vLLM, llama.cpp, Ollama and gateways.

use async_openai::Client;
use async_openai::config::OpenAIConfig;
use async_openai::error::OpenAIError;
use async_openai::middleware::HttpRequestFactory;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Completion, Failure, Model, Prompt, Speaker, Usage, http};

/// A model at a base URL such as `https://api.openai.com/v1` or `http://localhost:11434/v1`.
pub struct OpenAi {
    client: Client<OpenAIConfig>,
    model: String,
}

/// What we need of a reply. Servers leave fields out and add their own.
#[derive(Deserialize)]
struct Reply {
    choices: Vec<Choice>,
    usage: Option<ReplyUsage>,
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    content: Option<String>,
}

#[derive(Deserialize)]
struct ReplyUsage {
    #[serde(default)]
    prompt_tokens: u64,
    #[serde(default)]
    completion_tokens: u64,
}

impl OpenAi {
    /// The model of that name. An empty key suits servers that ask for none.
    pub fn new(base_url: &str, model: &str, key: &str) -> Result<Self, reqwest::Error> {
        let config = OpenAIConfig::new().with_api_base(base_url.trim_end_matches('/')).with_api_key(key);
        let http = http::client()?;
        // The library would try again by itself, as late as the server pleases: the narrator does, within its own bounds.
        let once = tower::service_fn({
            let http = http.clone();
            move |request: HttpRequestFactory| once(http.clone(), request)
        });
        let client = Client::build(http, config).with_http_service(once);
        Ok(Self { client, model: model.to_owned() })
    }

    async fn ask(&self, prompt: &Prompt) -> Result<Completion, Failure> {
        let reply: Reply =
            self.client.chat().create_byot(self.body(prompt)).await.map_err(|error| failure(&error))?;
        let choice = reply.choices.into_iter().next().ok_or(Failure::Unreadable)?;
        if matches!(choice.finish_reason.as_deref(), Some("length" | "content_filter")) {
            return Err(Failure::Incomplete);
        }
        let usage =
            reply.usage.map(|usage| Usage { input: usage.prompt_tokens, output: usage.completion_tokens });
        Ok(Completion { text: choice.message.content.ok_or(Failure::Incomplete)?, usage })
    }

    fn body(&self, prompt: &Prompt) -> Value {
        let turns = prompt.turns.iter().map(|turn| {
            let role = match turn.speaker {
                Speaker::Us => "user",
                Speaker::Model => "assistant",
            };
            json!({ "role": role, "content": turn.text })
        });
        let messages: Vec<Value> =
            std::iter::once(json!({ "role": "system", "content": prompt.system })).chain(turns).collect();
        json!({
            "model": self.model,
            "messages": messages,
            "stream": false,
            "max_completion_tokens": prompt.max_output_tokens,
            "response_format": {
                "type": "json_schema",
                "json_schema": { "name": "answer", "strict": true, "schema": prompt.schema },
            },
        })
    }
}

/// One request. What is no success fails by its status, whatever its body.
async fn once(http: reqwest::Client, request: HttpRequestFactory) -> Result<reqwest::Response, OpenAIError> {
    let answer = http.execute(request.build().await?).await;
    answer.and_then(reqwest::Response::error_for_status).map_err(OpenAIError::Reqwest)
}

/// Errors carry replies, which may carry anything: only their kind is kept.
fn failure(error: &OpenAIError) -> Failure {
    match error {
        OpenAIError::ApiError(reply) => http::failure(reply.status_code.as_u16()),
        OpenAIError::Reqwest(error) => {
            error.status().map_or(Failure::Unreachable, |status| http::failure(status.as_u16()))
        }
        _ => Failure::Unreadable,
    }
}

impl Model for OpenAi {
    fn name(&self) -> &str {
        &self.model
    }

    fn complete<'a>(&'a self, prompt: &'a Prompt) -> BoxFuture<'a, Result<Completion, Failure>> {
        self.ask(prompt).boxed()
    }
}
