#![doc = include_str!("../README.md")]

pub mod decode;
pub mod limits;
pub mod normalise;
pub mod tally;

mod body;
mod budget;
mod changes;
mod convert;
mod grpc;
mod http;
mod intake;
mod metrics;
pub mod profiles;
mod refusal;
mod repeated;
mod reply;
mod weigh;

pub use changes::change_router;
pub use decode::{Decoded, Encoding, decode};
pub use grpc::{ServeError, serve_grpc};
pub use http::http_router;
pub use intake::{Ingest, StoreFailed, Submission};
pub use limits::Limits;
pub use refusal::Refusal;
pub use tally::Signal;
