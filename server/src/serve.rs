//! The whole program, put together: store, ingest, detection, investigation, pages, and their orderly end.

use std::future::IntoFuture as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use domain::{Batch, Clock};
use ingest::Ingest;
use investigator::Knowledge;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use storage::{Location, Options, Store};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::config::{self, Config};
use crate::detect::{Detector, Look};
use crate::incidents::Incidents;
use crate::investigate::Investigations;
use crate::knowledge;
use crate::lifecycle::Stage;
use crate::memory::Memory;
use crate::metrics::Metrics;
use crate::noise::{self, Noise, kubernetes};
use crate::notify::Notifier;
use crate::slack::Slack;
use crate::telling::Telling;
use crate::web::{self, App};
use crate::writer::{self, AppendFailed, Versions};

/// How long listeners may take to stop before the schedules are stopped beside them. With [`crate::lifecycle::STAGE_TIMEOUT`] for
/// these and for the writer, a stop takes 25 s at most: Kubernetes kills what has not ended after 30 s.
const LISTENERS_ALONE: Duration = Duration::from_secs(5);

/// Where the program can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// Pages, API and probes.
    pub pages: SocketAddr,
    /// OTLP over gRPC.
    pub grpc: SocketAddr,
    /// OTLP over HTTP.
    pub http: SocketAddr,
}

impl Addresses {
    /// The address of the pages, for a browser on this machine.
    pub fn pages_url(&self) -> String {
        url(self.pages)
    }

    /// Where OTLP over gRPC goes.
    pub fn grpc_url(&self) -> String {
        url(self.grpc)
    }

    /// Where OTLP over HTTP goes.
    pub fn http_url(&self) -> String {
        url(self.http)
    }
}

/// An address to connect to. Listening on all of a machine's addresses includes its loopback.
fn url(address: SocketAddr) -> String {
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => format!("http://127.0.0.1:{}", v4.port()),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => format!("http://[::1]:{}", v6.port()),
        other => format!("http://{other}"),
    }
}

/// The running program.
pub struct Running {
    addresses: Addresses,
    store: Store,
    incidents: Incidents,
    investigations: Investigations,
    listeners: Stage,
    schedules: Stage,
    notifying: Stage,
    writer: Stage,
    failure: Failure,
}

/// Starts everything; returns when all of it listens.
pub async fn start(config: Config, clock: Arc<dyn Clock>) -> anyhow::Result<Running> {
    // Ports first: they are what is most often taken, and the cheapest to ask for.
    let pages = bind(config.listen.pages, "pages").await?;
    let grpc = bind(config.listen.grpc, "OTLP over gRPC").await?;
    let http = bind(config.listen.http, "OTLP over HTTP").await?;
    let addresses =
        Addresses { pages: pages.local_addr()?, grpc: grpc.local_addr()?, http: http.local_addr()? };

    let store = open(&config).await?;
    match assemble(&config, clock, store.clone(), addresses, Listeners { pages, grpc, http }).await {
        Ok(running) => Ok(running),
        Err(error) => {
            store.close().await.context("cannot close the store after a failed start")?;
            Err(error)
        }
    }
}

/// Opens the store that the settings name.
pub async fn open(config: &Config) -> anyhow::Result<Store> {
    let location = match &config.storage.clickhouse {
        Some(url) => Location::Remote { url: url.clone() },
        None => Location::Embedded { dir: config.storage.data.clone() },
    };
    let retention = &config.retention;
    let retention = storage::Retention {
        traces: retention.traces.duration(),
        logs: retention.logs.duration(),
        metrics: retention.metrics.duration(),
        profiles: retention.profiles.duration(),
        changes: retention.changes.duration(),
        aggregates: retention.aggregates.duration(),
    };
    let options = Options { retention, database: config.storage.database.clone() };
    Store::open(location, options).await.context("cannot open the store")
}

struct Listeners {
    pages: TcpListener,
    grpc: TcpListener,
    http: TcpListener,
}

