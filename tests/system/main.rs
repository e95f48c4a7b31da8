//! System tests: the real server in-process, on a temporary store and free ports, spoken to over its sockets.
//!
//! Deliberately absent: the browser (`../browser`), speed (`inquest-bench`), and what one crate can test alone.

mod agent;
mod arrival;
mod documents;
mod fakes;
mod harness;
mod hostile;
mod incident;
mod memory;
mod model;
mod programs;
mod reach;
mod recordings;
mod slow_model;
mod stopping;
