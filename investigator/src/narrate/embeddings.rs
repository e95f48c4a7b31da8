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
        let reply: Reply = http::read(response).await?;
        let vector = reply.data.into_iter().next().ok_or(Failure::Unreadable)?.embedding;
        let usable = (1..=MAX_DIMENSIONS).contains(&vector.len())
            && vector.iter().all(|value| value.is_finite())
            && vector.iter().any(|value| *value != 0.0);
        if usable { Ok(vector) } else { Err(Failure::Unreadable) }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, StatusCode};
    use serde_json::Value;

    use super::*;

    /// What is made of a server's answer; the server plays what OpenAI documents of `/v1/embeddings`.
    async fn check(status: u16, answer: &'static str, expected: Result<&[f32], Failure>) {
        let serve = move |headers: HeaderMap, body: axum::Json<Value>| async move {
            let form = json!({ "model": "small", "input": "pool is empty", "encoding_format": "float" });
            let authorised = headers.get("authorization").is_some_and(|value| value == "Bearer key");
            match authorised && body.0 == form {
                true => (StatusCode::from_u16(status).unwrap(), answer),
                false => (StatusCode::BAD_REQUEST, "{}"),
            }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1/", listener.local_addr().unwrap());
        let router = axum::Router::new().route("/v1/embeddings", axum::routing::post(serve));
        let server = tokio::spawn(async move { axum::serve(listener, router).await });
        let found = Embeddings::new(&url, "small", "key").unwrap().embed("pool is empty").await;
        server.abort();
        assert_eq!(
            found.as_deref().map_err(ToString::to_string),
            expected.map_err(|error| error.to_string()),
            "{answer}"
        );
    }

    #[tokio::test]
    async fn vectors_are_taken_and_anything_else_is_a_failure() {
        check(
            200,
            r#"{"object":"list","data":[{"index":0,"embedding":[0.5,-1]}],"usage":{}}"#,
            Ok(&[0.5, -1.0]),
        )
        .await;
        for unreadable in [
            "",
            "{}",
            r#"{"data":[]}"#,
            r#"{"data":[{"embedding":[]}]}"#,
            r#"{"data":[{"embedding":[0,0]}]}"#,
            r#"{"data":[{"embedding":[1e60]}]}"#,
            r#"{"data":[{"embedding":"AAAA"}]}"#,
        ] {
            check(200, unreadable, Err(Failure::Unreadable)).await;
        }
        check(401, "{}", Err(http::failure(401))).await;
        check(429, "{}", Err(http::failure(429))).await;
        check(503, "{}", Err(http::failure(503))).await;
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_a_failure() {
        let embeddings = Embeddings::new("http://127.0.0.1:1/v1", "small", "").unwrap();
        assert!(matches!(embeddings.embed("x").await, Err(Failure::Unreachable)));
    }
}
