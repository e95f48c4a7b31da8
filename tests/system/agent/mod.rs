//! The agent watches real programs, and what it ships is found in the store.
//!
//! These need root and a kernel that takes programs; elsewhere each says that it is skipped. The agent sees the whole machine: every
//! test looks for its own services only.

mod brokers;
mod containers;
mod databases;
mod grpc;
mod host;
mod logs;
mod namespaces;
mod network;
mod profiles;
mod requests;
mod rustls;
mod shop;
mod tls;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use agent::settings::Settings;
use domain::{UnixNanos, Window};
use storage::questions::metric_values::SeriesValues;
use storage::questions::service_graph::ServiceEdge;
use storage::questions::trace::TraceRow;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use crate::harness::{TestServer, now, serve};

/// A server, an agent that ships to it, and a folder for the programs under watch.
pub struct Watched<'a> {
    server: &'a TestServer,
    since: UnixNanos,
    folder: TempDir,
    metrics: std::net::SocketAddr,
}

/// Whether programs can be attached here; says why not.
fn can_watch() -> bool {
    let (says, works) = agent::check::check(&Settings::default());
    if !works {
        eprintln!("skipped: the kernel or the privileges here do not let programs be attached\n{says}");
    }
    works
}

/// Runs `test` with an agent watching this machine; skips where that is not permitted.
async fn watch(test: impl AsyncFnOnce(&Watched<'_>)) {
    watch_with(|_, _| (), test).await;
}

/// The same with other settings, which may name things in the folder of the programs.
async fn watch_with(set: impl FnOnce(&mut Settings, &Path), test: impl AsyncFnOnce(&Watched<'_>)) {
    if !can_watch() {
        return;
    }
    serve(async |server| {
        let folder = tempfile::tempdir().expect("a folder");
        let metrics = free_address();
        let mut settings = Settings {
            server: server.grpc(),
            data: folder.path().join("agent"),
            metrics: Some(metrics),
            // Not to be disturbed by whatever else this machine does.
            cores: 64.0,
            peers: 1_000,
            ..Settings::default()
        };
        set(&mut settings, folder.path());
        let stop = CancellationToken::new();
        let running = tokio::spawn(agent::run::run(settings, stop.clone()));
        let watched = Watched { server, since: now(), folder, metrics };
        watched.until("page of the agent", async |it| it.page().await).await;
        test(&watched).await;
        stop.cancel();
        running.await.expect("no panic").expect("an orderly end");
    })
    .await;
}

impl Watched<'_> {
    /// A folder for the programs under watch.
    fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Waits until `look` finds something.
    async fn until<T>(&self, what: &str, look: impl AsyncFn(&Self) -> Option<T>) -> T {
        self.server.until(what, async |_| look(self).await).await
    }

    fn window(&self) -> Window {
        Window::new(self.since.minus(Duration::from_secs(5)), now().plus(Duration::from_secs(5)))
    }

    /// Who calls whom, as the store pairs it.
    async fn edge(&self, caller: &str, callee: &str) -> ServiceEdge {
        self.until(&format!("edge from {caller} to {callee}"), async |it| {
            let edges = it.server.store().service_graph(it.window()).await.expect("the store answers");
            edges.into_iter().find(|edge| edge.caller == caller && edge.callee == callee)
        })
        .await
    }

    /// A whole trace through an operation of a service.
    async fn trace(&self, service: &str, name: &str) -> Vec<TraceRow> {
        self.until(&format!("span {name} of {service}"), async |it| {
            let store = it.server.store();
            let id =
                store.typical_trace(service, name, it.window(), 1.0).await.expect("the store answers")?;
            Some(store.trace(&id).await.expect("the store answers"))
        })
        .await
    }

    /// The agent's own page of measurements.
    async fn page(&self) -> Option<String> {
        let answer = reqwest::get(format!("http://{}/metrics", self.metrics)).await.ok()?;
        answer.text().await.ok()
    }

    /// A measurement of the agent, once it is above 0: the first whose line begins with `name` and has all of `labels`.
    async fn measured(&self, name: &str, labels: &[&str]) -> f64 {
        let look = async |_: &TestServer| {
            let page = self.page().await?;
            let fits = |line: &&str| {
                line.starts_with(&format!("{name}{{")) && labels.iter().all(|label| line.contains(label))
            };
            let value: f64 = page.lines().find(fits)?.rsplit(' ').next()?.parse().ok()?;
            (value > 0.0).then_some(value)
        };
        if let Some(value) = self.server.patiently(look).await {
            return value;
        }
        let page = self.page().await.unwrap_or_default();
        let near: Vec<&str> =
            page.lines().filter(|line| line.contains(labels[0]) && !line.contains("_bucket")).collect();
        panic!("no {name} with {labels:?}, but\n{}", near.join("\n"));
    }

    /// A whole trace through some operation of a service in whose name `part` is.
    async fn trace_like(&self, service: &str, part: &str) -> Vec<TraceRow> {
        let name = self
            .until(&format!("operation of {service} with {part}"), async |it| {
                let query = "SELECT toString(SpanName) FROM otel_traces WHERE ServiceName = ? AND position(SpanName, ?) > 0 LIMIT 1";
                let asked = it.server.store().client().query(query).bind(service).bind(part);
                asked.fetch_optional::<String>().await.expect("the store answers")
            })
            .await;
        self.trace(service, &name).await
    }

    /// What the store knows of the resource that answers requests as `service`.
    async fn resource(&self, service: &str, attribute: &str) -> String {
        self.until(&format!("{attribute} of {service} in the store"), async |it| {
            let found = it.server.store().attribute_values(service, it.window(), 0.0).await;
            let found = found.expect("the store answers").values;
            found.into_iter().find(|it| it.key == attribute).map(|it| it.value)
        })
        .await
    }

    /// Whether the store has a metric of this name for a service.
    async fn stored(&self, metric: &str, service: &str) {
        self.until(&format!("{metric} of {service} in the store"), async |it| {
            let found = it.server.store().metric_values(it.window()).await;
            let found = found.expect("the store answers");
            let of = |series: &SeriesValues| series.labels.iter().any(|(_, value)| value == service);
            found.iter().any(|series| series.name == metric && of(series)).then_some(())
        })
        .await;
    }
}

/// A program that ends with the test.
struct Program {
    child: Child,
}

/// Starts `program` in `folder`, under the service name `service` when it is given one.
fn start(folder: &Path, service: &str, program: &str, arguments: &[&str]) -> Program {
    let name = ("OTEL_SERVICE_NAME", service.to_owned());
    let variables = if service.is_empty() { &[][..] } else { &[name] };
    start_with(folder, variables, program, arguments)
}

/// The same, with variables of its environment.
fn start_with(folder: &Path, variables: &[(&str, String)], program: &str, arguments: &[&str]) -> Program {
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
async fn finish(folder: &Path, service: &str, program: &str, arguments: &[&str]) -> bool {
    let mut program = start(folder, service, program, arguments);
    program.child.wait().await.expect("it ends").success()
}

/// Where a program is, when it is installed: tests of others are skipped.
fn installed(names: &[&str]) -> Option<PathBuf> {
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

/// A real Python, not one of the scripts that stand before it.
fn python() -> Option<String> {
    let output = std::process::Command::new("python3")
        .args(["-c", "import sys; print(sys.executable)"])
        .output()
        .ok()?;
    let path = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (!path.is_empty()).then_some(path)
}

/// A port of loopback that was free a moment ago.
fn free_address() -> std::net::SocketAddr {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    listener.local_addr().expect("an address")
}

/// Waits until somebody accepts at `port`.
async fn accepting(port: u16) {
    for _ in 0..600 {
        if tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("nobody listens at port {port}");
}
