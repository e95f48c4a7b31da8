//! What whole-system tests and measurements share: synthetic telemetry, a sender, and the real program as a child process.
//!
//! Deliberately absent: assertions (they are in `system/` and `browser/`), and anything the product uses.

#![expect(clippy::disallowed_methods, reason = "senders and measurements read the real clock")]

pub mod load;
pub mod program;
