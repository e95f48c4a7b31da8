//! The life of the shop: everything starts, the load arrives, a harmless deploy, the fault, and an orderly end.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::Context as _;
use axum::Router;
use futures::future::join_all;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::acquirer::Acquirer;
use crate::call::Outbound;
use crate::changes::{Change, Changes};
use crate::directory::Directory;
use crate::event::ShopEvent;
use crate::fault::Fault;
use crate::load::{Load, Mix};
use crate::random::Random;
use crate::serve::{self, Instance};
use crate::services::cart::{self, Carts};
use crate::services::catalog::{self, PriceLookup};
use crate::services::inventory::{self, Inventory};
use crate::services::{checkout, gateway, payment};
use crate::telemetry::{Identity, Telemetry};

const REPORT_PERIOD: Duration = Duration::from_secs(5);
/// How long before the fault the harmless deploy comes, when there is that much time.
const DECOY_LEAD: Duration = Duration::from_secs(25);
/// Visitors who only browse, per usual visitor, during a surge.
const SURGE_FACTOR: f64 = 6.0;
/// Visitors per second that a surge adds at most: what saturates the pool. More would only saturate the machine.
const SURGE_LIMIT: f64 = 240.0;
/// How long a replaced instance goes on accepting: whoever has just looked up its address still gets an answer.
const HANDOVER: Duration = Duration::from_millis(100);
/// A listener that does not listen may not hold up the shop.
const EVENT_LIMIT: Duration = Duration::from_millis(100);

/// How to run the shop.
#[derive(Clone, Debug)]
pub struct ShopOptions {
    /// Where telemetry goes, by OTLP over gRPC: `http://127.0.0.1:4317`.
    pub otlp_endpoint: String,
    /// Decides arrival times, choices, carts and the acquirer's delays. Trace ids stay random: two runs are two stories.
    pub seed: u64,
    /// Visitors per second. The faults are tuned for 40, and show between 25 and 60.
    pub requests_per_second: f64,
    /// What goes wrong, and how long after the start.
    pub fault: Option<(Fault, Duration)>,
    /// Where changes are posted, plain `http`: `http://127.0.0.1:8080/api/v1/changes`.
    pub change_endpoint: Option<String>,
    /// Holds the database files, which are created anew.
    pub data_dir: PathBuf,
}

/// Runs the shop until cancelled, then stops it in order within about three seconds.
///
/// Twenty-five seconds before the fault (or halfway, when it comes sooner) `cart` is deployed in a version that behaves
/// the same, so that blaming the latest deploy is not a safe bet. Events nobody takes are dropped.
///
/// # Errors
///
/// When the data directory cannot be written, a port cannot be opened, or an option makes no sense.
pub async fn run(
    options: ShopOptions,
    events: mpsc::Sender<ShopEvent>,
    cancel: CancellationToken,
) -> anyhow::Result<()> {
    let rate = options.requests_per_second;
    anyhow::ensure!(rate.is_finite() && rate > 0.0, "requests per second must be above 0, not {rate}");
    let mut shop = Shop::open(options, events).await?;
    shop.tell(shop.started()).await;
    let load = shop.start_load(&cancel);
    let outcome = tokio::select! {
        () = cancel.cancelled() => Ok(()),
        outcome = shop.story(&load, &cancel) => outcome,
    };
    // A story that failed ends the load as well.
    load.stop.cancel();
    load.finish().await;
    shop.close().await;
    outcome
}

/// Everything that runs, but for the load.
struct Shop {
    options: ShopOptions,
    events: mpsc::Sender<ShopEvent>,
    random: Random,
    directory: Arc<Directory>,
    changes: Changes,
    started: Instant,
    /// Part of every instance id, so that no two runs share one.
    run: String,
    launched: AtomicU32,
    instances: Vec<Instance>,
    retired: JoinSet<()>,
    carts: Carts,
    inventory: Arc<Inventory>,
    new_tax_engine: Arc<AtomicBool>,
    acquirer: Arc<Acquirer>,
    acquirer_server: (CancellationToken, JoinHandle<()>),
    import: Option<(CancellationToken, JoinHandle<()>)>,
}

