//! `inquest demo`: the whole program on a live shop that breaks, told step by step.
//!
//! Deliberately absent: anything made up. The store, the server and the shop are the real ones, in one process.

mod folder;
mod outcome;
mod story;

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use domain::{Clock, IncidentId, Report};
use shop::{Fault, ShopEvent, ShopOptions};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::cli::DemoArgs;
use crate::clock::SystemClock;
use crate::config::Config;
use crate::lifecycle::{Signals, signals};
use crate::serve::{self, Running};
use crate::{command, export, output};
use folder::Folder;
pub use outcome::{Answer, Outcome, judge};
use story::Story;

/// With `--exit-after-answer`: how long after the fault an answer may still come right.
const PATIENCE: Duration = Duration::from_secs(120);

/// Events of the shop that wait to be told.
const MAX_EVENTS: usize = 64;

/// The shop reports its load often; every so manieth is told.
const TELL_LOAD_EVERY: u32 = 3;

/// Runs the command. `false` when the fault was not explained rightly.
pub async fn run(arguments: DemoArgs) -> anyhow::Result<bool> {
    if arguments.list {
        for fault in Fault::ALL {
            output::line(&format!("{:16} {}", fault.name(), fault.description()));
        }
        return Ok(true);
    }
    let signals = signals()?;
    let folder = Folder::open(arguments.data.as_deref())?;
    let clock = SystemClock::shared();
    let mut story = Story::new(clock.clone(), arguments.json);
    let config = config(folder.path());
    story.step("engine    loading ClickHouse, fetched once per machine");
    command::fetch_engine(&config).await?;
    let running = serve::start(config, clock.clone()).await?;
    let addresses = running.addresses();
    story.step(&format!("inquest   pages on {}, OTLP on {}", addresses.pages_url(), addresses.grpc_url()));

    let shop = Shop::open(&arguments, &running, folder.path())?;
    let demo = Demo { arguments, running, clock, last: None, incident: None };
    demo.play(shop, &mut story, signals).await
}

/// The usual settings, on the usual ports where they are free. `inquest serve --data` can open the folder afterwards: the shop's files in
/// it are a folder of their own, which the engine leaves alone.
fn config(folder: &Path) -> Config {
    let mut config = Config::default();
    config.storage.data = folder.to_owned();
    for address in [&mut config.listen.pages, &mut config.listen.grpc, &mut config.listen.http] {
        *address = free(*address);
    }
    config.detection.every = crate::config::Span(Duration::from_secs(5));
    config
}

/// The address, with another port when its own is taken.
fn free(address: SocketAddr) -> SocketAddr {
    match TcpListener::bind(address) {
        Ok(_) => address,
        Err(_) => SocketAddr::new(address.ip(), 0),
    }
}

/// The shop, running.
struct Shop {
    events: mpsc::Receiver<ShopEvent>,
    cancel: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Shop {
    fn open(arguments: &DemoArgs, running: &Running, folder: &Path) -> anyhow::Result<Self> {
        let addresses = running.addresses();
        let data_dir = folder.join("shop");
        std::fs::create_dir_all(&data_dir).with_context(|| format!("cannot make {}", data_dir.display()))?;
        let options = ShopOptions {
            otlp_endpoint: addresses.grpc_url(),
            seed: arguments.seed,
            requests_per_second: arguments.rate,
            fault: Some((arguments.fault, arguments.after.0)),
            change_endpoint: Some(format!("{}/api/v1/changes", addresses.pages_url())),
            data_dir,
        };
        let (sender, events) = mpsc::channel(MAX_EVENTS);
        let cancel = CancellationToken::new();
        let task = tokio::spawn(shop::run(options, sender, cancel.clone()));
        Ok(Self { events, cancel, task })
    }

    async fn stop(mut self) -> anyhow::Result<()> {
        self.cancel.cancel();
        // What it still says must be taken, or it would wait.
        while self.events.recv().await.is_some() {}
        self.task.await.context("the shop crashed")?.context("the shop failed")
    }
}

struct Demo {
    arguments: DemoArgs,
    running: Running,
    clock: Arc<dyn Clock>,
    /// The latest answer, judged.
    last: Option<(Answer, f64)>,
    /// The first incident.
    incident: Option<IncidentId>,
}

impl Demo {
    async fn play(mut self, mut shop: Shop, story: &mut Story, signals: Signals) -> anyhow::Result<bool> {
        let told = self.tell(&mut shop, story, &signals).await;
        story.step("stopping");
        let recorded = self.record(story).await;
        let outcome = self.outcome(story);
        let orderly = async {
            let stopped = shop.stop().await;
            tracing::debug!("the shop has stopped");
            self.running.shutdown().await.and(stopped)
        };
        tokio::select! {
            stopped = orderly => stopped?,
            () = signals.stop.cancelled() => anyhow::bail!("stopped at once"),
        }
        told?;
        recorded?;
        if !self.arguments.exit_after_answer {
            return Ok(true);
        }
        let right = outcome.result == "pass";
        match self.arguments.json {
            true => output::line(&serde_json::to_string(&outcome)?),
            false => output::line(if right { "PASS" } else { "FAIL" }),
        }
        Ok(right)
    }

