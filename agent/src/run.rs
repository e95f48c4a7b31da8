//! The running agent: events in, telemetry out, until it is told to stop.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use domain::UnixNanos;
use prost::Message as _;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::export::otlp::{Host, Spans};
use crate::export::{Endpoint, Parcel, Sender, Shipper, Signal, Spool, prometheus};
use crate::health::{self, Governor, Health};
use crate::host::Host as Machine;
use crate::identity::{self, Identities};
use crate::kernel::{Counters, Feature, Layout, Programs, Reader, State};
use crate::logs;
use crate::manners::Manners;
use crate::observe::{Coming, Observer, Settled};
use crate::profile::Profiles;
use crate::report::{self, Point};
use crate::settings::Settings;
use crate::ship_logs;
use crate::spans;
use crate::tls::TlsLibraries;
use crate::traces::Placed;

const SECOND: Duration = Duration::from_secs(1);
/// How often what is no longer used is let go.
const SWEEP: Duration = Duration::from_secs(60);
/// How often stacks are taken from the kernel: a process that ends takes the names of its functions with it.
const SAMPLE: Duration = Duration::from_secs(10);
/// How often profiles are shipped.
const PROFILE: Duration = Duration::from_secs(60);
/// Bytes of spans in one request to the server: about what HTTP/2 lets a client send before the server has read any of it.
const SPAN_BYTES: usize = 60_000;
/// The longest that the end may take.
const END: Duration = Duration::from_secs(5);

/// What is to be watched, by the settings.
pub fn wanted(settings: &Settings) -> Vec<Feature> {
    let mut wanted = vec![
        Feature::Processes,
        Feature::OutOfMemory,
        Feature::Connections,
        Feature::Retransmits,
        Feature::Resets,
    ];
    let optional =
        [(settings.watch.requests, Feature::Payloads), (settings.watch.profiles, Feature::Profiles)];
    if settings.watch.requests && settings.watch.tls {
        wanted.extend(Feature::TLS);
    }
    wanted.extend(optional.iter().filter(|(is_wanted, _)| *is_wanted).map(|(_, feature)| *feature));
    wanted
}

/// Runs until `stop` is cancelled.
pub async fn run(settings: Settings, stop: CancellationToken) -> Result<()> {
    let layout = Layout::of_this_kernel().context("the structures of this kernel are not known")?;
    let programs = Programs::attach(&layout, &wanted(&settings))?;
    for (feature, state) in programs.states() {
        if let State::Unavailable(reason) = state {
            tracing::warn!(?feature, reason, "not available here");
        }
    }
    let sender = Sender::new(&Endpoint { url: settings.server.clone(), headers: settings.headers.clone() })?;
    let spool = Spool::open(settings.data.join("spool"), settings.spool_bytes)
        .with_context(|| format!("cannot use {}", settings.data.display()))?;
    let ending = CancellationToken::new();
    let (shipper, shipping) = Shipper::start(sender, spool, ending.clone());
    let identities = Identities::new(settings.root.clone(), settings.rules()?);
    let followed = FollowedLogs::default();
    let logs = follow_logs(&settings, identities.beside(), &followed, &shipper, &stop)?;
    let page = Arc::new(Mutex::new(String::new()));
    let mut agent = Agent::new(&settings, identities, programs, shipper, followed, Arc::clone(&page))?;
    // Whoever is answered may rely on being watched: to look at all that runs already may take seconds.
    if let Some(address) = settings.metrics {
        serve(address, page).await?;
    }
    health::give_back_memory();
    tracing::info!(server = settings.server, "watching this host");
    let told = stop.clone();
    // It waits for nothing but its clock: a thread of its own needs no second one to be woken.
    let watching = tokio::task::spawn_blocking(move || {
        agent.watch(&told);
        agent.finish();
    });
    watching.await.context("the thread that reads events has ended")?;
    // Followers wait for the word that their last batch is safe.
    let _ = tokio::time::timeout(END, logs).await;
    ending.cancel();
    if tokio::time::timeout(END, shipping).await.is_err() {
        tracing::warn!("some telemetry could neither be sent nor kept in time");
    }
    Ok(())
}

/// What the followers of logs tell of themselves.
#[derive(Default)]
struct FollowedLogs {
    files: logs::Told,
    journal: logs::Told,
}

