//! Detectors: pure functions from series and logs to findings.
//!
//! Deliberately absent: clocks, randomness, async, network, SQL. Callers fetch aggregates and pass the time in.

pub mod anomaly;
pub mod burn_rate;
pub mod inspections;
pub mod log_pattern;
pub mod log_template;
pub mod objective;
pub mod peers;
pub mod rate;
pub mod recovery;
pub mod shift;
pub mod silence;
pub mod sli;
pub mod statistics;
pub mod suppression;
pub mod table;
pub mod waits;

pub use burn_rate::BurnRule;
pub use objective::{Goal, Objectives};
pub use recovery::Standing;
pub use sli::{SliPoint, SliSeries};
