//! The same shop without a line of telemetry: each service a process of its own, as an agent on the host finds them.
//!
//! Every process runs a copy of this program under the name of its service, at a fixed port, so that its path says what it is.
//! Nothing is sent, and no trace context travels in headers.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::acquirer::Acquirer;
use crate::call::Outbound;
use crate::directory::Directory;
use crate::event::ShopEvent;
use crate::fault::Fault;
use crate::load::{Load, Mix};
use crate::random::Random;
use crate::serve;
use crate::services::cart;
use crate::services::catalog::{self, PriceLookup};
use crate::services::inventory::{self, Inventory};
use crate::services::{checkout, gateway, payment};
use crate::telemetry::{Identity, Telemetry};

/// The processes, with the number that is added to the first port.
const SERVICES: [&str; 7] =
    ["gateway", "checkout", "catalog", "cart", "payment", "inventory", payment::ACQUIRER];
const REPORT_PERIOD: Duration = Duration::from_secs(5);
/// How long the processes have to open their ports.
const STARTING: Duration = Duration::from_secs(20);

/// What every process of the shop is told.
#[derive(Clone, Debug)]
pub struct BareOptions {
    /// Port of the first service; the others follow.
    pub first_port: u16,
    /// Decides arrivals, choices and delays.
    pub seed: u64,
    /// Visitors per second.
    pub requests_per_second: f64,
    /// What goes wrong, and how long after the start.
    pub fault: Option<(Fault, Duration)>,
    /// Holds the database files and the programs.
    pub data_dir: PathBuf,
}

impl BareOptions {
    fn directory(&self) -> Arc<Directory> {
        let directory = Directory::default();
        for (number, service) in SERVICES.into_iter().enumerate() {
            directory.set(service, ([127, 0, 0, 1], self.port(number)).into());
        }
        Arc::new(directory)
    }

    fn port(&self, number: usize) -> u16 {
        self.first_port.saturating_add(number as u16)
    }

    /// How one process is told all of this.
    fn arguments(&self, service: &str) -> Vec<String> {
        let mut arguments = vec![
            "--serve".to_owned(),
            service.to_owned(),
            "--first-port".to_owned(),
            self.first_port.to_string(),
            "--seed".to_owned(),
            self.seed.to_string(),
            "--data-dir".to_owned(),
            self.data_dir.display().to_string(),
        ];
        if let Some((fault, after)) = self.fault {
            arguments.extend(["--fault".to_owned(), fault.name().to_owned()]);
            arguments.extend(["--fault-after".to_owned(), format!("{}ms", after.as_millis())]);
        }
        arguments
    }
}

/// Starts the processes and the load, and ends them all when cancelled.
pub async fn run_bare(
    options: BareOptions,
    events: mpsc::Sender<ShopEvent>,
    cancel: CancellationToken,
) -> anyhow::Result<()> {
    let programs = options.data_dir.join("bin");
    std::fs::create_dir_all(&programs).with_context(|| format!("failed to create {}", programs.display()))?;
    catalog::create(&options.data_dir)?;
    inventory::create(&options.data_dir)?;
    let own = std::env::current_exe().context("failed to find this program")?;
    let mut children = Vec::new();
    for service in SERVICES {
        children.push(start(&own, &programs.join(service), &options.arguments(service))?);
    }
    let directory = options.directory();
    for service in SERVICES {
        open(&directory, service).await?;
    }
    let url = |service: &str| directory.get(service).map(|at| (service.to_owned(), format!("http://{at}")));
    let started = ShopEvent::Started {
        services: SERVICES.iter().map(|it| (*it).to_owned()).collect(),
        urls: SERVICES.iter().filter_map(|service| url(service)).collect(),
    };
    let _ = events.try_send(started);
    let load = Load::new(Arc::clone(&directory));
    let random = Random::new(options.seed);
    let rate = options.requests_per_second;
    tokio::spawn(Arc::clone(&load).generate(Mix::Usual, rate, random.child("load"), cancel.clone()));
    let told = options.fault.map(|(fault, after)| (fault, tokio::time::Instant::now() + after));
    let mut told = told.into_iter();
    let mut next = told.next();
    while !cancel.is_cancelled() {
        tokio::select! {
            () = cancel.cancelled() => {}
            () = tokio::time::sleep(REPORT_PERIOD) => {
                let _ = events.try_send(load.report(REPORT_PERIOD));
            }
            () = async { tokio::time::sleep_until(next.map_or_else(tokio::time::Instant::now, |it| it.1)).await }, if next.is_some() => {
                if let Some((fault, _)) = next.take() {
                    if fault == Fault::TrafficSurge {
                        let surge = (rate * 6.0).min(240.0);
                        tokio::spawn(Arc::clone(&load).generate(Mix::Browse, surge, random.child("surge"), cancel.clone()));
                    }
                    let _ = events.try_send(ShopEvent::FaultStarted { name: fault.name(), what: fault.description() });
                }
            }
        }
    }
    for child in &mut children {
        let _ = child.kill().await;
    }
    let _ = events.try_send(ShopEvent::Stopped);
    Ok(())
}