/// Follows logs in tasks of their own; the last one ends when all of them have.
fn follow_logs(
    settings: &Settings,
    identities: Identities,
    followed: &FollowedLogs,
    shipper: &Shipper,
    stop: &CancellationToken,
) -> Result<tokio::task::JoinHandle<()>> {
    let (out, shipments) = tokio::sync::mpsc::channel(1);
    let host = Host { name: host_name(settings) };
    if !settings.logs.files.is_empty() {
        let files = logs::Settings {
            root: settings.root.clone(),
            globs: settings.logs.files.clone(),
            positions: settings.data.join("log-positions"),
            from_start: false,
        };
        let following = logs::follow(files, clock::now, followed.files.clone(), out.clone(), stop.clone());
        tokio::spawn(async move {
            if let Err(error) = following.await {
                tracing::warn!(%error, "log files are not followed any more");
            }
        });
    }
    if settings.logs.journal && logs::journal::is_there(&settings.root) {
        let journal = logs::journal::Settings {
            program: "journalctl".into(),
            folder: logs::journal::folder(&settings.root),
            position: settings.data.join("journal-position"),
            from_start: false,
        };
        tokio::spawn(logs::journal::follow(journal, followed.journal.clone(), out, stop.clone()));
    }
    Ok(tokio::spawn(ship_logs::ship(shipments, identities, host, shipper.clone())))
}

fn host_name(settings: &Settings) -> String {
    settings.host.clone().unwrap_or_else(|| rustix::system::uname().nodename().to_string_lossy().into_owned())
}

struct Agent {
    programs: Programs,
    reader: Reader,
    counters: Counters,
    observer: Observer,
    /// Between one measurement and the next.
    interval: Duration,
    tls: Option<TlsLibraries>,
    profiles: Option<Profiles>,
    governor: Governor,
    shed_bits: u32,
    /// Events that found the buffer full, until the last look.
    lost: u64,
    host: Host,
    machine: Machine,
    identities: Identities,
    shipper: Shipper,
    followed: FollowedLogs,
    page: Arc<Mutex<String>>,
    since: UnixNanos,
    placed: Vec<Placed>,
    /// Spans of the parcel that is being filled.
    spans: Spans,
    manners: Manners,
}

impl Agent {
    fn new(
        settings: &Settings,
        identities: Identities,
        mut programs: Programs,
        shipper: Shipper,
        followed: FollowedLogs,
        page: Arc<Mutex<String>>,
    ) -> Result<Self> {
        let since = clock::now();
        let seed = since.0.unsigned_abs() ^ u64::from(std::process::id()) << 40;
        let mut observer = Observer::new(identities.beside(), settings.peers, seed);
        observer.set_wall(clock::wall_minus_monotonic());
        observer.listeners.read(&settings.root);
        observer.processes.read(&settings.root);
        let active = |feature| programs.states().get(feature) == Some(&State::Active);
        let tls = Feature::TLS.iter().any(active).then(|| {
            let mut libraries = TlsLibraries::new(settings.root.clone());
            libraries.watch_system();
            libraries.watch_running();
            libraries
        });
        let profiles = match programs.states().get(&Feature::Profiles) {
            Some(State::Active) => {
                let (samples, stacks) = programs.samples()?;
                let shipper = shipper.clone();
                let ship = move |body| {
                    shipper.post(Parcel { signal: Signal::Profiles, body: Bytes::from(body) });
                };
                let host = Host { name: host_name(settings) };
                let profiles = Profiles::start(samples, stacks, settings.root.clone(), host, ship);
                Some(profiles.context("no thread for the names of functions")?)
            }
            _ => None,
        };
        Ok(Self {
            reader: programs.reader()?,
            counters: programs.counters()?,
            programs,
            observer,
            interval: Duration::from_secs(settings.interval_seconds),
            tls,
            profiles,
            governor: Governor::new(settings.cores),
            shed_bits: 0,
            lost: 0,
            host: Host { name: host_name(settings) },
            machine: Machine::new(settings.root.clone()),
            identities,
            shipper,
            followed,
            page,
            since,
            placed: Vec::new(),
            spans: Spans::default(),
            manners: Manners::of_this_process(),
        })
    }

    fn watch(&mut self, stop: &CancellationToken) {
        let start = Instant::now();
        let (mut ticked, mut shipped, mut measured, mut swept, mut sampled, mut profiled) =
            (start, start, start, start, start, start);
        let mut used = clock::processor_time();
        while !stop.is_cancelled() {
            self.reader.wait();
            let crowded = self.read();
            let now = Instant::now();
            self.manners.after(crowded, now - start);
            self.gather(clock::now());
            if now - shipped >= SECOND {
                shipped = now;
                self.ship();
            }
            if now - ticked >= SECOND {
                let total = clock::processor_time();
                self.govern(total.saturating_sub(used), now - ticked);
                (ticked, used) = (now, total);
                // The wall clock is set now and then; events follow it.
                self.observer.set_wall(clock::wall_minus_monotonic());
                self.observer.tick(clock::now());
            }
            if now - measured >= self.interval {
                measured = now;
                self.measure();
            }
            if now - sampled >= SAMPLE {
                sampled = now;
                self.sample();
            }
            if now - profiled >= PROFILE {
                profiled = now;
                if let Some(profiles) = &self.profiles {
                    profiles.ship(clock::now());
                }
            }
            if now - swept >= SWEEP {
                swept = now;
                if let Some(tls) = &mut self.tls {
                    tls.sweep();
                }
                health::give_back_memory();
            }
        }
    }

