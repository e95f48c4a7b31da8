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
mod sections;
mod service;
mod services;
mod svg;
mod templates;
mod trace;
mod words;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;

use serde::Serialize;

pub use input::{
    CheckProgress, EndpointRow, HealthPage, IncidentFilter, IncidentPage, IncidentsPage, ObjectiveBurn,
    ProgressState, Range, ServiceFinding, ServicePage, ServicePoint, ServiceRow, ServiceStatus, ServicesPage,
    SignalFreshness, TracePage,
};

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
    let shell = words::Shell {
        title: title.to_owned(),
        base: String::new(),
        open: 0,
        current: "",
        query: String::new(),
    };
    templates::render(
        "error.html",
        &View { shell, status, title, message: domain::text::plain(message, 500) },
    )
}
