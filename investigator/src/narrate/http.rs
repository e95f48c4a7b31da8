//! What the providers over HTTP share.

use std::time::Duration;

use super::Failure;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Backstop only: the narrator's own deadline is shorter.
const TIMEOUT: Duration = Duration::from_secs(300);

/// A client that follows no redirects (a key must not travel to another host) and gives up at last.
pub fn client() -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .build()
}

/// What a status that is no success means.
pub fn failure(status: u16) -> Failure {
    match status {
        408 | 409 | 429 | 500..=599 => Failure::Busy(status),
        _ => Failure::Refused(status),
    }
}