    /// Tells what happens until it is time to stop.
    async fn tell(&mut self, shop: &mut Shop, story: &mut Story, signals: &Signals) -> anyhow::Result<()> {
        let incidents = self.running.incidents().clone();
        let mut announcements = incidents.subscribe();
        let give_up = tokio::time::sleep(self.arguments.after.0 + PATIENCE);
        tokio::pin!(give_up);
        let mut loads = 0_u32;
        loop {
            tokio::select! {
                () = signals.drain.cancelled() => return Ok(()),
                () = &mut give_up, if self.arguments.exit_after_answer => return Ok(()),
                error = self.running.failed() => return Err(error),
                event = shop.events.recv() => match event {
                    Some(event) => self.tell_of_shop(&event, story, &mut loads),
                    None => anyhow::bail!("the shop stopped by itself"),
                },
                announced = announcements.recv() => match announced {
                    Ok(id) => {
                        if self.tell_of_incident(id, story).await? {
                            return Ok(());
                        }
                    }
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return Ok(()),
                },
            }
        }
    }

    fn tell_of_shop(&self, event: &ShopEvent, story: &mut Story, loads: &mut u32) {
        match event {
            ShopEvent::FaultStarted { .. } => {
                story.fault_began = Some(self.clock.now());
                story.step(&event.to_string());
            }
            ShopEvent::Load { .. } => {
                if loads.is_multiple_of(TELL_LOAD_EVERY) && self.last.is_none() {
                    story.step(&format!("shop      {event}"));
                }
                *loads = loads.wrapping_add(1);
            }
            _ => story.step(&format!("shop      {event}")),
        }
    }

    /// Whether the demo has seen what it waited for.
    async fn tell_of_incident(&mut self, id: IncidentId, story: &mut Story) -> anyhow::Result<bool> {
        let Some(incident) = self.running.incidents().get(id) else { return Ok(false) };
        let url = self.url(id);
        self.incident.get_or_insert(id);
        story.progress(id, &self.running.incidents().progress(id));
        for run in story.incident(&incident, &url) {
            let Some(report) = self.report(id, run).await? else { continue };
            story.answer(&report, &url);
            let Some(began) = story.fault_began else { continue };
            let answer = judge(self.arguments.fault, &report);
            let right = answer.right;
            self.last = Some((answer, self.clock.now().seconds_since(began)));
            if right && self.arguments.exit_after_answer {
                return Ok(true);
            }
            if right && run == 1 {
                story.step("ready     the page stays open until Ctrl-C");
            }
        }
        Ok(false)
    }

    async fn report(&self, id: IncidentId, run: u32) -> anyhow::Result<Option<Report>> {
        let json = self.running.store().report_get(id.0, Some(run)).await?;
        json.map(|json| serde_json::from_str(&json)).transpose().context("the stored report cannot be read")
    }

    fn url(&self, id: IncidentId) -> String {
        format!("{}/incidents/{}", self.running.addresses().pages_url(), id.0)
    }

    fn outcome(&self, story: &Story) -> Outcome {
        let fault = self.arguments.fault;
        let incident = self.incident.and_then(|id| self.running.incidents().get(id));
        let (answer, seconds_to_answer) = self.last.clone().unzip();
        let opened = incident.as_ref().map(|incident| incident.detected);
        Outcome {
            result: if answer.as_ref().is_some_and(|answer| answer.right) { "pass" } else { "fail" },
            fault: fault.name(),
            expected_service: fault.expected_service(),
            expected_mechanisms: outcome::mechanisms(fault)
                .iter()
                .map(|mechanism| mechanism.as_str())
                .collect(),
            answer,
            seconds_to_incident: opened
                .zip(story.fault_began)
                .map(|(opened, began)| opened.seconds_since(began)),
            seconds_to_answer,
            runs: incident.as_ref().map_or(0, |incident| incident.runs),
            url: self.incident.map(|id| self.url(id)),
        }
    }

    /// Writes the recording that was asked for.
    async fn record(&self, story: &Story) -> anyhow::Result<()> {
        let Some(out) = &self.arguments.record else { return Ok(()) };
        let incident = self.incident.and_then(|id| self.running.incidents().get(id));
        let incident = incident.context("there is no incident to record")?;
        let plan = export::of_incident(&incident, self.clock.now());
        let store = self.running.store();
        storage::recording::export(store, out, &plan.meta, plan.window)
            .await
            .context("cannot write the recording")?;
        story.step(&format!("recorded  {}", out.display()));
        Ok(())
    }
}
