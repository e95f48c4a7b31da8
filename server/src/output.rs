//! The one way words reach the terminal: answers on standard output, everything about the run on standard error.
//!
//! A closed pipe (`inquest why checkout | head`) is not an error: what cannot be written is dropped.

use std::io::Write;

/// Writes a line to standard output.
pub fn line(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
}

/// Writes text that already ends as it should to standard output.
pub fn text(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = write!(stdout, "{text}").and_then(|()| stdout.flush());
}

/// Standard output for many lines at once. Who writes says what a closed pipe means.
pub fn bulk() -> impl Write {
    std::io::BufWriter::with_capacity(256 * 1024, std::io::stdout().lock())
}

/// Writes a line about the run to standard error.
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Writes an error and what caused it to standard error, as one line.
pub fn failure(error: &anyhow::Error) {
    let _ = writeln!(std::io::stderr().lock(), "inquest: {error:#}");
}
