//! The typed questions an investigation, a detector or a page asks of the store.
//!
//! Each module holds one question: its rows, its SQL, its bounds. All aggregation happens in the engine; what comes back
//! is small. Text that went into a query is kept beside the answer, so that evidence can show what reproduces it.

pub mod attributes;
pub mod call_tree;
pub mod callers;
pub mod changes;
pub mod counters;
pub mod coverage;
mod derived;
pub mod error_causes;
pub mod log_flow;
pub mod log_groups;
pub mod log_patterns;
pub mod metric_values;
pub mod metrics;
pub mod operations;
pub mod requests;
pub mod service_graph;
pub mod services;
pub mod sli;
pub mod sql;
pub mod trace;
pub mod versions;
