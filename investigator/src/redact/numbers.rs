//! Numbers that carry their own check digits: payment cards and bank accounts.

/// Whether the digits of `text` (spaces and hyphens aside) form a payment card number: 13 to 19 digits, the prefix of an
/// issuing network, and a right check digit (Luhn, ISO/IEC 7812-1). The prefix keeps timestamps in nanoseconds out, one
/// in ten of which would pass Luhn.
pub fn is_card(text: &str) -> bool {
    let digits: Vec<u32> = text.chars().filter_map(|character| character.to_digit(10)).collect();
    let prefix = |length: usize| digits.iter().take(length).fold(0, |number, digit| number * 10 + digit);
    let of_a_network = match digits.len() {
        13 => prefix(1) == 4,
        14 => matches!(prefix(2), 30 | 36 | 38 | 39),
        15 => matches!(prefix(2), 34 | 37),
        16 => {
            prefix(1) == 4
                || (51..=55).contains(&prefix(2))
                || (2221..=2720).contains(&prefix(4))
                || prefix(4) == 6011
                || matches!(prefix(2), 35 | 60 | 62 | 65)
                || (644..=649).contains(&prefix(3))
        }
        17 | 18 => matches!(prefix(2), 62 | 65),
        19 => prefix(1) == 4 || matches!(prefix(2), 62 | 65) || prefix(4) == 6011,
        _ => false,
    };
    of_a_network && luhn(&digits)
}

/// Luhn's check: from the right, every second digit counts double (its digits summed); the sum is a multiple of ten.
fn luhn(digits: &[u32]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| match (place % 2, digit * 2) {
            (0, _) => *digit,
            (_, double) if double > 9 => double - 9,
            (_, double) => double,
        })
        .sum();
    sum.is_multiple_of(10)
}

/// Length in bytes of the IBAN that `text` starts with, its spaces included: the length its country uses (SWIFT's IBAN registry),
/// and remainder 1 modulo 97 once the first four characters stand last and letters count from 10.
pub fn iban_length(text: &str) -> Option<usize> {
    let wanted = country_length(text.get(..2)?)?;
    let mut kept = String::with_capacity(wanted);
    let mut end = 0;
    for (offset, character) in text.char_indices() {
        if kept.len() == wanted {
            break;
        }
        match character {
            ' ' if !kept.is_empty() => {}
            'A'..='Z' | '0'..='9' => {
                kept.push(character);
                end = offset + 1;
            }
            _ => break,
        }
    }
    // A longer word is no IBAN.
    let continues = text[end..].starts_with(|next: char| next.is_ascii_alphanumeric());
    (kept.len() == wanted && !continues && remainder_97(&kept) == 1).then_some(end)
}

fn remainder_97(iban: &str) -> u32 {
    iban[4..]
        .chars()
        .chain(iban[..4].chars())
        .filter_map(|character| character.to_digit(36))
        .fold(0, |rest, value| if value > 9 { (rest * 100 + value) % 97 } else { (rest * 10 + value) % 97 })
}

fn country_length(country: &str) -> Option<usize> {
    Some(match country {
        "NO" => 15,
        "BE" => 16,
        "DK" | "FI" | "FK" | "FO" | "GL" | "NL" | "SD" => 18,
        "MK" | "SI" => 19,
        "AT" | "BA" | "EE" | "KZ" | "LT" | "LU" | "MN" | "XK" => 20,
        "CH" | "CR" | "HR" | "LI" | "LV" => 21,
        "BG" | "BH" | "DE" | "GB" | "GE" | "IE" | "ME" | "RS" | "VA" => 22,
        "AE" | "GI" | "IL" | "IQ" | "OM" | "SO" | "TL" => 23,
        "AD" | "CZ" | "ES" | "MD" | "PK" | "RO" | "SA" | "SE" | "SK" | "TN" | "VG" => 24,
        "LY" | "PT" | "ST" => 25,
        "IS" | "TR" => 26,
        "BI" | "DJ" | "FR" | "GR" | "IT" | "MC" | "MR" | "SM" => 27,
        "AL" | "AZ" | "BY" | "CY" | "DO" | "GT" | "HN" | "HU" | "LB" | "NI" | "PL" | "SV" => 28,
        "BR" | "EG" | "PS" | "QA" | "UA" => 29,
        "JO" | "KW" | "MU" | "YE" => 30,
        "MT" | "SC" => 31,
        "LC" => 32,
        "RU" => 33,
        _ => return None,
    })
}
