//! What is hidden, what is spared, and that hiding is stable.

use proptest::prelude::*;

use super::*;

fn check(text: &str, expected: &str) {
    assert_eq!(Redactor::new().text(text), expected, "{text}");
}

#[test]
fn secrets_are_taken_out() {
    check(
        "key -----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY----- end",
        "key <PRIVATE_KEY_1> end",
    );
    check("-----BEGIN PRIVATE KEY-----\\nMIIEvQIBADANBg", "<PRIVATE_KEY_1>");
    check("postgres://app:s3c/r@t@db:5432/shop", "postgres://<USERINFO_1>@db:5432/shop");
    check("GET https://bob:pw@host/x?y=1", "GET https://<USERINFO_1>@host/x?y=1");
    check("Authorization: Bearer abc.def-123, next", "Authorization: <CREDENTIAL_1>, next");
    check("with bearer 0a1b2c3d4e", "with bearer <CREDENTIAL_1>");
    check("Cookie: sid=abc; theme=dark", "Cookie: <CREDENTIAL_1>");
    check(r#"{"password":"hunter2","user":"x"}"#, r#"{"password":"<SECRET_1>","user":"x"}"#);
    check("DB_PASSWORD=correct;", "DB_PASSWORD=<SECRET_1>;");
    check("x-api-key: k1", "x-api-key: <SECRET_1>");
    check("client_secret=abc&grant=x", "client_secret=<SECRET_1>&grant=x");
    check(
        "got eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
        "got <JWT_1>",
    );
    check("AKIAIOSFODNN7EXAMPLE used", "<TOKEN_1> used");
    check("push with ghp_16C7e42F292c6912E7710c838347Ae178B4a", "push with <TOKEN_1>");
    check("xoxb-17653672481-19874698323-pdFZKVeTuE8sk7oOcHrzqqgy", "<TOKEN_1>");
    check("mail jane.doe+x@example.co.uk now", "mail <EMAIL_1> now");
    check("?email=jane%40example.com&x", "?email=<EMAIL_1>&x");
    check("card 4111 1111 1111 1111 declined", "card <CARD_1> declined");
    check("to DE89 3704 0044 0532 0130 00 failed", "to <IBAN_1> failed");
    check("to GB82WEST12345698765432", "to <IBAN_1>");
    check("blob wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "blob <RANDOM_1>");
    check("id 7f3K9mQ2xL8vB4nR6tY1wZ5c", "id <RANDOM_1>");
}

#[test]
fn what_an_investigation_needs_stays() {
    for text in [
        "commit 9fceb02d0ae598e95dc970b74767f19372d61af8",
        "trace 4bf92f3577b34da6a3ce929d0e0e4736 span 00f067aa0ba902b7",
        "image@sha256:94a00394bc5a8ef503fb59db0a7d0ae9e1119866e8aee8ba40cd864cea69ea1a",
        "request 123e4567-e89b-12d3-a456-426614174000",
        "at 1763712000000000000 and 1763712000123456789",
        "pod recommendationservice-7d9f8b6c5d-x2x9z in eu-central-1a",
        "GET /api/v1/catalog/products/recommendations/for/customers took 84 ms",
        "com.example.Http2ConnectionPoolManagerImplementation failed",
        "tokens: 512, max_tokens=4096, token_count=3",
        "token validation failed; basic checks passed",
        "card 4111 1111 1111 1112 has a wrong check digit",
        "password: <*>, secret=null, api_key=***",
        "SELECT id FROM stock WHERE sku IN (?, ?) FOR UPDATE",
        "checkout 1.4.1 deployed, npm package left-pad@1.3.0",
    ] {
        check(text, text);
    }
}

#[test]
fn the_same_secret_has_the_same_pseudonym_and_is_counted() {
    let mut redactor = Redactor::new();
    assert_eq!(redactor.text("a@b.io then c@d.io"), "<EMAIL_1> then <EMAIL_2>");
    assert_eq!(redactor.text("c@d.io, password=x1"), "<EMAIL_2>, password=<SECRET_1>");
    assert_eq!(redactor.counts().get(&Secret::Email), Some(&3));
    assert_eq!(redactor.total(), 4);
}

fn card_number(prefix: &str, body: &[u8]) -> String {
    let mut digits: String =
        prefix.to_owned() + &body.iter().map(|digit| char::from(b'0' + digit % 10)).collect::<String>();
    digits.truncate(15);
    (0..10)
        .map(|check| format!("{digits}{check}"))
        .find(|number| numbers::is_card(number))
        .expect("one check digit is right")
}

proptest! {
    #[test]
    fn twice_is_once(text in "\\PC{0,200}") {
        let once = Redactor::new().text(&text).into_owned();
        prop_assert_eq!(Redactor::new().text(&once).into_owned(), once);
    }

    #[test]
    fn twice_is_once_on_what_looks_like_secrets(
        parts in proptest::collection::vec(
            prop_oneof![
                Just("password=".to_owned()), Just("://".to_owned()), Just("@".to_owned()), Just("<EMAIL_1>".to_owned()),
                Just("Bearer ".to_owned()), Just("cookie: ".to_owned()), Just("-----BEGIN PRIVATE KEY-----".to_owned()),
                Just("eyJ".to_owned()), Just("DE89".to_owned()), Just("\"".to_owned()), Just("token=>".to_owned()), "[a-zA-Z0-9/+=._-]{0,40}", "[ ,;<>'\\\\]",
            ],
            0..12,
        ),
    ) {
        let text = parts.concat();
        let once = Redactor::new().text(&text).into_owned();
        let again = Redactor::new().text(&once).into_owned();
        prop_assert_eq!(again, once);
    }

    #[test]
    fn a_secret_is_found_whatever_surrounds_it(before in "[a-z ]{0,30}", after in "[a-z ]{0,30}", name in "[a-z]{1,10}", key in "[A-Z2-7]{16}") {
        for (secret, text) in [
            (format!("{name}@mail.example"), format!("{before} {name}@mail.example {after}")),
            (format!("AKIA{key}"), format!("{before} AKIA{key} {after}")),
            (format!("{name}9{key}"), format!("{before} password={name}9{key} {after}")),
        ] {
            let redacted = Redactor::new().text(&text).into_owned();
            prop_assert!(!redacted.contains(&secret), "{}", redacted);
        }
    }

    #[test]
    fn every_card_is_found(body in proptest::collection::vec(0_u8..10, 14), grouped: bool) {
        let number = card_number("4", &body);
        let written = if grouped {
            number.as_bytes().chunks(4).map(|four| String::from_utf8_lossy(four).into_owned()).collect::<Vec<_>>().join("-")
        } else {
            number
        };
        let text = format!("card {written}.");
        prop_assert_eq!(Redactor::new().text(&text).into_owned(), "card <CARD_1>.");
    }
}
