//! Why a whole request was refused. The edges map it to their status codes; nobody else knows of any.

use std::time::Duration;

/// A request that was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The body is not what its headers say.
    #[error("malformed request: {0}")]
    Malformed(String),
    /// The body is larger than [`Limits::max_body_bytes`](crate::Limits::max_body_bytes).
    #[error("request larger than {limit} bytes; send smaller batches")]
    TooLarge {
        /// The bound.
        limit: usize,
    },
    /// The body holds more messages than [`Limits::max_elements`](crate::Limits::max_elements).
    #[error("request of more than {limit} elements; send smaller batches")]
    TooManyElements {
        /// The bound.
        limit: usize,
    },
    /// Neither protobuf nor JSON.
    #[error("unsupported content type `{found}`; supported: {supported}")]
    ContentType {
        /// What was sent.
        found: String,
        /// What could have been sent.
        supported: &'static str,
    },
    /// Neither plain nor gzip.
    #[error("unsupported content encoding `{found}`; supported: gzip, identity")]
    ContentEncoding {
        /// What was sent.
        found: String,
    },
    /// The sender took too long over the body.
    #[error("request body did not arrive in time")]
    Slow,
    /// Too much is under way already.
    #[error("too much telemetry under way; try again later")]
    Busy,
    /// It could not be stored.
    #[error("telemetry could not be stored; try again later")]
    Unavailable,
}

impl Refusal {
    /// The label of our own metrics.
    pub(crate) const fn outcome(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::TooLarge { .. } | Self::TooManyElements { .. } => "too_large",
            Self::ContentType { .. } | Self::ContentEncoding { .. } => "unsupported",
            Self::Slow => "slow",
            Self::Busy => "busy",
            Self::Unavailable => "unavailable",
        }
    }

    /// When the sender should come back with the same request; `None` when it should not.
    pub(crate) const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Busy => Some(Duration::from_secs(1)),
            Self::Unavailable => Some(Duration::from_secs(5)),
            _ => None,
        }
    }

    /// The code in `google.rpc.Status`, over gRPC and HTTP alike.
    pub(crate) const fn code(&self) -> tonic::Code {
        match self {
            Self::Malformed(_) | Self::ContentType { .. } => tonic::Code::InvalidArgument,
            Self::ContentEncoding { .. } => tonic::Code::Unimplemented,
            Self::TooLarge { .. } | Self::TooManyElements { .. } | Self::Busy => {
                tonic::Code::ResourceExhausted
            }
            Self::Slow => tonic::Code::DeadlineExceeded,
            Self::Unavailable => tonic::Code::Unavailable,
        }
    }
}
