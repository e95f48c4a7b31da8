//! What other systems and people send: any bytes are read or refused, and text for Slack stays within its limits.

#![no_main]

use domain::UnixNanos;
use libfuzzer_sys::fuzz_target;
use server::noise::{alertmanager::Webhook, policies};
use server::slack::{Ask, Verifier, blocks};

const NOW: UnixNanos = UnixNanos::from_seconds(1_795_096_951);

fuzz_target!(|body: &[u8]| {
    if let Ok(webhook) = Webhook::parse(body) {
        for alert in webhook.into_alerts(NOW).0 {
            assert_eq!(alert.fingerprint().len(), 16);
            assert!(alert.text.chars().count() <= 401);
        }
    }
    let text = String::from_utf8_lossy(body);
    let _ = policies::parse(&text);
    let _ = Ask::parse(&text);
    assert!(Verifier::new("secret").check(NOW, &text, &text, body).is_err());
    let escaped = blocks::escape(&text, 300);
    assert!(escaped.chars().count() <= 301 && !escaped.contains('<') && !escaped.contains('>'));
});
