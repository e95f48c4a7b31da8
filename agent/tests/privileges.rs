//! The agent with the privileges that it names and no others, as a program of root's whose bounding set holds no more. Needs root and a
//! kernel that takes programs; elsewhere it says that it is skipped.

#![expect(
    clippy::disallowed_methods,
    reason = "a process is waited for by the real clock, in a thread of its own"
)]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use agent::privileges::NEEDED;
use agent::settings::Settings;

const AGENT: &str = env!("CARGO_BIN_EXE_inquest-agent");

/// `setpriv`, so that what it runs has what the agent names.
fn with_named_privileges() -> Command {
    let names: Vec<String> = NEEDED
        .iter()
        .map(|(_, name, _)| format!("+{}", name.trim_start_matches("CAP_").to_lowercase()))
        .collect();
    let mut command = Command::new("setpriv");
    command.arg(format!("--bounding-set=-all,{}", names.join(","))).arg("--inh-caps=-all").arg(AGENT);
    command
}

fn permitted() -> bool {
    let (says, works) = agent::check::check(&Settings::default());
    let has_setpriv = Command::new("setpriv").arg("--version").output().is_ok();
    if !works || !has_setpriv {
        eprintln!("skipped: programs cannot be attached here, or there is no setpriv\n{says}");
    }
    works && has_setpriv
}

fn features(text: &str) -> Vec<&str> {
    text.lines().filter(|line| line.starts_with("feature")).collect()
}

/// A page of the agent, once it answers.
fn page(address: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    write!(stream, "GET /metrics HTTP/1.0\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_named_privileges_are_enough() {
    if !permitted() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let address = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port");
    let settings = folder.path().join("agent.toml");
    let text = format!(
        "server = \"http://127.0.0.1:1\"\ndata = \"{}\"\nmetrics = \"{address}\"\n",
        folder.path().join("data").display()
    );
    std::fs::write(&settings, text).expect("written");
    let config = ["--config", settings.to_str().expect("a name")];
    let output = with_named_privileges().arg("check").args(config).output().expect("it runs");
    let said = String::from_utf8(output.stdout).expect("a text");
    assert_eq!(
        said.lines().filter(|line| line.starts_with("privilege    yes")).count(),
        NEEDED.len(),
        "{said}"
    );
    let (with_all, _) = agent::check::check(&Settings::default());
    assert_eq!(features(&said), features(&with_all), "{said}");

    // And it does its work with them: it sees what this test itself does, and finds the TLS libraries of the system.
    let mut command = with_named_privileges();
    command.args(config).stdout(Stdio::null()).stderr(Stdio::null());
    let _agent = Running(command.spawn().expect("it starts"));
    let has_tls = ["/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib"]
        .iter()
        .any(|it| Path::new(it).join("libssl.so.3").exists());
    let mut last = String::new();
    for _ in 0..120 {
        std::thread::sleep(Duration::from_millis(500));
        last = page(address).unwrap_or(last);
        let above_0 = |name: &str| {
            let line = last.lines().find(|line| line.split(' ').next() == Some(name));
            line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).is_some_and(|value: f64| value > 0.0)
        };
        // Each look at the page is a connection, which it sees.
        if above_0("inquest_agent_events_total")
            && (!has_tls || above_0("inquest_agent_tls_files"))
            && last.contains("container_net_tcp_successful_connects_total{")
        {
            return;
        }
    }
    panic!("it does not see what it should:\n{last}");
}
