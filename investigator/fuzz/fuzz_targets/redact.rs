//! Any text is redacted without a panic, and redacting it again changes nothing.

#![no_main]

use investigator::redact::Redactor;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let once = Redactor::new().text(text).into_owned();
    assert_eq!(Redactor::new().text(&once), once);
});
