//! Signatures of what comes in and of what goes out: HMAC-SHA-256 over a few parts.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// HMAC-SHA-256 of the parts, one after the other.
pub fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = keyed(key);
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

/// Whether `tag` is the HMAC-SHA-256 of the parts. Takes the same time wherever they differ.
pub fn is_hmac(key: &[u8], parts: &[&[u8]], tag: &[u8]) -> bool {
    let mut mac = keyed(key);
    parts.iter().for_each(|part| mac.update(part));
    mac.verify_slice(tag).is_ok()
}

/// Whether two secrets are the same, in a time that does not depend on where they differ.
pub fn is_same(left: &str, right: &str) -> bool {
    // Compared by their tags, so that neither length nor content shows.
    let tag = hmac(b"inquest", &[left.as_bytes()]);
    is_hmac(b"inquest", &[right.as_bytes()], &tag)
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    // HMAC takes keys of any length.
    Hmac::new_from_slice(key).unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_compared_whole() {
        assert!(is_same("abc", "abc"));
        assert!(!is_same("abc", "abcd") && !is_same("", "a"));
        // RFC 4231, test case 2.
        let tag = hmac(b"Jefe", &[b"what do ya want ", b"for nothing?"]);
        assert_eq!(hex::encode(tag), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }
}
