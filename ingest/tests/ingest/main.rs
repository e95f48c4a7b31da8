//! What the crate promises, from the outside: requests go in over HTTP or gRPC, rows come out of the channel.

mod changes;
mod data;
mod grpc;
mod hostile;
mod http;
mod properties;
mod rows;
mod support;
