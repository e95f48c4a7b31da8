//! Where telemetry, changes, the journal and reports are kept: ClickHouse, inside this process or as a server, spoken to
//! in one SQL dialect through one client.
//!
//! Deliberately absent: free-form queries. What others want to know, they ask through typed questions in this crate.

pub mod alerts;
pub mod engine;
pub mod questions;
pub mod recording;

mod append;
mod error;
mod health;
mod journal;
mod memory;
mod migrate;
mod patterns;
mod report;
mod retention;
mod rows;
mod store;

pub use engine::Engine;
pub use error::{EngineError, Error};
pub use health::{Health, SignalHealth};
pub use journal::JournalEntry;
pub use memory::{Neighbour, Remembered};
pub use retention::Retention;
pub use store::{Location, Options, Store};
