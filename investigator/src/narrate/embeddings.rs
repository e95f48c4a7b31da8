//! Vectors of texts, from a server that speaks OpenAI's `/embeddings`.

use serde::Deserialize;
use serde_json::json;

use super::{Failure, http};

/// Longest vector taken.
const MAX_DIMENSIONS: usize = 8192;
const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);

/// A model of embedding at a base URL such as `http://localhost:11434/v1`.
pub struct Embeddings {
    client: reqwest::Client,
    url: String,
    model: String,
    key: String,
}

#[derive(Deserialize)]
struct Reply {
    data: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    embedding: Vec<f32>,
}

impl Embeddings {
    /// The model of that name.
    pub fn new(base_url: &str, model: &str, key: &str) -> Result<Self, reqwest::Error> {
        let url = format!("{}/embeddings", base_url.trim_end_matches('/'));
        Ok(Self { client: http::client()?, url, model: model.to_owned(), key: key.to_owned() })
    }

    /// Its name.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// The vector of a text, within ten seconds.
    pub async fn embed(&self, text: &str) -> Result<Vec<f32>, Failure> {
        let body = json!({ "model": self.model, "input": text, "encoding_format": "float" });
        let mut request = self.client.post(&self.url).timeout(TIMEOUT).json(&body);
        if !self.key.is_empty() {
            request = request.bearer_auth(&self.key);
        }
        let response = request.send().await.map_err(|_| Failure::Unreachable)?;
        if !response.status().is_success() {
            return Err(http::failure(response.status().as_u16()));
        }
        let reply: Reply = response.json().await.map_err(|_| Failure::Unreadable)?;
        let vector = reply.data.into_iter().next().ok_or(Failure::Unreadable)?.embedding;
        let usable = (1..=MAX_DIMENSIONS).contains(&vector.len())
            && vector.iter().all(|value| value.is_finite())
            && vector.iter().any(|value| *value != 0.0);
        if usable { Ok(vector) } else { Err(Failure::Unreadable) }
    }
}
