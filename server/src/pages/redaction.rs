//! The page on which a text is tried for secrets, and which tells who phrases answers.

use serde::Serialize;

use super::input::RedactionPage;
use super::templates::render;
use super::words::{Shell, plural};

#[derive(Serialize)]
struct View {
    shell: Shell,
    narrator: Vec<(String, String)>,
    patterns: String,
    text: String,
    masked: Option<String>,
    counts: Vec<String>,
}

/// Draws the page.
pub(super) fn page(page: &RedactionPage) -> String {
    let counts = |tried: &super::input::Tried| {
        tried.counts.iter().map(|(kind, count)| format!("{kind} {count}")).collect()
    };
    render(
        "redaction.html",
        &View {
            shell: Shell::new("Narrator and redaction", "settings", &page.top),
            narrator: page.narrator.clone(),
            patterns: plural(page.patterns, "failure pattern", "failure patterns"),
            text: page.tried.as_ref().map_or_else(String::new, |tried| tried.text.clone()),
            masked: page.tried.as_ref().map(|tried| tried.masked.clone()),
            counts: page.tried.as_ref().map_or_else(Vec::new, counts),
        },
    )
}
