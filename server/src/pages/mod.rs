//! Pages: what a person sees in a browser, drawn from plain data by pure functions.
//!
//! One function per page takes a struct of [`input`] and gives HTML. Words and numbers are made ready in Rust, markup
//! stands in `ui/templates`, drawings in `svg`; styles and scripts are served by [`assets`]. Outside text is cut,
//! stripped of control characters and escaped before it reaches a page, and pages carry no inline script or style, so
//! [`assets::CONTENT_SECURITY_POLICY`] can forbid them.
//!
//! Deliberately absent: I/O, clocks, routing, and anything a page needs a script for. Scripts only make what is
//! already there handier.

pub mod assets;
mod evidence;
mod exhibits;
mod findings;
mod health;
mod incident;
mod incidents;
pub mod input;
mod journal;
mod open;
mod redaction;
mod review;
mod sections;
mod service;
mod services;
mod settings;
mod svg;
mod templates;
mod trace;
mod words;

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;

use serde::Serialize;

pub use findings::MOST_FINDINGS;
pub use input::{
    Beside, CheckProgress, EndpointRow, HealthPage, IncidentFilter, IncidentPage, IncidentsPage,
    ObjectiveBurn, ProgressState, Range, RedactionPage, ServiceFinding, ServicePage, ServicePoint,
    ServiceRow, ServiceStatus, ServicesPage, SignalFreshness, Similar, Top, TracePage, Tried,
};
pub use journal::MOST_ALERTS;
pub use review::{ReviewPage, RulesPage};

/// The page of one incident.
///
/// While it shows a running investigation it listens at `{base_path}/incidents/{number}/progress` for server-sent
/// events: unnamed ones carry the whole of [`render_progress`], and one named `done` makes it load itself again.
pub fn render_incident(page: &IncidentPage) -> String {
    incident::page(page)
}

/// The list of checks of a running investigation, as a fragment.
pub fn render_progress(checks: &[CheckProgress]) -> String {
    incident::progress(checks)
}

/// The overview of all services.
pub fn render_health(page: &HealthPage) -> String {
    health::page(page)
}

/// The review queue.
pub fn render_review(page: &ReviewPage) -> String {
    review::queue(page)
}

/// The file of policies, with what came of reading one back.
pub fn render_policies(yaml: &str, said: &str, failed: bool, top: &Top) -> String {
    review::policies(yaml, said, failed, top)
}

/// Every rule and its mode.
pub fn render_rules(page: &RulesPage<'_>) -> String {
    review::rules(page)
}

/// Every decision on alerts and on modes, latest first.
pub fn render_audit(
    decisions: &[crate::noise::Noted],
    modes: &[crate::noise::ModeChange],
    top: &Top,
) -> String {
    review::audit(decisions, modes, top)
}

/// Channels of notifications, and what could not be sent.
pub fn render_settings(notifier: &crate::notify::Notifier, said: &str, top: &Top) -> String {
    settings::page(notifier, said, top)
}

/// The list of services.
pub fn render_services(page: &ServicesPage) -> String {
    services::list(page)
}

/// The page of one service.
pub fn render_service(page: &ServicePage) -> String {
    service::page(page)
}

/// The list of incidents.
pub fn render_incidents(page: &IncidentsPage) -> String {
    incidents::page(page)
}

/// Who phrases answers, and a box to try what would be masked.
pub fn render_redaction(page: &RedactionPage) -> String {
    redaction::page(page)
}

/// One trace as a waterfall.
pub fn render_trace(page: &TracePage) -> String {
    trace::page(page)
}

/// A page that says what went wrong: an HTTP status and one sentence for a person.
pub fn render_error(status: u16, message: &str) -> String {
    #[derive(Serialize)]
    struct View {
        shell: words::Shell,
        status: u16,
        title: &'static str,
        message: String,
    }
    let title = match status {
        404 => "There is no such page",
        400..=499 => "This request cannot be answered",
        _ => "Something went wrong",
    };
    let shell = words::Shell::new(title, "", &Top::default());
    templates::render(
        "error.html",
        &View { shell, status, title, message: domain::text::plain(message, 500) },
    )
}
