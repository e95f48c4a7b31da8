//! What the shop tells whoever started it, for a terminal.

use std::fmt;

/// Something worth a line on a terminal.
#[derive(Clone, Debug, PartialEq)]
pub enum ShopEvent {
    /// Every service answers.
    Started {
        /// Service and version, such as `catalog 1.4.0`.
        services: Vec<String>,
        /// Service name and base address, in the same order.
        urls: Vec<(String, String)>,
    },
    /// A deploy or a flag took effect.
    Change {
        /// `deploy` or `flag`.
        kind: &'static str,
        /// Service changed.
        service: &'static str,
        /// Version or value afterwards.
        version: &'static str,
        /// The same before.
        previous: &'static str,
        /// Deploy id or flag key.
        reference: String,
        /// Why the change could not be posted, when there is an endpoint and it refused.
        refused: Option<String>,
    },
    /// The fault is on.
    FaultStarted {
        /// Its name.
        name: &'static str,
        /// What happens, in one line.
        what: &'static str,
    },
    /// The last five seconds as visitors saw them.
    Load {
        /// Requests answered or given up per second.
        rps: f64,
        /// Answered with success.
        ok: u64,
        /// Failed, timed out, or not sent because too many were outstanding.
        failed: u64,
        /// 95th percentile of the time to an answer.
        p95_ms: f64,
    },
    /// Everything has stopped and what could be flushed has been.
    Stopped,
}

impl fmt::Display for ShopEvent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started { services, urls } => {
                write!(formatter, "started {}", services.join(", "))?;
                urls.iter()
                    .find(|(name, _)| name == "gateway")
                    .map_or(Ok(()), |(_, url)| write!(formatter, "; gateway at {url}"))
            }
            Self::Change { kind, service, version, previous, reference, refused } => {
                write!(formatter, "{kind} {reference}: {service} {previous} -> {version}")?;
                refused.iter().try_for_each(|reason| write!(formatter, " (not recorded: {reason})"))
            }
            Self::FaultStarted { name, what } => write!(formatter, "fault {name}: {what}"),
            Self::Load { rps, ok, failed, p95_ms } => {
                write!(formatter, "{rps:.0} requests/s, {ok} ok, {failed} failed, p95 {p95_ms:.0} ms")
            }
            Self::Stopped => formatter.write_str("stopped"),
        }
    }
}