impl Shop {
    async fn open(options: ShopOptions, events: mpsc::Sender<ShopEvent>) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&options.data_dir)
            .with_context(|| format!("failed to create {}", options.data_dir.display()))?;
        catalog::create(&options.data_dir)?;
        inventory::create(&options.data_dir)?;
        let random = Random::new(options.seed);
        let directory = Arc::new(Directory::default());
        let acquirer = Acquirer::new(random.child("acquirer"));
        let (address, stop, server) = serve::serve(acquirer.router()).await?;
        directory.set(payment::ACQUIRER, address);

        let seconds = opentelemetry::time::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let run = format!("{seconds:x}");
        let identity =
            Identity { service: "inventory", version: "1.2.3", instance: format!("inventory-{run}-0") };
        let telemetry = Arc::new(Telemetry::start(identity, &options.otlp_endpoint)?);
        let inventory = Inventory::open(Arc::clone(&telemetry), options.data_dir.clone())?;
        let mut shop = Self {
            events,
            directory,
            changes: Changes::new(options.change_endpoint.clone()),
            started: Instant::now(),
            run,
            launched: AtomicU32::new(1),
            instances: Vec::new(),
            retired: JoinSet::new(),
            carts: cart::fill(random.child("carts")),
            inventory,
            new_tax_engine: Arc::default(),
            acquirer,
            acquirer_server: (stop, server),
            import: None,
            random,
            options,
        };
        shop.serve(telemetry, shop.inventory.router()).await?;
        shop.start_catalog("1.4.0", PriceLookup::Batch).await?;
        shop.start_cart("2.3.0").await?;
        let telemetry = shop.telemetry("payment", "1.9.4")?;
        shop.serve(Arc::clone(&telemetry), payment::router(shop.outbound(&telemetry), telemetry)).await?;
        let telemetry = shop.telemetry("checkout", "3.7.2")?;
        let flag = Arc::clone(&shop.new_tax_engine);
        let router = checkout::router(shop.outbound(&telemetry), Arc::clone(&telemetry), flag);
        shop.serve(telemetry, router).await?;
        let telemetry = shop.telemetry("gateway", "2.1.0")?;
        shop.serve(Arc::clone(&telemetry), gateway::router(shop.outbound(&telemetry))).await?;
        shop.started = Instant::now();
        Ok(shop)
    }

    fn telemetry(&self, service: &'static str, version: &'static str) -> anyhow::Result<Arc<Telemetry>> {
        let number = self.launched.fetch_add(1, Ordering::Relaxed);
        let identity = Identity { service, version, instance: format!("{service}-{}-{number}", self.run) };
        Ok(Arc::new(Telemetry::start(identity, &self.options.otlp_endpoint)?))
    }

    fn outbound(&self, telemetry: &Arc<Telemetry>) -> Outbound {
        Outbound::new(Arc::clone(telemetry), Arc::clone(&self.directory))
    }

    /// Starts an instance, sends new calls to it, and drains the instance it replaces, if any.
    async fn serve(&mut self, telemetry: Arc<Telemetry>, router: Router) -> anyhow::Result<()> {
        let instance = Instance::start(telemetry, router).await?;
        let service = instance.identity.service;
        self.directory.set(service, instance.address);
        if let Some(at) = self.instances.iter().position(|other| other.identity.service == service) {
            let previous = self.instances.remove(at);
            self.retired.spawn(async move {
                tokio::time::sleep(HANDOVER).await;
                previous.stop().await;
            });
        }
        self.instances.push(instance);
        Ok(())
    }

    async fn start_catalog(&mut self, version: &'static str, lookup: PriceLookup) -> anyhow::Result<()> {
        let telemetry = self.telemetry("catalog", version)?;
        let router = catalog::router(Arc::clone(&telemetry), self.options.data_dir.clone(), lookup)?;
        self.serve(telemetry, router).await
    }

    async fn start_cart(&mut self, version: &'static str) -> anyhow::Result<()> {
        let telemetry = self.telemetry("cart", version)?;
        self.serve(telemetry, cart::router(Arc::clone(&self.carts))).await
    }

    fn start_load(&self, cancel: &CancellationToken) -> Visitors {
        let visitors = Visitors {
            load: Load::new(Arc::clone(&self.directory)),
            stop: cancel.child_token(),
            tasks: std::sync::Mutex::default(),
        };
        visitors.send(Mix::Usual, self.options.requests_per_second, self.random.child("load"));
        visitors.report_to(self.events.clone());
        visitors
    }

    /// What happens while the load runs. Ends only by being dropped, or by failing.
    async fn story(&mut self, load: &Visitors, cancel: &CancellationToken) -> anyhow::Result<()> {
        if let Some((fault, after)) = self.options.fault {
            tokio::time::sleep_until(self.started + after - DECOY_LEAD.min(after / 2)).await;
            self.deploy_decoy().await?;
            tokio::time::sleep_until(self.started + after).await;
            self.inject(fault, load, cancel).await?;
            self.tell(ShopEvent::FaultStarted { name: fault.name(), what: fault.description() }).await;
        }
        std::future::pending().await
    }

    async fn deploy_decoy(&mut self) -> anyhow::Result<()> {
        self.start_cart("2.3.1").await?;
        self.announce(Change::deploy("cart", "2.3.1", "2.3.0", "cart 2.3.1: dependency updates")).await;
        Ok(())
    }

    async fn inject(
        &mut self,
        fault: Fault,
        load: &Visitors,
        cancel: &CancellationToken,
    ) -> anyhow::Result<()> {
        match fault {
            Fault::NPlusOne => {
                self.start_catalog("1.4.1", PriceLookup::PerProduct).await?;
                let detail = "catalog 1.4.1: prices are read through the new price repository";
                self.announce(Change::deploy("catalog", "1.4.1", "1.4.0", detail)).await;
            }
            Fault::DatabaseLock => self.start_import(cancel),
            Fault::FlagError => {
                self.new_tax_engine.store(true, Ordering::Relaxed);
                let detail = "flag new-tax-engine: rates by region for everyone";
                self.announce(Change::flag("checkout", checkout::TAX_FLAG, detail)).await;
            }
            Fault::SlowDependency => self.acquirer.become_slow(),
            Fault::TrafficSurge => {
                let rate = (self.options.requests_per_second * SURGE_FACTOR).min(SURGE_LIMIT);
                load.send(Mix::Browse, rate, self.random.child("surge"));
            }
        }
        Ok(())
    }

    fn start_import(&mut self, cancel: &CancellationToken) {
        let stop = cancel.child_token();
        let (inventory, stopped) = (Arc::clone(&self.inventory), stop.clone());
        let worker = tokio::task::spawn_blocking(move || inventory.import_until(&stopped));
        self.import = Some((stop, worker));
    }

    async fn announce(&self, change: Change) {
        let refused = self.changes.post(&change).await.err().map(|error| format!("{error:#}"));
        let Change { kind, service, version, previous, reference, .. } = change;
        self.tell(ShopEvent::Change { kind, service, version, previous, reference, refused }).await;
    }

    async fn tell(&self, event: ShopEvent) {
        let _ = self.events.send_timeout(event, EVENT_LIMIT).await;
    }

    fn started(&self) -> ShopEvent {
        let name =
            |instance: &Instance| format!("{} {}", instance.identity.service, instance.identity.version);
        let url = |instance: &Instance| {
            (instance.identity.service.to_owned(), format!("http://{}", instance.address))
        };
        ShopEvent::Started {
            services: self.instances.iter().map(name).collect(),
            urls: self.instances.iter().map(url).collect(),
        }
    }

    /// The import lets go of its lock, then all instances finish what they do and flush side by side.
    async fn close(mut self) {
        if let Some((stop, worker)) = self.import.take() {
            stop.cancel();
            let _ = worker.await;
        }
        let (stop, server) = self.acquirer_server;
        tokio::join!(
            join_all(self.instances.drain(..).map(Instance::stop)),
            async { while self.retired.join_next().await.is_some() {} },
            serve::drain(stop, server),
        );
        let _ = self.events.send_timeout(ShopEvent::Stopped, EVENT_LIMIT).await;
    }
}

/// The load and its tasks.
struct Visitors {
    load: Arc<Load>,
    stop: CancellationToken,
    tasks: std::sync::Mutex<JoinSet<()>>,
}

impl Visitors {
    fn send(&self, mix: Mix, rate: f64, random: Random) {
        self.spawn(Arc::clone(&self.load).generate(mix, rate, random, self.stop.clone()));
    }

    fn report_to(&self, events: mpsc::Sender<ShopEvent>) {
        let (load, stop) = (Arc::clone(&self.load), self.stop.clone());
        self.spawn(async move {
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(REPORT_PERIOD) => {}
                }
                let _ = events.try_send(load.report(REPORT_PERIOD));
            }
        });
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.lock().unwrap_or_else(std::sync::PoisonError::into_inner).spawn(task);
    }

    async fn finish(self) {
        let mut tasks = self.tasks.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        while tasks.join_next().await.is_some() {}
    }
}
