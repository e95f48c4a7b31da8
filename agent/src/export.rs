//! Telemetry on its way: encoded as OTLP, sent over gRPC, kept on disk while the server is away.

pub mod otlp;
pub mod prometheus;
mod send;
mod ship;
mod spool;

pub use send::{Endpoint, Refused, Sender};
pub use ship::{Parcel, Shipped, Shipper, Signal};
pub use spool::Spool;
