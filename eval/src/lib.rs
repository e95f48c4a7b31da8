//! Runs recorded incidents through the investigator and scores the answers.
//!
//! Every folder that holds `incident.json` is a case. `label.json` is read here, by the scorer, and nowhere else.
//! [`narrative`] scores how answers are told. [`nab`] scores the detector of anomalies on labelled series.

pub mod baseline;
pub mod case;
pub mod floors;
pub mod html;
pub mod kept;
pub mod label;
pub mod log_templates;
pub mod nab;
pub mod narrative;
pub mod quiet;
pub mod run;
pub mod score;
pub mod summary;
pub mod suppression;
pub mod table;

pub use case::cases_below;
pub use kept::Kept;
pub use label::Label;
pub use run::{Outcome, Run, run};
pub use score::{CaseResult, Marks, Ranked};
pub use summary::Summary;
