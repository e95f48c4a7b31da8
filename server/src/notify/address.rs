//! Where letters may go: not into the private network, unless the settings say so.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// Longest that a receiver may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A client. One for outside looks names up itself and drops addresses of private networks; none follows redirects.
pub fn client(private: bool) -> anyhow::Result<reqwest::Client> {
    let builder = reqwest::Client::builder().timeout(TIMEOUT).redirect(reqwest::redirect::Policy::none());
    let builder = if private { builder } else { builder.dns_resolver(Arc::new(Outside)).no_proxy() };
    Ok(builder.build()?)
}

/// Whether letters may be sent to this address from outside: `https`, and no private address written out.
pub fn is_outside(url: &str) -> bool {
    let Ok(url) = reqwest::Url::parse(url) else { return false };
    let Some(host) = url.host_str() else { return false };
    let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    url.scheme() == "https" && url.username().is_empty() && literal.map_or(true, is_public)
}

/// Looks names up, and leaves private addresses out.
struct Outside;

impl reqwest::dns::Resolve for Outside {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public: Vec<SocketAddr> = found.filter(|address| is_public(address.ip())).collect();
            match public.is_empty() {
                true => Err("the address is within a private network".into()),
                false => Ok(Box::new(public.into_iter()) as reqwest::dns::Addrs),
            }
        })
    }
}

/// Whether an address is one of the internet.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            let shared = a == 100 && (64..128).contains(&b);
            let special = a == 0 || a >= 240 || (a == 192 && b == 0) || (a == 198 && (18..20).contains(&b));
            !(v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_multicast()
                || shared
                || special)
        }
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => is_public(IpAddr::V4(v4)),
            None => {
                let local = v6.is_unique_local() || v6.is_unicast_link_local();
                // 64:ff9b::/96 and 2002::/16 carry an address of version 4 within.
                let carries = matches!(v6.segments(), [0x64, 0xff9b, ..] | [0x2002, ..]);
                !(v6.is_loopback() || v6.is_unspecified() || v6.is_multicast() || local || carries)
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_addresses_are_refused() {
        for url in ["https://hooks.example.com/x", "https://1.1.1.1/x", "https://[2606:4700::1]/"] {
            assert!(is_outside(url), "{url}");
        }
        for url in [
            "http://hooks.example.com/x",
            "https://127.0.0.1/",
            "https://10.0.0.1/",
            "https://169.254.169.254/",
            "https://192.168.1.1/",
            "https://172.16.0.1/",
            "https://100.64.0.1/",
            "https://0.0.0.0/",
            "https://[::1]/",
            "https://[::ffff:10.0.0.1]/",
            "https://[fd00::1]/",
            "https://[fe80::1]/",
            "https://2130706433/",
            "https://user@example.com/",
            "ftp://example.com",
            "nonsense",
        ] {
            assert!(!is_outside(url), "{url}");
        }
    }
}