async fn assemble(
    config: &Config,
    clock: Arc<dyn Clock>,
    store: Store,
    addresses: Addresses,
    sockets: Listeners,
) -> anyhow::Result<Running> {
    let (listeners, schedules) = (Stage::default(), Stage::default());
    let (notifying, writer) = (Stage::default(), Stage::default());
    let failure = Failure::default();
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);

    let (ingest, submissions) = Ingest::new(config.limits.to_ingest(), clock.clone(), &mut registry);
    let ingest = Arc::new(ingest);
    let known = store.versions().await.context("cannot ask which versions are known")?;
    let known = known.into_iter().map(|seen| (seen.service, seen.version, seen.first_seen));
    let versions = Versions::load(known);
    let (events, arriving) = tokio::sync::mpsc::channel(kubernetes::MAX_WAITING);
    writer.spawn(writer::run(
        submissions,
        writer.token(),
        append(store.clone(), events, metrics.writer.dropped_events.clone()),
        versions,
        metrics.writer.clone(),
    ));

    let incidents = Incidents::load(store.clone(), clock.clone(), metrics.incidents.clone()).await?;
    let objectives = Arc::new(config::table(&config.slo));
    let knowledge = Arc::new(match &config.knowledge.folder {
        None => Knowledge::built_in().clone(),
        Some(folder) => Knowledge::built_in().with_folder(folder).context("cannot use `knowledge.folder`")?,
    });
    if let Some(folder) = &config.knowledge.folder {
        schedules.spawn(knowledge::keep(knowledge.clone(), folder.clone(), schedules.token()));
    }
    let telling = Telling::load(&config.narrator, knowledge.clone(), store.clone(), clock.clone()).await?;
    let memory = Memory::new(&config.memory, store.clone(), incidents.clone(), clock.clone())?;
    let (token, level) = (schedules.token(), memory.clone());
    schedules.spawn(async move {
        token.run_until_cancelled(level.bring_level()).await;
    });
    let investigations = Investigations::new(
        store.clone(),
        incidents.clone(),
        telling.clone(),
        memory.clone(),
        knowledge.clone(),
        objectives.clone(),
        config.investigation.clone(),
        clock.clone(),
        metrics.incidents.clone(),
        schedules.clone(),
    );
    let look = Look::new(store.clone(), objectives.clone(), config);
    let (outlook, outlooks) = tokio::sync::watch::channel(Arc::default());
    let settings = noise::Settings::new(&config.noise)?;
    let noise =
        Noise::load(store.clone(), clock.clone(), incidents.clone(), outlooks.clone(), settings).await?;
    schedules.spawn(noise.clone().keep_silences(schedules.token()));
    let dropped = metrics.writer.dropped_events.clone();
    schedules.spawn(kubernetes::run(arriving, noise.clone(), clock.clone(), dropped, schedules.token()));
    if config.detection.enabled {
        investigations.resume();
        let detector = Detector {
            look: look.clone(),
            incidents: incidents.clone(),
            noise: noise.clone(),
            every: config.detection.every.0,
            clock: clock.clone(),
            metrics: metrics.incidents.clone(),
            outlook,
        };
        let (token, follow) = (schedules.token(), investigations.clone());
        schedules.spawn(async move { detector.run(token, move |id| follow.follow(id)).await });
    }

    let public_url = config.public_url.as_deref();
    let pages_url =
        public_url.map_or_else(|| addresses.pages_url(), |url| url.trim_end_matches('/').to_owned());
    let notifier =
        Notifier::new(&config.notify, store.clone(), incidents.clone(), clock.clone(), &pages_url).await?;
    let (token, sender, heard) = (notifying.token(), notifier.clone(), noise.subscribe());
    notifying.spawn(async move { sender.run(token, heard).await });
    let slack = config.slack.as_ref().map(|slack| Slack::new(slack, &pages_url)).transpose()?;
    let app = App {
        store: store.clone(),
        incidents: incidents.clone(),
        investigations: investigations.clone(),
        telling,
        memory,
        knowledge,
        look,
        outlooks,
        clock,
        registry: Arc::new(registry),
        noise,
        notifier,
        slack,
        api_token: config.access.api_token.clone(),
        tasks: listeners.clone(),
        base_path: web::base_path(public_url).into(),
        draining: listeners.token(),
    };
    let pages = web::router(app, ingest::change_router(ingest.clone()), public_url)?;
    serve_http(&listeners, &failure, "pages", sockets.pages, pages);
    serve_http(&listeners, &failure, "OTLP over HTTP", sockets.http, ingest::http_router(ingest.clone()));
    let (token, failed) = (listeners.token(), failure.clone());
    listeners.spawn(async move {
        if let Err(error) = ingest::serve_grpc(ingest, sockets.grpc, token).await {
            failed.set(anyhow::Error::new(error).context("OTLP over gRPC stopped"));
        }
    });
    Ok(Running {
        addresses,
        store,
        incidents,
        investigations,
        listeners,
        schedules,
        notifying,
        writer,
        failure,
    })
}

async fn bind(address: SocketAddr, what: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address} for {what}"))
}

fn serve_http(
    stage: &Stage,
    failure: &Failure,
    what: &'static str,
    listener: TcpListener,
    router: axum::Router,
) {
    let (token, failure) = (stage.token(), failure.clone());
    stage.spawn(async move {
        let serving = axum::serve(listener, router).with_graceful_shutdown(token.cancelled_owned());
        if let Err(error) = serving.into_future().await {
            failure.set(anyhow::Error::new(error).context(format!("{what} stopped")));
        }
    });
}

