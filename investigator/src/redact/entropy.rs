//! Whether a word looks drawn at random rather than named by a person.

/// Bits per character below which a word is not random. Base64 of random bytes has about 4.4 at 28 characters, 4.7 at 40;
/// hexadecimal at most 4.
const MIN_BITS: f64 = 3.7;
const MIN_HEX_BITS: f64 = 3.0;
/// Share of neighbours of different classes (upper, lower, digit). Random base64 has about 0.65; `CamelCaseNames2` 0.2.
const MIN_CHANGES: f64 = 0.3;
/// A shorter word says too little.
const MIN_LENGTH: usize = 24;
const MIN_LENGTH_TWO_CLASSES: usize = 32;

/// Whether a word of base64 or base64url characters looks random.
pub fn looks_random(word: &str) -> bool {
    let bytes = word.as_bytes();
    if bytes.iter().all(u8::is_ascii_hexdigit) {
        return !is_known_hex(bytes) && bytes.len() > 32 && bits(bytes) >= MIN_HEX_BITS;
    }
    let has = |class: Class| bytes.iter().any(|byte| class_of(*byte) == class);
    if has(Class::Upper) && has(Class::Lower) && has(Class::Digit) {
        return bytes.len() >= MIN_LENGTH && bits(bytes) >= MIN_BITS && changes(bytes) >= MIN_CHANGES;
    }
    // Words joined by hyphens are names (of pods, of hosts) even when one of them is a hash.
    word.split(['-', '_', '/', '+', '=']).map(str::as_bytes).any(|part| {
        part.len() >= MIN_LENGTH_TWO_CLASSES
            && !part.iter().all(u8::is_ascii_hexdigit)
            && part.iter().any(u8::is_ascii_digit)
            && bits(part) >= MIN_BITS
            && changes(part) >= MIN_CHANGES
    })
}

/// Whether a short value was meant for a machine: it has a digit, or mixes its case, or has a sign of base64.
pub fn is_opaque(value: &str) -> bool {
    let inner = value.trim_start_matches(|first: char| first.is_ascii_uppercase());
    value.bytes().any(|byte| byte.is_ascii_digit() || matches!(byte, b'+' | b'/' | b'='))
        || inner.bytes().any(|byte| byte.is_ascii_uppercase())
}

/// Lengths of ids that an investigation needs and that open nothing: span ids (16), trace ids (32), Git SHA-1 (40) and
/// SHA-256 image digests (64).
fn is_known_hex(bytes: &[u8]) -> bool {
    matches!(bytes.len(), 16 | 32 | 40 | 64)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Upper,
    Lower,
    Digit,
    Sign,
}

fn class_of(byte: u8) -> Class {
    match byte {
        b'A'..=b'Z' => Class::Upper,
        b'a'..=b'z' => Class::Lower,
        b'0'..=b'9' => Class::Digit,
        _ => Class::Sign,
    }
}

fn changes(bytes: &[u8]) -> f64 {
    let changed = bytes.windows(2).filter(|pair| class_of(pair[0]) != class_of(pair[1])).count();
    changed as f64 / (bytes.len().max(2) - 1) as f64
}

/// Shannon's entropy of the bytes, bits per byte: −Σ p log₂ p. 0 for no bytes.
fn bits(bytes: &[u8]) -> f64 {
    let mut counts = [0_u32; 256];
    for byte in bytes {
        counts[usize::from(*byte)] += 1;
    }
    let total = bytes.len() as f64;
    counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| f64::from(*count) / total)
        .map(|share| -share * share.log2())
        .sum()
}