/// Runs one service in this process until cancelled.
pub async fn serve_bare(
    service: &str,
    options: BareOptions,
    cancel: CancellationToken,
) -> anyhow::Result<()> {
    let number =
        SERVICES.iter().position(|it| *it == service).with_context(|| format!("no service {service:?}"))?;
    let name = SERVICES[number];
    let identity = Identity { service: name, version: "", instance: String::new() };
    let telemetry = Arc::new(Telemetry::silent(identity));
    let outbound = Outbound::new(Arc::clone(&telemetry), options.directory());
    let fault = |of: Fault| options.fault.filter(|(fault, _)| *fault == of).map(|(_, after)| after);
    let random = Random::new(options.seed);
    let port = options.port(number);
    let serve =
        async |router: Router| serve::serve_at(router, port).await.map(|(_, stop, task)| (stop, task));
    let running = match name {
        "gateway" => serve(gateway::router(outbound)).await?,
        "cart" => serve(cart::router(cart::fill(random.child("carts")))).await?,
        "payment" => serve(payment::router(outbound, telemetry)).await?,
        "checkout" => {
            let flag = Arc::new(AtomicBool::new(false));
            let router = checkout::router(outbound, telemetry, Arc::clone(&flag));
            later(fault(Fault::FlagError), move || flag.store(true, Ordering::Relaxed));
            serve(router).await?
        }
        "inventory" => {
            let inventory = Inventory::open(telemetry, options.data_dir.clone())?;
            let router = inventory.router();
            let stop = cancel.clone();
            later(fault(Fault::DatabaseLock), move || {
                tokio::task::spawn_blocking(move || inventory.import_until(&stop));
            });
            serve(router).await?
        }
        "catalog" => {
            let make = |lookup| catalog::router(Arc::clone(&telemetry), options.data_dir.clone(), lookup);
            let before = serve(make(PriceLookup::Batch)?).await?;
            match fault(Fault::NPlusOne) {
                None => before,
                Some(after) => {
                    tokio::select! {
                        () = tokio::time::sleep(after) => {}
                        () = cancel.cancelled() => {}
                    }
                    serve::drain(before.0, before.1).await;
                    serve(make(PriceLookup::PerProduct)?).await?
                }
            }
        }
        _ => {
            let acquirer = Acquirer::new(random.child("acquirer"));
            let router = acquirer.router();
            later(fault(Fault::SlowDependency), move || acquirer.become_slow());
            serve(router).await?
        }
    };
    cancel.cancelled().await;
    serve::drain(running.0, running.1).await;
    Ok(())
}

fn later(after: Option<Duration>, act: impl FnOnce() + Send + 'static) {
    if let Some(after) = after {
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            act();
        });
    }
}

/// A link has the name that is wanted; where files cannot be linked, a copy does.
fn start(own: &Path, program: &Path, arguments: &[String]) -> anyhow::Result<Child> {
    let _ = std::fs::remove_file(program);
    if std::fs::hard_link(own, program).is_err() {
        std::fs::copy(own, program).with_context(|| format!("failed to copy {}", own.display()))?;
    }
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("failed to start {}", program.display()))
}

async fn open(directory: &Directory, service: &str) -> anyhow::Result<()> {
    let address = directory.get(service).with_context(|| format!("no service {service:?}"))?;
    let waiting = async {
        while tokio::net::TcpStream::connect(address).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(STARTING, waiting)
        .await
        .with_context(|| format!("{service} does not answer at {address}"))
}