    /// Handles what waits, and settles what follows from it; whether half of the buffer was full.
    fn read(&mut self) -> bool {
        let (observer, manners) = (&mut self.observer, &mut self.manners);
        let crowded = self.reader.drain(|bytes| {
            observer.take(bytes);
            manners.pause();
        });
        let settled = self.observer.settled();
        if let Err(error) =
            self.programs.settle(settled.into_iter().map(|Settled { socket, verdict }| (socket, verdict)))
        {
            tracing::warn!(error = format!("{error:#}"), "more is captured than is needed");
        }
        let comings = self.observer.take_comings();
        if let Some(tls) = &mut self.tls {
            for coming in comings {
                match coming {
                    Coming::Started(pid) => tls.watch_start(pid),
                    Coming::Encrypts(pid) => tls.watch_process(pid),
                    Coming::Ended(pid) => tls.ended(pid),
                }
            }
            tls.settle(&mut self.programs);
        }
        crowded
    }

    fn govern(&mut self, used: Duration, passed: Duration) {
        let full = self.counters.read().ring_full;
        let lost = full.saturating_sub(std::mem::replace(&mut self.lost, full));
        let bits = self.governor.decide(used, passed, lost);
        if bits == self.shed_bits {
            return;
        }
        match self.programs.shed(bits) {
            Ok(()) => {
                tracing::info!(
                    captured = 1.0 / f64::from(1 << bits),
                    "changed the share of time that is captured"
                );
                self.shed_bits = bits;
                self.observer.set_shed(bits);
            }
            Err(error) => tracing::warn!(error = format!("{error:#}"), "cannot change what is captured"),
        }
    }

    /// Takes the spans that are ready at `now`: a few at a time, so that no service has to wait for it. Full parcels go.
    fn gather(&mut self, now: UnixNanos) {
        let mut placed = std::mem::take(&mut self.placed);
        self.observer.spans(now, &mut placed);
        for one in placed.drain(..) {
            self.spans.push(&one.exchange.service, &spans::span(&one, self.shed_bits));
            if self.spans.bytes() >= SPAN_BYTES {
                self.ship();
            }
            self.manners.pause();
        }
        self.placed = placed;
    }

    /// Ships what was gathered.
    fn ship(&mut self) {
        if self.spans.bytes() > 0 {
            self.shipper.post(Parcel { signal: Signal::Traces, body: self.spans.request(&self.host) });
        }
    }

    fn measure(&mut self) {
        let points = self.points();
        if let Ok(mut page) = self.page.lock() {
            *page = prometheus::text(&points);
        }
        self.manners.pause();
        let request = self.host.metrics(&points, self.since, clock::now());
        self.shipper.post(Parcel { signal: Signal::Metrics, body: Bytes::from(request.encode_to_vec()) });
    }

    fn sample(&mut self) {
        if let Some(profiles) = &mut self.profiles {
            profiles.collect(&mut self.observer.processes);
        }
    }

    fn points(&mut self) -> Vec<Point> {
        let mut lost = self.counters.read();
        lost.samples += self.profiles.as_ref().map_or(0, Profiles::left_out);
        let health = Health {
            lost,
            troubles: self.observer.troubles,
            shed_bits: self.shed_bits,
            sizes: self.observer.sizes(),
            tls_files: self.tls.as_ref().map_or(0, TlsLibraries::len),
            files: self.followed.files.counts(),
            journal: self.followed.journal.counts(),
        };
        let mut points = report::services(&self.observer.edges, &mut self.observer.processes);
        self.manners.pause();
        points.extend(report::listening(&self.observer.listeners, &mut self.observer.processes));
        points.extend(health.points(self.shipper.shipped()));
        self.manners.pause();
        let samples = self.machine.sample(clock::now(), identity::is_whole);
        self.manners.pause();
        points.extend(report::machine(samples, &mut self.identities));
        points
    }

    /// What is held goes out, even though the other end of a connection may come later.
    fn finish(&mut self) {
        while self.read() {}
        let later = clock::now().plus(crate::traces::HOLD);
        self.observer.tick(later);
        self.gather(later);
        self.ship();
        self.measure();
        self.sample();
        if let Some(profiles) = self.profiles.take() {
            profiles.finish(clock::now());
        }
    }
}

async fn serve(address: std::net::SocketAddr, page: Arc<Mutex<String>>) -> Result<()> {
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}"))?;
    let answer = move || {
        let text = page.lock().map(|page| page.clone()).unwrap_or_default();
        async move { ([("content-type", "text/plain; version=0.0.4")], text) }
    };
    let router = axum::Router::new().route("/metrics", axum::routing::get(answer));
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "the page of measurements has ended");
        }
    });
    Ok(())
}
