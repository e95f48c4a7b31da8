//! Runs recorded incidents through the investigator and scores the answers.
//!
//! Every folder that holds `incident.json` is a case. `label.json` is read here, by the scorer, and nowhere else. [`nab`] scores the
//! detector of anomalies on labelled series.

pub mod case;
pub mod label;
pub mod nab;
pub mod log_templates;
pub mod table;

pub use case::{CaseResult, Ranked, cases_below, run_case};
pub use label::Label;
