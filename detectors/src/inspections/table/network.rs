//! The network and names.

use super::PEER;
use crate::inspections::Inspection;
use crate::inspections::Limit::{Above, Below};
use crate::inspections::Unit::{Count, Seconds, Share};
use crate::inspections::measure::Measure::{Increase, Least, Level, Mean, Ratio};
use crate::inspections::measure::{all, only};

pub const ROWS: &[Inspection] = &[
    Inspection {
        name: "tcp_failures",
        title: "connections that could not be opened",
        by: PEER,
        limit: Above(0.0),
        unit: Count,
        reason: "each one is a call that failed",
        measure: Increase(&[
            all("container_net_tcp_failed_connects"),
            all("envoy_cluster_upstream_cx_connect_fail"),
        ]),
    },
    Inspection {
        name: "tcp_attempt_failures",
        title: "the share of connection attempts that failed",
        by: &[],
        limit: Above(0.05),
        unit: Share,
        reason: "scans and probes fail now and then, one in twenty does not",
        measure: Ratio(&[(all("node_netstat_tcp_attempt_fails"), all("node_netstat_tcp_active_opens"))]),
    },
    Inspection {
        name: "tcp_retransmits",
        title: "the share of segments sent again",
        by: &[],
        limit: Above(0.02),
        unit: Share,
        reason: "loss beyond a percent or two halves throughput",
        measure: Ratio(&[(all("node_netstat_tcp_retrans_segs"), all("node_netstat_tcp_out_segs"))]),
    },
    Inspection {
        name: "tcp_retransmit_rate",
        title: "segments sent again per second",
        by: PEER,
        limit: Above(10.0),
        unit: Count,
        reason: "where the number of segments is not known, ten a second are more than chance",
        measure: Level(&[all("container_net_tcp_retransmits")]),
    },
    Inspection {
        name: "network_rtt",
        title: "the round trip",
        by: PEER,
        limit: Above(0.01),
        unit: Seconds,
        reason: "within a data centre a round trip takes a millisecond; set it higher where calls leave it",
        measure: Level(&[all("container_net_latency"), all("node_network_rtt")]),
    },
    Inspection {
        name: "probe_rtt",
        title: "the time a probe took",
        by: &["target"],
        limit: Above(0.2),
        unit: Seconds,
        reason: "beyond a fifth of a second people notice",
        measure: Level(&[all("probe_duration"), all("httpcheck_duration")]),
    },
    Inspection {
        name: "network_errors",
        title: "packets lost to errors or dropped",
        by: &["device"],
        limit: Above(100.0),
        unit: Count,
        reason: "a few are chance, a hundred an hour are a cable or a full queue",
        measure: Increase(&[
            all("node_network_receive_errs"),
            all("node_network_transmit_errs"),
            all("system_network_errors"),
        ]),
    },
    Inspection {
        name: "conntrack",
        title: "connection tracking entries of the limit",
        by: &[],
        limit: Above(0.85),
        unit: Share,
        reason: "at the limit new connections are dropped without a word",
        measure: Ratio(&[(all("node_nf_conntrack_entries"), all("node_nf_conntrack_entries_limit"))]),
    },
    Inspection {
        name: "reachability",
        title: "the share of probes that succeeded",
        by: &["target"],
        limit: Below(1.0),
        unit: Share,
        reason: "the median of ten minutes: it has been unreachable for five",
        measure: Least(&[all("probe_success"), all("up")]),
    },
    Inspection {
        name: "dns_latency",
        title: "a name's look-up on average",
        by: PEER,
        limit: Above(0.1),
        unit: Seconds,
        reason: "paid by every new connection",
        measure: Mean(&[
            (all("dns_lookup_duration_sum"), all("dns_lookup_duration_count")),
            (
                all("coredns_dns_request_duration_seconds_sum"),
                all("coredns_dns_request_duration_seconds_count"),
            ),
            (
                all("container_dns_requests_duration_seconds_total_sum"),
                all("container_dns_requests_duration_seconds_total_count"),
            ),
        ]),
    },
    Inspection {
        name: "dns_server_errors",
        title: "look-ups that a name server failed",
        by: &["server"],
        limit: Above(0.0),
        unit: Count,
        reason: "a name server does not fail in health",
        measure: Increase(&[
            only("coredns_dns_responses", "rcode", &["servfail", "refused"]),
            only("container_dns_requests", "status", &["servfail"]),
        ]),
    },
    Inspection {
        name: "dns_unknown_names",
        title: "the share of look-ups for names that do not exist",
        by: &["server"],
        limit: Above(0.9),
        unit: Share,
        reason: "search paths make most look-ups fail in a cluster, a wrong name makes all of them",
        measure: Ratio(&[(
            only("coredns_dns_responses", "rcode", &["nxdomain"]),
            all("coredns_dns_responses"),
        )]),
    },
];
