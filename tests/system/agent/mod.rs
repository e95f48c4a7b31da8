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

use std::path::Path;
use std::time::Duration;

use agent::settings::Settings;
use domain::{UnixNanos, Window};
use storage::questions::metric_values::SeriesValues;
use storage::questions::service_graph::ServiceEdge;
use storage::questions::trace::TraceRow;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::RwLock;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::harness::{TestServer, now, serve};
use crate::programs::free_address;

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

/// Threads for an agent, which see the kernel's trace points where the machine does not show them to everybody.
fn threads_of_agent() -> Runtime {
    let build = || {
        agent::kernel::show_trace_points().expect("privileges");
        tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime")
    };
    std::thread::spawn(build).join().expect("no panic")
}

/// An agent that runs until it is told to stop.
fn start_agent(settings: Settings, stop: &CancellationToken) -> JoinHandle<anyhow::Result<()>> {
    let running = agent::run::run(settings, stop.clone());
    tokio::task::spawn_blocking(move || {
        let threads = threads_of_agent();
        threads.block_on(threads.spawn(running)).expect("no panic")
    })
}

/// Held by tests that leave the machine room for others, and alone by those that fill it: an agent that gets no turn loses events,
/// as it should, and others' tests would miss them.
static MACHINE: RwLock<()> = RwLock::const_new(());

/// Runs `test` with an agent watching this machine; skips where that is not permitted.
async fn watch(test: impl AsyncFnOnce(&Watched<'_>)) {
    watch_with(|_, _| (), test).await;
}

/// The same with other settings, which may name things in the folder of the programs.
async fn watch_with(set: impl FnOnce(&mut Settings, &Path), test: impl AsyncFnOnce(&Watched<'_>)) {
    let _others_may_run = MACHINE.read().await;
    watch_now(set, test).await;
}

/// The same while no other agent watches, for a test that keeps the machine busy.
async fn watch_alone(test: impl AsyncFnOnce(&Watched<'_>)) {
    let _alone = MACHINE.write().await;
    watch_now(|_, _| (), test).await;
}

async fn watch_now(set: impl FnOnce(&mut Settings, &Path), test: impl AsyncFnOnce(&Watched<'_>)) {
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
            interval_seconds: 1,
            ..Settings::default()
        };
        set(&mut settings, folder.path());
        let stop = CancellationToken::new();
        // A test that fails would wait for the agent for ever otherwise.
        let _stops = stop.clone().drop_guard();
        let running = start_agent(settings, &stop);
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
        if let Some(found) = self.server.patiently(async |_| look(self).await).await {
            return found;
        }
        let page = self.page().await.unwrap_or_default();
        let own: Vec<&str> = page.lines().filter(|line| line.starts_with("inquest_agent_")).collect();
        let edges = self.server.store().service_graph(self.window()).await.expect("the store answers");
        let edges: Vec<String> =
            edges.iter().map(|edge| format!("{} to {}", edge.caller, edge.callee)).collect();
        panic!("no {what} in time\nseen: {}\n{}", edges.join(", "), own.join("\n"));
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

    /// A whole trace through an operation of a service: its ends may come in two parcels.
    async fn trace(&self, service: &str, name: &str) -> Vec<TraceRow> {
        self.until(&format!("span {name} of {service}"), async |it| {
            let store = it.server.store();
            let id =
                store.typical_trace(service, name, it.window(), 1.0).await.expect("the store answers")?;
            let spans = store.trace(&id).await.expect("the store answers");
            let known = |span: &TraceRow| {
                span.parent.is_empty() || spans.iter().any(|other| other.span_id == span.parent)
            };
            spans.iter().all(known).then_some(spans)
        })
        .await
    }

    /// The same, of what `ask` leads to, which is done again and again until it is seen: a program is watched a moment after it starts or
    /// first encrypts, and how long a moment is depends on the machine.
    async fn trace_of_asking(&self, service: &str, name: &str, ask: impl AsyncFn()) -> Vec<TraceRow> {
        let asking = async {
            loop {
                ask().await;
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
        };
        tokio::select! {
            trace = self.trace(service, name) => trace,
            () = asking => unreachable!("it asks for ever"),
        }
    }

    /// The agent's own page of measurements.
    async fn page(&self) -> Option<String> {
        let answer = reqwest::get(format!("http://{}/metrics", self.metrics)).await.ok()?;
        answer.text().await.ok()
    }

    /// A measurement of the agent, once one is above 0: the first such whose line begins with `name` and has all of `labels`.
    async fn measured(&self, name: &str, labels: &[&str]) -> f64 {
        let look = async |_: &TestServer| {
            let page = self.page().await?;
            let fits = |line: &&str| {
                line.starts_with(&format!("{name}{{")) && labels.iter().all(|label| line.contains(label))
            };
            let value =
                |line: &str| line.rsplit(' ').next()?.parse::<f64>().ok().filter(|value| *value > 0.0);
            page.lines().filter(fits).find_map(value)
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
