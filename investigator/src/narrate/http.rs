//! What the providers over HTTP share.

use std::time::Duration;

use super::Failure;
use crate::answer;

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
pub async fn read<T: serde::de::DeserializeOwned>(response: reqwest::Response) -> Result<T, Failure> {
    let body = answer::whole(response, MAX_ANSWER_BYTES).await.map_err(|_| Failure::Unreadable)?;
    serde_json::from_slice(&body).map_err(|_| Failure::Unreadable)
}

/// What a status that is no success means.
pub fn failure(status: u16) -> Failure {
    match status {
        408 | 409 | 429 | 500..=599 => Failure::Busy(status),
        _ => Failure::Refused(status),
    }
}
