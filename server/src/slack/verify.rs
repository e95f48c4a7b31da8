//! Whether a request comes from Slack: signature version 0, with replays refused.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use domain::UnixNanos;

use crate::signature;

/// How far the time of a request may be from ours, in seconds.
const TOLERANCE_SECONDS: i64 = 300;
/// How long a signature is remembered: all the time in which it could be sent again.
const REMEMBERED_SECONDS: i64 = 2 * TOLERANCE_SECONDS;
/// Signatures remembered. When so many came within ten minutes, further ones are refused.
const MAX_REMEMBERED: usize = 20_000;

/// Why a request is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A header is missing or no number.
    #[error("the request is not signed")]
    Unsigned,
    /// Too old, or from the future.
    #[error("the request is not of this time")]
    Untimely,
    /// Signed with something else, or changed on the way.
    #[error("the signature is wrong")]
    Wrong,
    /// Seen before.
    #[error("the request was sent before")]
    Replayed,
    /// Too many requests to keep apart.
    #[error("too many requests")]
    TooMany,
}

/// Checks requests.
pub struct Verifier {
    secret: Vec<u8>,
    /// Tags of requests that were accepted, with their times, oldest first.
    seen: Mutex<VecDeque<(i64, [u8; 32])>>,
}

impl Verifier {
    /// With the app's signing secret.
    pub fn new(secret: &str) -> Self {
        Self { secret: secret.as_bytes().to_vec(), seen: Mutex::default() }
    }

    /// Whether the raw body was signed by Slack just now: `v0=hex(hmac_sha256(secret, "v0:" timestamp ":" body))`.
    pub fn check(
        &self,
        now: UnixNanos,
        timestamp: &str,
        signature: &str,
        body: &[u8],
    ) -> Result<(), Refused> {
        let plain_digits = !timestamp.is_empty() && timestamp.bytes().all(|byte| byte.is_ascii_digit());
        let at: i64 = timestamp.parse().ok().filter(|_| plain_digits).ok_or(Refused::Unsigned)?;
        let tag = signature.strip_prefix("v0=").ok_or(Refused::Unsigned)?;
        let mut bytes = [0; 32];
        hex::decode_to_slice(tag, &mut bytes).map_err(|_| Refused::Wrong)?;
        if (now.seconds() - at).abs() > TOLERANCE_SECONDS {
            return Err(Refused::Untimely);
        }
        if !signature::is_hmac(&self.secret, &[b"v0:", timestamp.as_bytes(), b":", body], &bytes) {
            return Err(Refused::Wrong);
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        while seen.front().is_some_and(|(seen_at, _)| now.seconds() - seen_at > REMEMBERED_SECONDS) {
            seen.pop_front();
        }
        if seen.iter().any(|(_, known)| *known == bytes) {
            return Err(Refused::Replayed);
        }
        if seen.len() >= MAX_REMEMBERED {
            return Err(Refused::TooMany);
        }
        seen.push_back((now.seconds(), bytes));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The example that Slack publishes in "Verifying requests from Slack".
    const SECRET: &str = "8f742231b10e8888abcd99yyyzzz85a5";
    const TIMESTAMP: &str = "1531420618";
    const BODY: &str = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&\
        channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&\
        response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&\
        trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
    const SIGNATURE: &str = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503";

    fn at(offset: i64) -> UnixNanos {
        UnixNanos::from_seconds(1_531_420_618 + offset)
    }

    #[track_caller]
    fn check(offset: i64, timestamp: &str, signature: &str, body: &[u8], expected: Result<(), Refused>) {
        assert_eq!(Verifier::new(SECRET).check(at(offset), timestamp, signature, body), expected);
    }

    #[test]
    fn the_published_example_is_accepted_in_its_time() {
        for offset in [0, 300, -300] {
            check(offset, TIMESTAMP, SIGNATURE, BODY.as_bytes(), Ok(()));
        }
        check(301, TIMESTAMP, SIGNATURE, BODY.as_bytes(), Err(Refused::Untimely));
        check(-301, TIMESTAMP, SIGNATURE, BODY.as_bytes(), Err(Refused::Untimely));
    }

    #[test]
    fn any_change_is_noticed() {
        for index in 0..BODY.len() {
            let mut body = BODY.as_bytes().to_vec();
            body[index] ^= 1;
            check(0, TIMESTAMP, SIGNATURE, &body, Err(Refused::Wrong));
        }
        check(0, TIMESTAMP, SIGNATURE, b"\xff\xfe", Err(Refused::Wrong));
        check(0, "1531420619", SIGNATURE, BODY.as_bytes(), Err(Refused::Wrong));
        check(0, TIMESTAMP, &SIGNATURE.replace("a2", "a3"), BODY.as_bytes(), Err(Refused::Wrong));
        check(0, TIMESTAMP, "v0=a2", BODY.as_bytes(), Err(Refused::Wrong));
        check(0, TIMESTAMP, "v1=a2", BODY.as_bytes(), Err(Refused::Unsigned));
        check(0, "", SIGNATURE, BODY.as_bytes(), Err(Refused::Unsigned));
        check(0, "+1531420618", SIGNATURE, BODY.as_bytes(), Err(Refused::Unsigned));
        let other = Verifier::new("another").check(at(0), TIMESTAMP, SIGNATURE, BODY.as_bytes());
        assert_eq!(other, Err(Refused::Wrong));
    }

    #[test]
    fn a_request_counts_once_for_as_long_as_it_is_of_this_time() {
        let verifier = Verifier::new(SECRET);
        let check = |offset| verifier.check(at(offset), TIMESTAMP, SIGNATURE, BODY.as_bytes());
        assert_eq!(check(-300), Ok(()));
        for offset in [-299, 0, 300] {
            assert_eq!(check(offset), Err(Refused::Replayed), "{offset}");
        }
    }
}
