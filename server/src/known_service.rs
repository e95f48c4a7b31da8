//! Whether a service that somebody names is there to be asked about, and which one they may have meant.

use std::fmt;

use domain::{Window, text};
use storage::Store;

/// Suggestions made at most.
const MAX_SUGGESTIONS: usize = 3;
/// Jaro-Winkler similarity (0 to 1) from which one name is taken for a slip of another.
const CLOSE: f64 = 0.8;
/// Characters shown of a name.
const MAX_SHOWN: usize = 80;

/// A service that nothing is known of.
#[derive(Debug, PartialEq, Eq)]
pub struct Unknown {
    service: String,
    suggestions: Vec<String>,
    /// Whether there is any service at all.
    any: bool,
}

impl fmt::Display for Unknown {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "nothing is known of a service `{}`", text::plain(&self.service, MAX_SHOWN))?;
        let shown: Vec<_> =
            self.suggestions.iter().map(|name| format!("`{}`", text::plain(name, MAX_SHOWN))).collect();
        match (shown.is_empty(), self.any) {
            (false, _) => write!(formatter, "; did you mean {}?", shown.join(" or ")),
            (true, true) => write!(formatter, "; the health page lists the services that send telemetry"),
            (true, false) => write!(formatter, ": no service has sent anything yet"),
        }
    }
}

impl std::error::Error for Unknown {}

/// Whether the store knows the service in the window or shortly before.
pub async fn check(
    store: &Store,
    service: &str,
    window: Window,
) -> Result<Result<(), Unknown>, storage::Error> {
    let known = store.services(window).await?;
    Ok(match known.iter().any(|name| name == service) {
        true => Ok(()),
        false => Err(Unknown {
            service: service.into(),
            suggestions: closest(service, &known),
            any: !known.is_empty(),
        }),
    })
}

/// The names most like this one, the closest first: slips of the hand, and names that hold it or are held by it.
fn closest(service: &str, known: &[String]) -> Vec<String> {
    let wanted = service.to_lowercase();
    let mut scored: Vec<(f64, &String)> = known
        .iter()
        .map(|name| {
            let lower = name.to_lowercase();
            let held = wanted.len() > 2 && (lower.contains(&wanted) || wanted.contains(&lower));
            (strsim::jaro_winkler(&wanted, &lower) + if held { 1.0 } else { 0.0 }, name)
        })
        .filter(|(score, _)| *score >= CLOSE)
        .collect();
    scored.sort_by(|left, right| right.0.total_cmp(&left.0).then(left.1.cmp(right.1)));
    scored.into_iter().take(MAX_SUGGESTIONS).map(|(_, name)| name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(service: &str, known: &[&str], expected: &str) {
        let known: Vec<String> = known.iter().map(|name| (*name).to_owned()).collect();
        let suggestions = closest(service, &known);
        let unknown = Unknown { service: service.into(), suggestions, any: !known.is_empty() };
        assert_eq!(unknown.to_string(), expected);
    }

    #[test]
    fn an_unknown_service_is_answered_with_what_may_be_meant() {
        let shop = ["cart", "catalog", "checkout", "gateway"];
        check("chekout", &shop, "nothing is known of a service `chekout`; did you mean `checkout`?");
        check(
            "Checkout-Service",
            &shop,
            "nothing is known of a service `Checkout-Service`; did you mean `checkout`?",
        );
        check(
            "zz\n<b>",
            &shop,
            "nothing is known of a service `zz <b>`; the health page lists the services that send telemetry",
        );
        check("cart", &[], "nothing is known of a service `cart`: no service has sent anything yet");
    }
}
