//! Paths and subjects with what varies in them collapsed.

use super::limits;

/// What a varying part becomes.
pub const ID: &str = "{id}";

/// Segments of a path that are kept.
const SEGMENTS: usize = 12;
/// Bytes of a word; what is longer is a token.
const WORD_BYTES: usize = 32;

/// The route of a path: without its query, and with every segment that is not a plain word as `{id}`.
///
/// A word has letters, `_`, `-` and `.` only, or ends with a single digit (`v1`, `oauth2`). All else may be an id or a secret.
pub fn of_path(path: &[u8]) -> String {
    let path = without_authority(path);
    let end = path.iter().position(|byte| matches!(byte, b'?' | b'#' | b';')).unwrap_or(path.len());
    let path = &path[..end];
    if path == b"*" {
        return "*".to_owned();
    }
    let mut route = String::new();
    for (index, segment) in path.split(|byte| *byte == b'/').skip(1).enumerate() {
        if index == SEGMENTS || route.len() >= limits::TARGET_BYTES - WORD_BYTES {
            route.push_str("/…");
            break;
        }
        route.push('/');
        push_segment(&mut route, segment);
    }
    if route.is_empty() {
        route.push('/');
    }
    route
}

/// A dotted subject, routing key or topic with every part that is not a plain word as `{id}`.
pub fn of_subject(subject: &[u8]) -> String {
    let mut normal = String::new();
    for (index, part) in subject.split(|byte| *byte == b'.').enumerate() {
        if index == SEGMENTS {
            normal.push_str(".…");
            break;
        }
        if index > 0 {
            normal.push('.');
        }
        match part {
            b"*" | b">" | b"#" => normal.push(char::from(part[0])),
            b"_INBOX" => return "_INBOX".to_owned(),
            _ => push_segment(&mut normal, part),
        }
    }
    normal
}

fn push_segment(text: &mut String, segment: &[u8]) {
    match std::str::from_utf8(segment) {
        Ok(word) if is_word(word) => text.push_str(word),
        _ => text.push_str(ID),
    }
}

fn is_word(segment: &str) -> bool {
    let bytes = segment.as_bytes();
    if bytes.is_empty() {
        return true;
    }
    let stem = match bytes {
        [stem @ .., last] if last.is_ascii_digit() => stem,
        all => all,
    };
    let letters = stem.iter().filter(|byte| byte.is_ascii_alphabetic()).count();
    let plain = stem.iter().all(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'_' | b'-' | b'.'));
    let dots_only = letters == 0 && stem.len() == bytes.len();
    segment.len() <= WORD_BYTES && plain && (letters > 0 || dots_only) && !is_random(stem)
}

/// Whether letters look drawn by lot. A token such as `XkQzWvBn` changes case more often than `getUserById`, and long hexadecimal
/// without digits is rarer than a word of those letters.
fn is_random(stem: &[u8]) -> bool {
    let vowels = stem.iter().filter(|byte| b"aeiouyAEIOUY".contains(byte)).count();
    let turns =
        stem.windows(2).filter(|pair| pair[0].is_ascii_lowercase() && pair[1].is_ascii_uppercase()).count();
    let long = stem.len() >= 8;
    long && (vowels * 8 < stem.len() || turns * 3 >= stem.len())
}

/// `/path` of `http://host/path`, which a request to a proxy names.
fn without_authority(target: &[u8]) -> &[u8] {
    let Some(scheme) = memchr::memmem::find(target, b"://").filter(|at| *at < 8) else { return target };
    let rest = &target[scheme + 3..];
    rest.iter().position(|byte| *byte == b'/').map_or(b"/", |at| &rest[at..])
}

/// The host that a request names, in small letters and without its port; empty unless it is a valid name or address.
pub fn host(value: &[u8]) -> String {
    let Ok(value) = std::str::from_utf8(value.trim_ascii()) else { return String::new() };
    let name = match value.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => value.split(':').next().unwrap_or_default(),
    };
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':');
    if name.len() > 253 || !name.bytes().all(valid) { String::new() } else { name.to_ascii_lowercase() }
}

#[cfg(test)]
mod tests {
    use super::{host, of_path, of_subject};

    fn check(path: &str, expected: &str) {
        assert_eq!(of_path(path.as_bytes()), expected, "{path}");
    }

    #[test]
    fn words_stay_and_the_rest_is_an_id() {
        check("/", "/");
        check("", "/");
        check("*", "*");
        check("/api/v1/users/42", "/api/v1/users/{id}");
        check("/users/42/orders/7?token=secret#x", "/users/{id}/orders/{id}");
        check("/u/6f1c1c56-3f3e-4d53-b1a9-3d8b8f6f3f4e", "/u/{id}");
        check("/blob/deadbeef01", "/blob/{id}");
        check("/reset/eyJhbGciOiJIUzI1NiJ9", "/reset/{id}");
        check("/m/ann@example.com", "/m/{id}");
        check("/a%20b/c", "/{id}/c");
        check("/index.html", "/index.html");
        check("/oauth2/token", "/oauth2/token");
        check("/getUserById/list_all-things", "/getUserById/list_all-things");
        check("/t/XkQzWvBnPdRtGhKl", "/t/{id}");
        check("/path;jsessionid=abc", "/path");
        check("http://shop.example:80/cart/1", "/cart/{id}");
        check("http://shop.example", "/");
        check("/\u{fc}ber", "/{id}");
        check("/a/b/c/d/e/f/g/h/i/j/k/l/m/n", "/a/b/c/d/e/f/g/h/i/j/k/l/…");
    }

    #[test]
    fn subjects() {
        assert_eq!(of_subject(b"orders.created.8812"), "orders.created.{id}");
        assert_eq!(of_subject(b"orders.*.>"), "orders.*.>");
        assert_eq!(of_subject(b"_INBOX.abc.1"), "_INBOX");
    }

    #[test]
    fn hosts() {
        assert_eq!(host(b"Shop.Example:8080"), "shop.example");
        assert_eq!(host(b"[::1]:80"), "::1");
        assert_eq!(host(b"a b"), "");
    }
}
