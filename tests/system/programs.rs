//! Programs of others that tests run: where they are, and their lives, which end with their tests.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};

/// A program that ends with the test.
pub struct Program {
    pub child: Child,
}

/// Starts `program` in `folder`, under the service name `service` when it is given one.
pub fn start(folder: &Path, service: &str, program: &str, arguments: &[&str]) -> Program {
    let name = ("OTEL_SERVICE_NAME", service.to_owned());
    let variables = if service.is_empty() { &[][..] } else { &[name] };
    start_with(folder, variables, program, arguments)
}

/// The same, with variables of its environment.
pub fn start_with(folder: &Path, variables: &[(&str, String)], program: &str, arguments: &[&str]) -> Program {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.envs(variables.iter().map(|(name, value)| (*name, value)));
    let child = command.kill_on_drop(true).spawn().unwrap_or_else(|error| panic!("{program}: {error}"));
    Program { child }
}

/// Runs a program to its end; whether it ended well.
pub async fn finish(folder: &Path, service: &str, program: &str, arguments: &[&str]) -> bool {
    let mut program = start(folder, service, program, arguments);
    program.child.wait().await.expect("it ends").success()
}

/// Where a program is, when it is installed: tests of others are skipped.
pub fn installed(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders =
        std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/lib/postgresql/15/bin".into()]);
    let found = folders
        .flat_map(|folder| names.iter().map(move |name| folder.join(name)))
        .find(|path| path.is_file());
    if found.is_none() {
        eprintln!("skipped: none of {names:?} is installed");
    }
    found
}

/// Builds a Go program in `folder`; nothing where there is no Go.
pub fn build_go(folder: &Path, source: &Path, flags: &[&str]) -> Option<PathBuf> {
    let local = Path::new("/usr/local/go/bin/go");
    let go = if local.exists() { local.to_owned() } else { installed(&["go"])? };
    let out = folder.join("go-program");
    // What comes with the compiler is enough.
    let status = std::process::Command::new(go)
        .args(["build", "-o"])
        .arg(&out)
        .args(flags)
        .arg(source)
        .current_dir(folder)
        .env("GOTOOLCHAIN", "local")
        .env("GOFLAGS", "")
        .env("CGO_ENABLED", "0")
        .stdin(Stdio::null())
        .status()
        .expect("go runs");
    assert!(status.success(), "the Go program builds");
    Some(out)
}

/// A real Python, not one of the scripts that stand before it.
pub fn python() -> Option<String> {
    let output = std::process::Command::new("python3")
        .args(["-c", "import sys; print(sys.executable)"])
        .output()
        .ok()?;
    let path = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (!path.is_empty()).then_some(path)
}

/// A port of loopback that was free a moment ago.
pub fn free_address() -> std::net::SocketAddr {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    listener.local_addr().expect("an address")
}

/// Waits until somebody accepts at `port`.
pub async fn accepting(port: u16) {
    for _ in 0..600 {
        if tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("nobody listens at port {port}");
}

/// Where `cargo xtask programs` puts what Debian does not have.
pub fn fetched(what: &str, name: &str) -> Option<PathBuf> {
    let home = PathBuf::from(std::env::var_os("HOME")?);
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(|| home.join(".cache"), PathBuf::from);
    let folder = cache.join("inquest/programs").join(what);
    let is_there = std::fs::read_dir(&folder)
        .into_iter()
        .flatten()
        .flatten()
        .any(|entry| entry.file_name().to_string_lossy().starts_with(name));
    if !is_there {
        eprintln!("skipped: {name} was not fetched (`cargo xtask programs`)");
        return None;
    }
    Some(folder)
}
