//! The agent as a process, and what the kernel says that it costs.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::READY;
use crate::load::command;

/// Kernel ticks a second, as `/proc` counts processor time; 100 on every Linux that Rust runs on.
const TICKS_PER_SECOND: u64 = 100;
/// By then the page of measurements is of after the load.
const SETTLED: Duration = Duration::from_secs(11);

/// A running agent; killed when dropped.
pub struct Watcher {
    child: Child,
    metrics: std::net::SocketAddr,
    began: Instant,
}

/// What it has used by one moment, or between two.
#[derive(Clone, Copy, Default)]
pub struct Cost {
    pub processor: Duration,
    pub wall: Duration,
    pub peak_bytes: u64,
    pub health: Health,
}

/// What the agent says of itself.
#[derive(Clone, Copy, Default)]
pub struct Health {
    pub events: f64,
    pub lost: f64,
    pub shed: f64,
    pub captured: f64,
}

impl Cost {
    pub fn since(self, before: &Self, health: Health) -> Self {
        Self {
            processor: self.processor - before.processor,
            wall: self.wall - before.wall,
            peak_bytes: self.peak_bytes,
            health,
        }
    }

    pub fn cores(&self) -> f64 {
        self.processor.as_secs_f64() / self.wall.as_secs_f64()
    }
}

impl Watcher {
    pub fn start(program: &Path, folder: &Path, server: &str, real_time: bool) -> Result<Self> {
        let metrics = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let child = command(program, real_time)
            .args(["--server", server, "--metrics", &metrics.to_string(), "--data"])
            .arg(folder.join("agent"))
            .arg("--config")
            .arg(folder.join("soak.toml"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| program.display().to_string())?;
        Ok(Self { child, metrics, began: Instant::now() })
    }

    /// Waits until it measures.
    pub async fn ready(&self) -> Result<()> {
        let until = Instant::now() + READY;
        while self.page().await.is_none_or(|page| page.is_empty()) {
            ensure!(Instant::now() < until, "the agent does not come up: are the privileges of root there?");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Ok(())
    }

    pub fn cost(&self) -> Result<Cost> {
        let stat = self.proc("stat")?;
        let fields: Vec<&str> =
            stat.rsplit_once(')').context("no name in stat")?.1.split_whitespace().collect();
        let ticks: u64 = fields.get(11).context("stat")?.parse::<u64>()?
            + fields.get(12).context("stat")?.parse::<u64>()?;
        Ok(Cost {
            processor: Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND),
            wall: self.began.elapsed(),
            peak_bytes: self.memory("VmHWM:")?,
            health: Health::default(),
        })
    }

    pub fn resident_bytes(&self) -> Result<u64> {
        self.memory("VmRSS:")
    }

    fn memory(&self, field: &str) -> Result<u64> {
        let status = self.proc("status")?;
        let value =
            status.lines().find_map(|line| line.strip_prefix(field)).context("no memory in status")?;
        Ok(value.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
    }

    /// What it says of itself, once it has said it anew.
    pub async fn health(&self) -> Result<Health> {
        // What it captures now counts, not what it will when it is calm again.
        let captured = value(&self.page().await.context("no page")?, "inquest_agent_captured_ratio", "");
        tokio::time::sleep(SETTLED).await;
        let page = self.page().await.context("no page")?;
        let lost = |reason| value(&page, "inquest_agent_events_lost_total", reason);
        Ok(Health {
            events: value(&page, "inquest_agent_events_total", ""),
            lost: lost("buffer_full") + lost("memory_not_resident") + lost("malformed"),
            shed: lost("shed"),
            captured,
        })
    }

    /// Time of all programs that it holds in the kernel, as far as it was counted.
    pub fn kernel_nanos(&self) -> Result<u64> {
        let mut programs = std::collections::BTreeMap::new();
        for entry in fs::read_dir(format!("/proc/{}/fdinfo", self.child.id()))? {
            let Ok(text) = fs::read_to_string(entry?.path()) else { continue };
            let field = |key: &str| {
                text.lines()
                    .find_map(|line| line.strip_prefix(key)?.strip_prefix(':')?.trim().parse::<u64>().ok())
            };
            if let (Some(id), Some(nanos)) = (field("prog_id"), field("run_time_ns")) {
                programs.insert(id, nanos);
            }
        }
        Ok(programs.values().sum())
    }

    /// SIGTERM, and the end.
    pub fn stop(mut self) -> Result<()> {
        Command::new("kill").arg(self.child.id().to_string()).status()?;
        self.child.wait()?;
        Ok(())
    }

    async fn page(&self) -> Option<String> {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut stream = tokio::net::TcpStream::connect(self.metrics).await.ok()?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await.ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await.ok()?;
        Some(text.split_once("\r\n\r\n")?.1.to_owned())
    }

    fn proc(&self, file: &str) -> Result<String> {
        Ok(fs::read_to_string(format!("/proc/{}/{file}", self.child.id()))?)
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn value(page: &str, name: &str, label: &str) -> f64 {
    let fits = |line: &&str| {
        line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])) && line.contains(label)
    };
    page.lines().find(fits).and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0.0)
}

/// While it is there, the kernel counts the time of programs; it ends with this process, however that ends.
pub struct KernelClock {
    _counting: std::os::fd::OwnedFd,
}

impl KernelClock {
    pub fn start() -> Result<Self> {
        let counting = aya::sys::enable_stats(aya::sys::Stats::RunTime).context("BPF_ENABLE_STATS")?;
        Ok(Self { _counting: counting })
    }
}
