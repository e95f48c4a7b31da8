//! Answers of other servers, read within a bound: one that does not end must not fill the memory.

use anyhow::Context as _;
pub use investigator::answer::whole;
use serde::de::DeserializeOwned;

/// Most bytes of an answer that says whether something was done, and what it is now called: a few hundred, as a rule.
pub const MAX_BYTES: usize = 1 << 20;

/// Bytes of a refusal that are read for what is shown of it.
const EXCERPT_BYTES: usize = 16 << 10;

/// The answer, read as JSON.
pub async fn json<T: DeserializeOwned>(response: reqwest::Response, most_bytes: usize) -> anyhow::Result<T> {
    let body = whole(response, most_bytes).await?;
    serde_json::from_slice(&body).context("the answer is not the JSON that was expected")
}

/// The beginning of a refusal, as far as it can be read: what is shown of it is cut shorter still.
pub async fn excerpt(mut response: reqwest::Response) -> String {
    let mut body = Vec::new();
    while let Ok(Some(bytes)) = response.chunk().await {
        let room = EXCERPT_BYTES - body.len();
        body.extend_from_slice(&bytes[..bytes.len().min(room)]);
        if body.len() == EXCERPT_BYTES {
            break;
        }
    }
    String::from_utf8_lossy(&body).into_owned()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::convert::Infallible;

    use axum::body::{Body, Bytes};

    use super::*;

    /// Serves an answer that does not end; its address.
    pub(crate) async fn endless(status: u16) -> String {
        let answer = move || async move {
            let bytes = Bytes::from_static(&[b'x'; 1000]);
            let body =
                Body::from_stream(futures::stream::repeat_with(move || Ok::<_, Infallible>(bytes.clone())));
            axum::response::Response::builder().status(status).body(body).expect("an answer")
        };
        serve(axum::Router::new().fallback(answer)).await
    }

    async fn serve(router: axum::Router) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let base = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(async move { axum::serve(listener, router).await });
        base
    }

    async fn get(base: &str) -> reqwest::Response {
        reqwest::get(base).await.expect("an answer")
    }

    #[tokio::test]
    async fn answers_that_do_not_end_are_not_read_to_their_end() {
        let base = endless(200).await;
        let refused = whole(get(&base).await, 5000).await.map(|_| ()).unwrap_err();
        assert_eq!(refused.to_string(), "the answer has more than 5000 bytes");
        let refused = json::<serde_json::Value>(get(&base).await, 5000).await.unwrap_err();
        assert_eq!(refused.to_string(), "the answer has more than 5000 bytes");
        assert_eq!(excerpt(get(&base).await).await, "x".repeat(EXCERPT_BYTES));
    }

    #[tokio::test]
    async fn answers_within_the_bound_are_read_whole() {
        let base = serve(axum::Router::new().fallback(async || r#"["é", 1]"#)).await;
        assert_eq!(whole(get(&base).await, 9).await.unwrap(), r#"["é", 1]"#.as_bytes());
        assert!(whole(get(&base).await, 8).await.is_err());
        assert_eq!(json::<(String, u8)>(get(&base).await, 9).await.unwrap(), ("é".to_owned(), 1));
        assert!(json::<u8>(get(&base).await, 9).await.unwrap_err().to_string().contains("not the JSON"));
        assert_eq!(excerpt(get(&base).await).await, r#"["é", 1]"#);
    }
}
