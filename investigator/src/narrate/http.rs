//! What the providers over HTTP share.

use std::time::Duration;

use super::Failure;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Backstop only: the narrator's own deadline is shorter.
const TIMEOUT: Duration = Duration::from_secs(300);

/// Far more than the longest answer, or than the vectors of a batch of texts.
const MAX_ANSWER_BYTES: usize = 32 << 20;

/// A client that follows no redirects (a key must not travel to another host) and gives up at last.
pub fn client() -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .build()
}

/// An answer that was successful, read as JSON; of one that does not end no more than [`MAX_ANSWER_BYTES`] are read.
pub async fn read<T: serde::de::DeserializeOwned>(mut response: reqwest::Response) -> Result<T, Failure> {
    let mut body = Vec::new();
    while let Some(bytes) = response.chunk().await.map_err(|_| Failure::Unreadable)? {
        if body.len() + bytes.len() > MAX_ANSWER_BYTES {
            return Err(Failure::Unreadable);
        }
        body.extend_from_slice(&bytes);
    }
    serde_json::from_slice(&body).map_err(|_| Failure::Unreadable)
}

/// What a status that is no success means.
pub fn failure(status: u16) -> Failure {
    match status {
        408 | 409 | 429 | 500..=599 => Failure::Busy(status),
        _ => Failure::Refused(status),
    }
}
