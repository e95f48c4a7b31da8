//! `inquest-agent check`: what works on this host, with these privileges, and why the rest does not.

use std::fmt::Write as _;

use crate::kernel::{self, Layout, Programs, State};
use crate::manners::group;
use crate::privileges;
use crate::run::wanted;
use crate::settings::Settings;
use crate::tls::{Library, TlsLibraries};

/// The findings, for people; and whether the agent can do its work. To be called before there are threads.
pub fn check(settings: &Settings) -> (String, bool) {
    let mut out = String::new();
    let system = rustix::system::uname();
    let _ = writeln!(
        out,
        "kernel       {} {} ({})",
        system.sysname().to_string_lossy(),
        system.release().to_string_lossy(),
        system.machine().to_string_lossy()
    );
    match privileges::held() {
        Ok(held) => {
            for (capability, name, purpose) in privileges::NEEDED {
                let state = if held.contains(capability) { "yes" } else { "NO " };
                let _ = writeln!(out, "privilege    {state}  {name}: {purpose}");
            }
        }
        Err(error) => {
            let _ = writeln!(out, "privilege    ?    {error:#}");
        }
    }
    let _ = match group::obstacle("/".as_ref()) {
        Ok(None) => writeln!(out, "gives way    yes  to whatever wakes up"),
        Ok(Some(obstacle)) => writeln!(out, "gives way    NO   {obstacle}"),
        Err(error) => writeln!(out, "gives way    ?    its control group cannot be read: {error}"),
    };
    if let Err(error) = kernel::show_trace_points() {
        let _ = writeln!(out, "trace points NO   {error:#}");
        return (out, false);
    }
    let layout = match Layout::of_this_kernel() {
        Ok(layout) => layout,
        Err(error) => {
            let _ = writeln!(out, "structures   NO   {error}");
            return (out, false);
        }
    };
    let _ = writeln!(out, "structures   yes  known from the kernel's own type information");
    let programs = match Programs::attach(&layout, &wanted(settings)) {
        Ok(programs) => programs,
        Err(error) => {
            let _ = writeln!(out, "programs     NO   {error:#}");
            return (out, false);
        }
    };
    let mut works = false;
    for (feature, state) in programs.states() {
        match state {
            State::Active => {
                works = true;
                let _ = writeln!(out, "feature      yes  {}", feature.says());
            }
            State::Unavailable(reason) => {
                let _ = writeln!(out, "feature      NO   {}: {reason}", feature.says());
            }
        }
    }
    (out, works)
}

/// What of the TLS on this machine can be seen, library by library, and why the rest cannot.
pub fn tls(settings: &Settings) -> String {
    let mut out = String::new();
    let reports = TlsLibraries::new(settings.root.clone()).survey();
    for library in [Library::OpenSsl, Library::Go, Library::Rustls] {
        let mut any = false;
        for report in &reports {
            for (_, reason) in report.libraries.iter().filter(|(of, _)| *of == library) {
                any = true;
                let path = report.path.display();
                let _ = match reason {
                    None => writeln!(out, "tls          yes  {}: {path}", library.says()),
                    Some(reason) => writeln!(out, "tls          NO   {}: {path}: {reason}", library.says()),
                };
            }
        }
        if !any {
            let _ = writeln!(out, "tls          -    {}: no running program has it", library.says());
        }
    }
    out
}
