//! Addresses in what a place fails with, and whether they lie outside the system.
//!
//! Messages name addresses that nobody called, too: where to read more about an error, names of schemas, what a record holds.
//! So an address counts where a call to it is known or the line that names it tells of one.

use std::net::IpAddr;

use super::analysis::Analysis;
use super::failures::{new_failures, tokens};

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

/// Methods of HTTP (RFC 9110, RFC 5789).
const METHODS: [&str; 8] = ["connect", "delete", "get", "head", "options", "patch", "post", "put"];
/// Words just before the address of something that is called.
const CALLS: [&str; 9] =
    ["call", "calling", "calls", "download", "downloading", "fetch", "fetching", "request", "requesting"];
/// Words of calls that do not come through, and what operating systems name them.
const UNREACHED: [&str; 29] = [
    "certificate",
    "connect",
    "connecting",
    "connection",
    "connections",
    "deadline",
    "dial",
    "dns",
    "eai",
    "econnaborted",
    "econnrefused",
    "econnreset",
    "ehostunreach",
    "enetunreach",
    "enotfound",
    "etimedout",
    "handshake",
    "refused",
    "reset",
    "resolution",
    "resolve",
    "resolving",
    "timed",
    "timeout",
    "timeouts",
    "tls",
    "unavailable",
    "unreachable",
    "unresolved",
];
/// Words beside the status of an answer.
const STATUS: [&str; 9] =
    ["answered", "code", "error", "http", "responded", "response", "returned", "returns", "status"];
/// Words right before an address where one may read more.
const REFERS: [&str; 18] = [
    "about",
    "background",
    "details",
    "doc",
    "docs",
    "documentation",
    "explained",
    "guide",
    "help",
    "info",
    "information",
    "learn",
    "manual",
    "refer",
    "reference",
    "see",
    "troubleshooting",
    "visit",
];
/// How many words before an address introduce it.
const INTRODUCES: usize = 6;
/// How many of them may stand between a word of calling and what is called: "request to", "fetching the page".
const CALLED_WITHIN: usize = 3;
/// What names something by an address without calling it: types of problems (RFC 9457), schemas, namespaces.
const NAMES: [&str; 5] = ["instance", "namespace", "schema", "type", "xmlns"];

/// A host outside the system that most of a place's new failures name as what they called, as they write it.
pub fn outside_address<'a>(analysis: &'a Analysis<'_>, place: &str) -> Option<&'a str> {
    let failures = new_failures(analysis, place);
    let named = |message: &'a str| called_outside(analysis, place, message);
    let all: f64 = failures.iter().map(|failure| failure.count).sum();
    let outside: f64 =
        failures.iter().filter(|failure| named(failure.message).is_some()).map(|failure| failure.count).sum();
    let most = all > 0.0 && outside >= MOST * all;
    most.then(|| failures.iter().find_map(|failure| named(failure.message))).flatten()
}

/// Hosts of the URLs in a text.
pub fn hosts(text: &str) -> impl Iterator<Item = &str> {
    addresses(text).0.into_iter().map(|address| address.host)
}

/// The first host outside of the URLs in a message that the place is known to call, or that their line tells were called.
fn called_outside<'a>(analysis: &Analysis<'_>, place: &str, message: &'a str) -> Option<&'a str> {
    let is_callee = |host: &str| {
        let is_host = |callee: &str| callee.eq_ignore_ascii_case(host);
        analysis.edges.iter().any(|(caller, callee)| caller == place && is_host(callee))
    };
    message.lines().find_map(|line| {
        let (addresses, said) = addresses(line);
        let fails = tells_of_failed_call(&said);
        let called = addresses.iter().filter(|address| address.is_called(fails) || is_callee(address.host));
        called.map(|address| address.host).find(|host| is_outside(analysis, host))
    })
}

/// A URL in a text.
struct Address<'a> {
    host: &'a str,
    /// What stands before it, from the previous one on.
    before: &'a str,
}

impl Address<'_> {
    /// Whether something was called there. `fails` tells that its line speaks of a call that failed.
    fn is_called(&self, fails: bool) -> bool {
        let words = self.before.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
        let words: Vec<String> = words.map(str::to_lowercase).collect();
        let introduction = &words[words.len().saturating_sub(INTRODUCES)..];
        let says = |known: &[&str]| introduction.iter().any(|word| known.contains(&word.as_str()));
        let ends_with = |known: &[&str]| words.last().is_some_and(|word| known.contains(&word.as_str()));
        let near = &words[words.len().saturating_sub(CALLED_WITHIN)..];
        let is_called = near.iter().any(|word| CALLS.contains(&word.as_str()));
        ends_with(&METHODS) || !ends_with(&NAMES) && !says(&REFERS) && (fails || is_called)
    }
}

/// Whether the words around the URLs of a line tell of a call that failed: that nobody answered, or with which status.
fn tells_of_failed_call(said: &str) -> bool {
    let words = tokens(said);
    let says = |known: &[&str]| known.iter().any(|word| words.contains(*word));
    let is_refusal = |word: &String| word.parse().is_ok_and(|status: u16| (400..600).contains(&status));
    says(&UNREACHED) || says(&STATUS) && words.iter().any(is_refusal)
}

