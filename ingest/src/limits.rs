//! Every bound on what outside bytes may cost, in one place.

use std::time::Duration;

/// How far ahead of our clock a timestamp may lie before its item is refused. Clocks that are a time zone off are
/// common; clocks that are days ahead would hold the newest place on every page until those days have passed.
pub const MAX_CLOCK_AHEAD: Duration = Duration::from_secs(24 * 60 * 60);

/// Events, and links, kept of one span: the default of the OpenTelemetry SDKs.
pub const MAX_EVENTS_PER_SPAN: usize = 128;

/// Buckets of one explicit histogram point.
pub const MAX_BUCKETS: usize = 256;

/// Quantiles of one summary point.
pub const MAX_QUANTILES: usize = 64;

/// Changes in one request.
pub const MAX_CHANGES: usize = 1000;

/// Bytes of a request that carries changes.
pub const MAX_CHANGE_BODY_BYTES: usize = 1 << 20;

/// Requests that wait for the store at once; one more is told to come back.
pub const MAX_WAITING_SUBMISSIONS: usize = 256;

/// Streams that one gRPC connection may have open.
pub const MAX_GRPC_STREAMS: u32 = 128;

/// Bodies larger than this, uncompressed, are decoded off the asynchronous threads.
pub const OFFLOAD_BYTES: usize = 256 << 10;

/// The bounds that an installation may want to move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one request, as sent and again once decompressed.
    pub max_body_bytes: usize,
    /// Bytes of all requests that are being read, decoded or stored.
    pub max_inflight_bytes: usize,
    /// Messages (spans, attributes, values...) in one request: what a hostile body of empty messages would multiply.
    pub max_elements: usize,
    /// Bytes of an attribute value, a log body or a message.
    pub max_field_bytes: usize,
    /// Bytes of a name: service, span, metric, attribute key, label value.
    pub max_name_bytes: usize,
    /// Attributes of one span, event, link, log record or resource.
    pub max_attributes: usize,
    /// Labels of one metric series; a point with more is refused, as dropping labels would merge series.
    pub max_labels: usize,
    /// Bytes of names and labels that one request may unfold to: each bucket of a histogram is a series with all of them.
    pub max_series_bytes: usize,
    /// Bytes that the rows of one request may repeat: each log record, span and stack is stored with the attributes of its
    /// resource, its service and its scope, which the request names once.
    pub max_repeated_bytes: usize,
    /// How long a sender may take over its body.
    pub read_timeout: Duration,
    /// How long the store may take before the sender is told to try again.
    pub store_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_body_bytes: 16 << 20,
            max_inflight_bytes: 64 << 20,
            max_elements: 2_000_000,
            max_field_bytes: 32 << 10,
            max_name_bytes: 512,
            max_attributes: 128,
            max_labels: 48,
            max_series_bytes: 128 << 20,
            // Collectors send batches of some 8,000 records, at most 50,000, with resources of 1 to 3 KiB: 150 MiB. A body
            // full of records of 200 bytes with such a resource fits as well.
            max_repeated_bytes: 256 << 20,
            read_timeout: Duration::from_secs(30),
            store_timeout: Duration::from_secs(30),
        }
    }
}
