//! The second half of `inquest-agent check`: whether what the agent reads beside the kernel is there, and whether what it ships has
//! somewhere to go. A line each; nothing is changed.

use std::fmt::{Display, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use bytes::Bytes;
use rustix::fs::{Access, access, statvfs};

use crate::export::{Endpoint, Refused, Sender, Signal};
use crate::logs;
use crate::regular;
use crate::settings::Settings;

/// The number of the first namespace of processes: `PROC_PID_INIT_INO` of the kernel.
const FIRST_NAMESPACE: &str = "pid:[4026531836]";

/// The findings, for people. Asks the server, for which it waits a few seconds at most.
pub async fn check(settings: &Settings) -> String {
    let mut lines = Lines::default();
    processes(&mut lines);
    for pattern in &settings.logs.files {
        files(&mut lines, &settings.root, pattern);
    }
    journal(&mut lines, settings);
    spool(&mut lines, &settings.data);
    metrics(&mut lines, settings);
    server(&mut lines, settings).await;
    lines.0
}

#[derive(Default)]
struct Lines(String);

impl Lines {
    fn add(&mut self, what: &str, state: &str, text: impl Display) {
        let _ = writeln!(self.0, "{what:<12} {state:<4} {text}");
    }
}

fn processes(lines: &mut Lines) {
    match std::fs::read_link("/proc/self/ns/pid") {
        Ok(own) if own == Path::new(FIRST_NAMESPACE) => {
            lines.add("processes", "yes", "known by the numbers of the host")
        }
        Ok(_) => lines.add(
            "processes",
            "NO",
            "numbered anew in this container: what the kernel tells of them does not fit (--pid=host)",
        ),
        Err(error) => lines.add("processes", "?", error),
    }
}

fn files(lines: &mut Lines, root: &Path, pattern: &str) {
    let found = match logs::matches(root, pattern) {
        Ok(found) => found,
        Err(error) => return lines.add("logs", "NO", error),
    };
    let unreadable: Vec<_> =
        found.iter().filter_map(|path| Some((path, regular::open(path).err()?))).collect();
    match (found.len(), unreadable.first()) {
        (0, _) => lines.add("logs", "-", format_args!("{pattern}: no file matches")),
        (all, None) => lines.add("logs", "yes", format_args!("{pattern}: {all} readable")),
        (all, Some((path, error))) => lines.add(
            "logs",
            "NO",
            format_args!("{pattern}: {} of {all} unreadable: {}: {error}", unreadable.len(), path.display()),
        ),
    }
}

fn journal(lines: &mut Lines, settings: &Settings) {
    if !settings.logs.journal {
        return lines.add("journal", "-", "not wanted");
    }
    if !logs::journal::is_there(&settings.root) {
        return lines.add("journal", "-", "no journal of systemd here");
    }
    let mut command = Command::new("journalctl");
    command.args(["--lines=1", "--output=json", "--no-pager", "--quiet"]).stdin(Stdio::null());
    if let Some(folder) = logs::journal::folder(&settings.root) {
        command.arg("--directory").arg(folder);
    }
    match command.output() {
        Ok(output) if output.status.success() && !output.stdout.is_empty() => {
            lines.add("journal", "yes", "readable")
        }
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            let said = said.lines().next().unwrap_or("it shows no entry");
            lines.add("journal", "NO", format_args!("journalctl: {said}"));
        }
        Err(error) => lines.add("journal", "NO", format_args!("journalctl: {error}")),
    }
}

fn spool(lines: &mut Lines, data: &Path) {
    let folder = data.join("spool");
    // It is made at the first start: what counts until then is the folder in which it will be.
    let Some(there) = folder.ancestors().find(|it| it.exists()) else { return };
    let shown = folder.display();
    if let Err(error) = access(there, Access::WRITE_OK) {
        return lines.add(
            "spool",
            "NO",
            format_args!("{shown}: {} is not writable: {error}", there.display()),
        );
    }
    match statvfs(there) {
        Ok(stat) => {
            let free = stat.f_bavail.saturating_mul(stat.f_frsize) >> 20;
            lines.add("spool", "yes", format_args!("{shown}: writable, {free} MiB free"));
        }
        Err(error) => lines.add("spool", "?", format_args!("{shown}: {error}")),
    }
}

fn metrics(lines: &mut Lines, settings: &Settings) {
    let Some(address) = settings.metrics else { return lines.add("metrics", "-", "not wanted") };
    match std::net::TcpListener::bind(address) {
        Ok(_) => lines.add("metrics", "yes", format_args!("{address} is free")),
        Err(error) => lines.add("metrics", "NO", format_args!("{address}: {error}")),
    }
}

/// Sends a request with nothing in it.
async fn server(lines: &mut Lines, settings: &Settings) {
    let url = &settings.server;
    let sender = match Sender::new(&Endpoint { url: url.clone(), headers: settings.headers.clone() }) {
        Ok(sender) => sender,
        Err(error) => return lines.add("server", "NO", format_args!("{url}: {error:#}")),
    };
    match sender.send(Signal::Traces, Bytes::new()).await {
        Ok(()) => lines.add("server", "yes", format_args!("{url} takes telemetry")),
        Err(Refused::Later(reason) | Refused::Never(reason)) => {
            lines.add("server", "NO", format_args!("{url}: {reason}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Logs;

    #[tokio::test]
    async fn each_finding_is_a_line() {
        let root = tempfile::tempdir().expect("a folder");
        for name in ["a.log", "b.log"] {
            std::fs::write(root.path().join(name), "").expect("written");
        }
        // Whoever has the port: it is busy, and is no server.
        let busy = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = busy.local_addr().expect("an address").port();
        let nobody =
            std::net::TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port");
        let settings = Settings {
            root: root.path().into(),
            data: root.path().join("data"),
            metrics: busy.local_addr().ok(),
            server: format!("http://{nobody}"),
            logs: Logs { files: ["/*.log", "/*.txt", "/{"].map(str::to_owned).to_vec(), journal: true },
            ..Settings::default()
        };
        let found = check(&settings).await;
        let rest: Vec<&str> = found.lines().filter(|line| !line.starts_with("processes")).collect();
        let text = rest.join("\n");
        let text =
            text.replace(&root.path().display().to_string(), "ROOT").replace(&port.to_string(), "PORT");
        let text = text.replace(&nobody.port().to_string(), "NOBODY");
        let free = regex::Regex::new(r"\d+ MiB").expect("a pattern").replace(&text, "N MiB").into_owned();
        insta::assert_snapshot!(free, @r"
        logs         yes  /*.log: 2 readable
        logs         -    /*.txt: no file matches
        logs         NO   error parsing glob 'ROOT/{': unclosed alternate group; missing '}' (maybe escape '{' with '[{]'?)
        journal      -    no journal of systemd here
        spool        yes  ROOT/data/spool: writable, N MiB free
        metrics      NO   127.0.0.1:PORT: Address already in use (os error 98)
        server       NO   http://127.0.0.1:NOBODY: Unavailable: tcp connect error
        ");
        drop(busy);
        let settings =
            Settings { metrics: None, logs: Logs { files: Vec::new(), journal: false }, ..settings };
        assert!(check(&settings).await.contains("metrics      -    not wanted\n"));
    }
}
