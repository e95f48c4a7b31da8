//! Addresses in what a place fails with, and whether they lie outside the system.

use std::net::IpAddr;

use super::analysis::Analysis;
use super::failures::new_failures;

/// Share of a place's new failures that must agree on what is outside.
const MOST: f64 = 0.6;
/// Last labels of names that only private resolvers answer: RFC 2606, 6762, 8375 and 9476, and what companies use.
const PRIVATE_ENDS: [&str; 12] = [
    "alt",
    "arpa",
    "consul",
    "docker",
    "home",
    "internal",
    "intra",
    "invalid",
    "lan",
    "local",
    "localdomain",
    "localhost",
];
/// Labels that no public name of somebody else's service holds anywhere.
const PRIVATE: [&str; 6] = ["cluster", "corp", "internal", "intranet", "private", "svc"];

/// A host outside the system that most of a place's new failures name, as they write it.
pub fn outside_address<'a>(analysis: &'a Analysis<'_>, place: &str) -> Option<&'a str> {
    let failures = new_failures(analysis, place);
    let named = |message: &'a str| hosts(message).find(|host| is_outside(analysis, host));
    let all: f64 = failures.iter().map(|failure| failure.count).sum();
    let outside: f64 =
        failures.iter().filter(|failure| named(failure.message).is_some()).map(|failure| failure.count).sum();
    let most = all > 0.0 && outside >= MOST * all;
    most.then(|| failures.iter().find_map(|failure| named(failure.message))).flatten()
}

/// Hosts of the URLs in a text.
pub fn hosts(text: &str) -> impl Iterator<Item = &str> {
    text.split("://").skip(1).filter_map(|rest| {
        let authority = rest.split(|c: char| c.is_whitespace() || "/?#\"'`<>(),;".contains(c)).next()?;
        let host = authority.rsplit('@').next()?;
        // A literal of IPv6 stands in brackets.
        let host = match host.strip_prefix('[') {
            Some(literal) => literal.split(']').next()?,
            None => host.split(':').next()?,
        };
        let host = host.trim_end_matches('.');
        (!host.is_empty()).then_some(host)
    })
}

fn is_outside(analysis: &Analysis<'_>, host: &str) -> bool {
    if let Ok(address) = host.parse::<IpAddr>() {
        return is_public(address);
    }
    let host = host.to_lowercase();
    let labels: Vec<&str> = host.split('.').collect();
    labels.len() > 1
        && !labels.last().is_some_and(|last| PRIVATE_ENDS.contains(last))
        && !labels.iter().any(|label| PRIVATE.contains(label))
        && !names(analysis).any(|name| is_named(&labels, name))
}

/// What the system is made of: who sends telemetry, who is called by name without a dot, whom changes touched.
fn names<'a>(analysis: &'a Analysis<'_>) -> impl Iterator<Item = &'a str> {
    let told = analysis.seen.coverage.iter().map(|coverage| coverage.service.as_str());
    let measured = analysis.seen.metric_services.iter().map(|(service, _)| service.as_str());
    let callers = analysis.edges.iter().map(|(caller, _)| caller.as_str());
    let peers =
        analysis.edges.iter().map(|(_, callee)| callee.as_str()).filter(|callee| !callee.contains('.'));
    told.chain(measured).chain(callers).chain(peers).chain(analysis.changes.touched())
}

/// Whether a host is a service: one of its labels is the name, or both have the same words but for those that tell nothing.
fn is_named(labels: &[&str], name: &str) -> bool {
    let name = name.to_lowercase();
    let bare = |text: &str| -> Vec<String> {
        let split = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
        split
            .filter(|word| !["svc", "service", "srv", "server", "app"].contains(word))
            .map(str::to_owned)
            .collect()
    };
    let wanted = bare(&name);
    // The domain itself belongs to somebody: only what stands before it names a host.
    let before = labels.len().saturating_sub(2).max(1);
    labels.iter().take(before).any(|label| *label == name || !wanted.is_empty() && bare(label) == wanted)
}

/// Whether an address is of the public internet, not private, shared, local or documentation.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(four) => {
            let [first, second, ..] = four.octets();
            let shared = first == 100 && (64..128).contains(&second);
            !(four.is_private()
                || four.is_loopback()
                || four.is_link_local()
                || four.is_unspecified()
                || four.is_broadcast()
                || four.is_documentation()
                || shared)
        }
        IpAddr::V6(six) => match six.to_ipv4_mapped() {
            Some(four) => is_public(IpAddr::V4(four)),
            None => {
                let local = six.is_unique_local() || six.is_unicast_link_local();
                !(local || six.is_loopback() || six.is_unspecified())
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::fixture::{World, deploy, load};

    #[track_caller]
    fn check(message: &str, expected: Option<&str>) {
        let world = World::new()
            .requests("shop", load(100, 0, 40.0), load(100, 50, 40.0))
            .requests("cart-service", load(100, 0, 40.0), load(100, 50, 40.0))
            .edge("shop", "cart-service")
            .changed(deploy("ledger", 900))
            .logged("shop", 17, message, 0, 60);
        assert_eq!(outside_address(&Analysis::new(&world.0), "shop"), expected, "{message}");
    }

    #[test]
    fn what_is_ours_is_not_outside() {
        check("POST https://api.payments.com/v1/charges returned 503", Some("api.payments.com"));
        check("POST https://user:secret@api.payments.com:8443/v1 timed out", Some("api.payments.com"));
        check("dial http://93.184.216.34/x: refused", Some("93.184.216.34"));
        for ours in [
            "GET http://api.corp.internal/v1 returned 500",
            "GET http://cart-svc.prod.svc:8080/items failed",
            "GET http://cart.shop.dev/items failed",
            "GET http://ledger.prod.acme.io/items failed",
            "GET http://x.prod.svc.cluster.local/items failed",
            "GET http://10.0.3.7:8080/items failed",
            "GET http://[fd00::1]:80/items failed",
            "GET http://100.64.0.9/items failed",
            "GET http://db.lan/items failed",
            "GET http://cart/items failed",
            "price is null",
        ] {
            check(ours, None);
        }
    }
}
