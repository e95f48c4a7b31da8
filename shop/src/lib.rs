#![doc = include_str!("../README.md")]
//!
//! # Inside
//!
//! Six services (`gateway`, `checkout`, `catalog`, `cart`, `payment`, `inventory`) answer HTTP on loopback inside one
//! process. Each has its own server, client, OpenTelemetry providers and resource, so that what it sends is what six
//! processes would send. `catalog` and `inventory` keep their rows in SQLite behind a bounded connection pool, and
//! `payment` calls an acquirer that sends no telemetry. [`run`] starts everything, drives the load, injects the fault
//! and stops in order.
//!
//! Deliberately absent: any knowledge of what is made of the telemetry, any global state, and any telemetry that does not
//! come from the code path it describes.

mod acquirer;
mod bare;
mod call;
mod changes;
mod database;
mod directory;
mod event;
mod failure;
mod fault;
mod load;
mod metrics;
mod random;
mod run;
mod serve;
mod services;
mod telemetry;

pub use bare::{BareOptions, run_bare, serve_bare};
pub use event::ShopEvent;
pub use fault::{Fault, UnknownFault};
pub use run::{ShopOptions, run};