/// The URLs of a text that name a host, and the text around them.
fn addresses(text: &str) -> (Vec<Address<'_>>, String) {
    let (mut addresses, mut said, mut rest) = (Vec::new(), String::new(), text);
    while let Some((left, right)) = rest.split_once("://") {
        let before = left.trim_end_matches(|c: char| c.is_ascii_alphanumeric() || "+-.".contains(c));
        let end = right.find(|c: char| c.is_whitespace() || "\"'`<>(),;".contains(c)).unwrap_or(right.len());
        let (url, after) = right.split_at(end);
        addresses.extend(host(url).map(|host| Address { host, before }));
        said.push_str(before);
        said.push(' ');
        rest = after;
    }
    said.push_str(rest);
    (addresses, said)
}

/// The host of a URL without its scheme.
fn host(url: &str) -> Option<&str> {
    let authority = url.split(['/', '?', '#']).next()?;
    let host = authority.rsplit('@').next()?;
    // A literal of IPv6 stands in brackets.
    let host = match host.strip_prefix('[') {
        Some(literal) => literal.split(']').next()?,
        None => host.split(':').next()?,
    };
    let host = host.trim_end_matches('.');
    (!host.is_empty()).then_some(host)
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

    #[test]
    fn what_is_called_outside_is_told_in_many_ways() {
        for (message, expected) in [
            ("503 Server Error: Service Unavailable for url: https://api.pay.com/v1", "api.pay.com"),
            ("Post \"https://api.pay.com/v1\": context deadline exceeded", "api.pay.com"),
            (
                "request to https://api.pay.com/v1 failed, reason: getaddrinfo ENOTFOUND api.pay.com",
                "api.pay.com",
            ),
            ("charge failed\nError: connect ECONNREFUSED https://api.pay.com/v1", "api.pay.com"),
            ("could not resolve the host of https://api.pay.com/v1", "api.pay.com"),
            ("failed to fetch https://rates.bank.org/eur: unexpected EOF", "rates.bank.org"),
            ("{\"msg\":\"charge failed\",\"url\":\"https://api.pay.com/v1\",\"status\":502}", "api.pay.com"),
            (
                "Client error '429 Too Many Requests' for url 'https://api.pay.com/v1'\n\
                 For more information check: https://developer.mozilla.org/docs/Status/429",
                "api.pay.com",
            ),
        ] {
            check(message, Some(expected));
        }
    }

    #[test]
    fn an_address_that_is_only_mentioned_did_not_fail() {
        for message in [
            "1 validation error for Order\nprice\n  Input should be a valid decimal [type=decimal_parsing]\n    \
             For further information visit https://errors.pydantic.dev/2.5/v/decimal_parsing",
            "1 validation error for Order: status 450 [type=int] For further information visit https://errors.pydantic.dev/2.5/v/get",
            "(psycopg2.ProgrammingError) column carts.total does not exist [SQL: DELETE FROM carts] \
             (Background on this error at: https://sqlalche.me/e/20/f405)",
            "(psycopg2.OperationalError) connection refused (Background on this error at: https://sqlalche.me/e/20/e3q8)",
            "Client error '404 Not Found' for url 'http://cart/items' For more information check: https://httpstatuses.com/404",
            "duplicate key: DELETE FROM pages WHERE url='https://example.com/x'",
            "no schema http://json-schema.org/draft-07/schema#",
            "request does not match the schema at https://schemas.example.org/order",
            "{\"type\":\"https://tools.ietf.org/html/rfc9110#section-15.6.1\",\"title\":\"An error occurred\",\"status\":500}",
            "<Envelope xmlns=\"http://schemas.xmlsoap.org/soap/envelope/\">timeout</Envelope>",
        ] {
            check(message, None);
        }
    }

    #[test]
    fn an_address_that_is_known_to_be_called_needs_no_words() {
        let message = "no quote from https://rates.bank.org/eur";
        let world = || {
            World::new()
                .requests("shop", load(100, 0, 40.0), load(100, 50, 40.0))
                .logged("shop", 17, message, 0, 60)
        };
        assert_eq!(outside_address(&Analysis::new(&world().0), "shop"), None);
        let calling = world().edge("shop", "rates.bank.org");
        assert_eq!(outside_address(&Analysis::new(&calling.0), "shop"), Some("rates.bank.org"));
    }

    #[test]
    fn a_release_whose_error_mentions_where_to_read_more_is_blamed() {
        let world = World::failing_shop()
            .failed(
                "shop",
                "ValidationError",
                "price is missing, see https://errors.pydantic.dev/2.5/v/missing",
                1500,
            )
            .changed(deploy("shop", 60));
        let diagnosis = crate::reason::reason(&world.0);
        let first = &diagnosis.hypotheses[0];
        assert_eq!(
            (first.mechanism, first.change.as_deref()),
            (domain::Mechanism::NewErrors, Some("deploy-shop"))
        );
    }
}
