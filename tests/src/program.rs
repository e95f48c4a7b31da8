//! The real program as a child process, with what the kernel says about it.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Longest start that is waited for: the first one may fetch the engine.
const READY_TIMEOUT: Duration = Duration::from_secs(300);
/// Longest orderly stop that is waited for.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);
/// Kernel ticks a second, as `/proc` counts processor time; 100 on every Linux that Rust runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// A running `inquest serve`. Killed when dropped.
#[derive(Debug)]
pub struct Program {
    child: Child,
    /// Address of pages and API.
    pub pages: SocketAddr,
    /// Address of OTLP over gRPC.
    pub grpc: SocketAddr,
    /// From start to the first good answer of `/readyz`.
    pub ready_after: Duration,
}

/// The program under test: `INQUEST_BIN`.
pub fn binary() -> Result<PathBuf> {
    let path = std::env::var_os("INQUEST_BIN")
        .context("INQUEST_BIN does not name the program; use `cargo xtask bench`")?;
    Ok(PathBuf::from(path))
}

impl Program {
    /// Starts `inquest serve` on the folder `data` and free ports, and waits until it is ready.
    pub async fn serve(data: &Path) -> Result<Self> {
        let (pages, grpc, http) = (free_address()?, free_address()?, free_address()?);
        let started = Instant::now();
        let child = Command::new(binary()?)
            .arg("serve")
            .arg("--data")
            .arg(data)
            .args(["--listen", &pages.to_string(), "--grpc", &grpc.to_string(), "--http", &http.to_string()])
            .env("INQUEST_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("failed to start the program")?;
        let mut program = Self { child, pages, grpc, ready_after: Duration::ZERO };
        while !program.is_ready().await {
            if let Some(status) = program.child.try_wait()? {
                bail!("the program ended before it was ready: {status}");
            }
            if started.elapsed() > READY_TIMEOUT {
                bail!("the program is not ready after {} s", READY_TIMEOUT.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        program.ready_after = started.elapsed();
        Ok(program)
    }

    async fn is_ready(&self) -> bool {
        match reqwest::get(format!("http://{}/readyz", self.pages)).await {
            Ok(answer) => answer.status().is_success(),
            Err(_) => false,
        }
    }

    /// Where senders connect.
    pub fn grpc_url(&self) -> String {
        format!("http://{}", self.grpc)
    }

    /// Where readers connect.
    pub fn url(&self) -> String {
        format!("http://{}", self.pages)
    }

    /// SIGKILL.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGTERM, and the wait for an orderly stop.
    pub async fn stop(mut self) -> Result<()> {
        let id = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &id]).status().context("failed to run kill")?;
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                if status.success() {
                    return Ok(());
                }
                bail!("the program stopped with {status}");
            }
            if started.elapsed() > STOP_TIMEOUT {
                bail!("the program is still running {} s after SIGTERM", STOP_TIMEOUT.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Memory and processor time so far.
    pub fn usage(&self) -> Result<Usage> {
        usage(self.child.id())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a process has used.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    /// Resident memory in bytes, now.
    pub resident_bytes: u64,
    /// Resident memory in bytes, highest.
    pub peak_bytes: u64,
    /// Processor seconds by thread name, live threads only, most first.
    pub threads: Vec<(String, f64)>,
}

/// What the process `id` has used; for a thread name's sake its digits are dropped, so that a pool counts as one.
pub fn usage(id: u32) -> Result<Usage> {
    let status =
        fs::read_to_string(format!("/proc/{id}/status")).context("the process has no /proc entry")?;
    let kib = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0)
    };
    let mut threads = std::collections::BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{id}/task"))? {
        // A thread may end while we look.
        let Ok(stat) = fs::read_to_string(entry?.path().join("stat")) else { continue };
        if let Some((name, seconds)) = thread_time(&stat) {
            *threads.entry(name).or_insert(0.0) += seconds;
        }
    }
    let mut threads: Vec<(String, f64)> = threads.into_iter().collect();
    threads.sort_by(|a, b| b.1.total_cmp(&a.1));
    Ok(Usage { resident_bytes: kib("VmRSS:") * 1024, peak_bytes: kib("VmHWM:") * 1024, threads })
}

/// Name and processor seconds from a `stat` line of `/proc`: the name is in brackets and may hold anything.
fn thread_time(stat: &str) -> Option<(String, f64)> {
    let (open, close) = (stat.find('(')?, stat.rfind(')')?);
    let name =
        stat[open + 1..close].trim_end_matches(|last: char| last.is_ascii_digit() || "-_ ".contains(last));
    let fields: Vec<&str> = stat[close + 1..].split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
    Some((name.to_owned(), ticks / TICKS_PER_SECOND))
}

/// A loopback address with a port that was free a moment ago.
pub fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

#[cfg(test)]
mod tests {
    #[test]
    fn reads_a_thread_whose_name_has_brackets() {
        let stat = "42 (pool (a) 7) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20";
        assert_eq!(super::thread_time(stat), Some(("pool (a)".to_owned(), 3.0)));
    }
}
