//! Which stretch of telemetry makes a recording of an incident, or of any time, and what the recording says of itself.

use std::time::Duration;

use domain::{Incident, UnixNanos, Window};
use storage::recording::Meta;

/// Quiet time taken along before an incident: what it is compared with.
const BEFORE: Duration = Duration::from_secs(900);

/// Telemetry arrives late: a little of what came after is taken along.
const AFTER: Duration = Duration::from_secs(60);

/// The seconds just before the start may already be bad: they are not called known-good.
const UNSURE: Duration = Duration::from_secs(10);

/// Longest stretch that one recording holds.
pub const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// Name of what is recorded, where nobody gave one.
const SYSTEM: &str = "inquest";

/// A recording to be made.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What it says of itself.
    pub meta: Meta,
    /// The telemetry it holds.
    pub window: Window,
}

/// The recording of an incident.
pub fn of_incident(incident: &Incident, now: UnixNanos) -> Plan {
    let end = incident.resolved.unwrap_or(now).max(incident.started);
    let start = incident.started.minus(BEFORE).max(end.minus(LONGEST));
    let known_good = Window::new(start, incident.started.minus(UNSURE).max(start));
    Plan {
        meta: Meta {
            id: incident.id.to_string(),
            system: SYSTEM.into(),
            detected_at: incident.detected,
            window: Some(Window::new(incident.started, end)),
            baseline: Some(known_good),
            symptom: incident.title.clone(),
            impacted_service: Some(incident.service.clone()),
        },
        window: Window::new(start, end.plus(AFTER)),
    }
}

/// The recording of a stretch of time.
pub fn of_window(window: Window, service: Option<String>) -> Plan {
    let window = Window::new(window.start.max(window.end.minus(LONGEST)), window.end);
    let symptom = service
        .as_ref()
        .map_or_else(|| "recorded by hand".to_owned(), |service| format!("asked about {service}"));
    Plan {
        meta: Meta {
            id: format!("recording-{}", window.start.seconds()),
            system: SYSTEM.into(),
            detected_at: window.end,
            window: None,
            baseline: None,
            symptom,
            impacted_service: service,
        },
        window,
    }
}