/// What the writer stores with. Events of Kubernetes among what was stored become alerts, without holding up the sender.
fn append(
    store: Store,
    events: tokio::sync::mpsc::Sender<Vec<kubernetes::Event>>,
    dropped: Counter,
) -> impl Fn(Arc<Batch>) -> futures::future::BoxFuture<'static, Result<(), AppendFailed>> + Clone + Send + Sync
{
    move |batch| {
        let (store, events, dropped) = (store.clone(), events.clone(), dropped.clone());
        Box::pin(async move {
            // Encoding tens of thousands of rows is work, not waiting: it would hold up the threads that answer senders.
            let handle = tokio::runtime::Handle::current();
            let appended = tokio::task::spawn_blocking(move || {
                handle.block_on(store.append(&batch))?;
                Ok(kubernetes::events(&batch))
            });
            let found =
                appended.await.unwrap_or(Err(storage::Error::Stopped)).map_err(|error| AppendFailed {
                    rows_to_blame: rows_to_blame(&error),
                    message: format!("{:#}", anyhow::Error::new(error)),
                })?;
            let count = found.len() as u64;
            if count > 0 && events.try_send(found).is_err() {
                dropped.inc_by(count);
            }
            Ok(())
        })
    }
}

/// ClickHouse's codes for trouble of its own: too many statements, a timeout, no memory, no space, too many parts.
const TROUBLE_OF_ITS_OWN: [u32; 6] = [159, 202, 209, 241, 243, 252];

/// An engine that answers with an error of another kind has looked at the rows; one that does not answer has not.
fn rows_to_blame(error: &storage::Error) -> bool {
    error.clickhouse_code().is_some_and(|code| !TROUBLE_OF_ITS_OWN.contains(&code))
}

impl Running {
    /// Where it can be reached.
    pub const fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Its store.
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// Its incidents.
    pub const fn incidents(&self) -> &Incidents {
        &self.incidents
    }

    /// Its investigations.
    pub const fn investigations(&self) -> &Investigations {
        &self.investigations
    }

    /// Returns when a part has failed that the rest cannot do without.
    pub async fn failed(&self) -> anyhow::Error {
        self.failure.wait().await
    }

    /// Stops in order: nothing new is taken, what was taken is stored and told, the store is closed.
    pub async fn shutdown(self) -> anyhow::Result<()> {
        let Self { store, incidents, investigations, listeners, schedules, notifying, writer, .. } = self;
        let began = tokio::time::Instant::now();
        let (listeners, schedules) = stop_in_turn(&listeners, &schedules).await;
        tracing::debug!(elapsed_ms = began.elapsed().as_millis(), "listeners and schedules stopped");
        // The notifier after those that it hears from.
        let (notifying, writer) = tokio::join!(notifying.stop(), writer.stop());
        tracing::debug!(elapsed_ms = began.elapsed().as_millis(), "notifier and writer stopped");
        let stages =
            [("listeners", listeners), ("schedules", schedules), ("notifier", notifying), ("writer", writer)];
        for (what, ended) in stages {
            if !ended {
                tracing::warn!(what, "did not stop in time");
            }
        }
        drop((incidents, investigations));
        store.close().await.context("cannot close the store")
    }
}

/// Stops the listeners, so that the requests that they have begun find everything that they need, and then the schedules, whether
/// the listeners have ended after [`LISTENERS_ALONE`] or not. Whether each ended.
async fn stop_in_turn(listeners: &Stage, schedules: &Stage) -> (bool, bool) {
    let mut stopping = std::pin::pin!(listeners.stop());
    match tokio::time::timeout(LISTENERS_ALONE, &mut stopping).await {
        Ok(ended) => (ended, schedules.stop().await),
        Err(_) => tokio::join!(stopping, schedules.stop()),
    }
}

/// The first part that failed.
#[derive(Clone, Default)]
struct Failure {
    happened: CancellationToken,
    error: Arc<Mutex<Option<anyhow::Error>>>,
}

impl Failure {
    fn set(&self, error: anyhow::Error) {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.happened.cancel();
    }

    async fn wait(&self) -> anyhow::Error {
        self.happened.cancelled().await;
        let error = self.error.lock().unwrap_or_else(PoisonError::into_inner).take();
        error.unwrap_or_else(|| anyhow::anyhow!("a part of the program stopped"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn schedules_run_until_requests_have_ended_but_not_for_ever() {
        let (listeners, schedules) = (Stage::default(), Stage::default());
        let (token, needed) = (listeners.token(), schedules.token());
        listeners.spawn(async move {
            token.cancelled().await;
            tokio::time::sleep(LISTENERS_ALONE - Duration::from_millis(1)).await;
            assert!(!needed.is_cancelled(), "what the request needs has stopped");
        });
        assert_eq!(stop_in_turn(&listeners, &schedules).await, (true, true));

        let began = tokio::time::Instant::now();
        let (stuck, schedules) = (Stage::default(), Stage::default());
        stuck.spawn(std::future::pending());
        let token = schedules.token();
        schedules.spawn(async move { token.cancelled().await });
        assert_eq!(stop_in_turn(&stuck, &schedules).await, (false, true));
        assert_eq!(began.elapsed(), crate::lifecycle::STAGE_TIMEOUT);
    }
}
