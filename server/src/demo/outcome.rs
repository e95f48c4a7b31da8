//! Whether an answer names what the demo broke.

use domain::{Mechanism, Report};
use serde::Serialize;
use shop::Fault;

/// What happened in a demo, for a program.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// `pass` or `fail`.
    pub result: &'static str,
    /// What was broken.
    pub fault: &'static str,
    /// The service to blame.
    pub expected_service: &'static str,
    /// Mechanisms that are right.
    pub expected_mechanisms: Vec<&'static str>,
    /// The answer, when there was one.
    pub answer: Option<Answer>,
    /// From the fault to the incident.
    pub seconds_to_incident: Option<f64>,
    /// From the fault to the answer judged.
    pub seconds_to_answer: Option<f64>,
    /// Investigations until then.
    pub runs: u32,
    /// The page.
    pub url: Option<String>,
}

/// What an answer blames.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Answer {
    /// Service; empty when inconclusive.
    pub service: String,
    /// How it does harm; empty when inconclusive.
    pub mechanism: &'static str,
    /// Reference of the change blamed.
    pub change: Option<String>,
    /// Confidence in words.
    pub confidence: &'static str,
    /// The cause in one sentence.
    pub statement: String,
    /// Whether it is right.
    pub right: bool,
}

/// Mechanisms that rightly describe a fault.
pub fn mechanisms(fault: Fault) -> &'static [Mechanism] {
    match fault {
        Fault::NPlusOne => &[Mechanism::RepeatedCalls],
        Fault::DatabaseLock => &[Mechanism::LockContention],
        Fault::FlagError => &[Mechanism::NewErrors],
        Fault::SlowDependency => &[Mechanism::SlowDependency],
        Fault::TrafficSurge => &[Mechanism::TrafficSurge, Mechanism::Saturation],
    }
}

/// Whether a change of somebody's is to blame.
const fn brought_by_a_change(fault: Fault) -> bool {
    matches!(fault, Fault::NPlusOne | Fault::FlagError)
}

/// Judges a report: service, mechanism, and whether a change is to blame must all be right.
pub fn judge(fault: Fault, report: &Report) -> Answer {
    let confidence = report.diagnosis.confidence.level.word();
    let Some(cause) = report.diagnosis.cause() else {
        return Answer {
            service: String::new(),
            mechanism: "",
            change: None,
            confidence,
            statement: String::new(),
            right: false,
        };
    };
    let right = cause.service == fault.expected_service()
        && mechanisms(fault).contains(&cause.mechanism)
        && cause.change.is_some() == brought_by_a_change(fault);
    Answer {
        service: cause.service.clone(),
        mechanism: cause.mechanism.as_str(),
        change: cause.change.clone(),
        confidence,
        statement: cause.statement.text.clone(),
        right,
    }
}
