//! nginx, and wrk that asks it at a rate.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};

/// A load: how many connections, each of which asks again once it is answered, after a pause or at once.
#[derive(Clone, Copy)]
pub struct Load {
    pub name: &'static str,
    connections: u32,
    pauses: bool,
}

impl Load {
    /// About 10,000 requests a second, one after the other.
    pub const SINGLE: Self = Self { name: "10,000/s, singly", connections: 1, pauses: false };
    /// About as many, a dozen at a time, as the pauses of many connections end together.
    pub const USUAL: Self = Self { name: "10,000/s, in bursts", connections: 40, pauses: true };
    /// About 30,000.
    pub const THRICE: Self = Self { name: "30,000/s", connections: 130, pauses: true };
}

/// What wrk saw.
pub struct Seen {
    pub per_second: f64,
    pub median_us: f64,
    pub p99_us: f64,
}

/// A running nginx; ends when dropped.
pub struct Web {
    child: Child,
    folder: PathBuf,
    url: String,
    secure: String,
    real_time: bool,
}

/// How many times as long it asks for enough calm seconds.
const PATIENCE: u64 = 3;
/// What may be taken away in a second, of 10 ms each: less than what p99 leaves out.
const STOLEN_TICKS: u64 = 1;

/// Time in which processors had work and a hypervisor let others use them, of all since the start.
fn stolen_ticks() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/stat")?;
    // cpu user nice system idle iowait irq softirq steal
    let stolen = text.lines().next().and_then(|line| line.split_whitespace().nth(8));
    stolen.and_then(|it| it.parse().ok()).context("/proc/stat does not tell of stolen time")
}

/// A pause of 0 to 7 ms before each request, as whole milliseconds are all that wrk knows; latencies do not count it.
const SCRIPT: &str =
    "function init(args) math.randomseed(7) end\nfunction delay() return math.random(0, 7) end\n";

impl Web {
    pub fn start(folder: &Path, real_time: bool) -> Result<Self> {
        let listeners =
            [std::net::TcpListener::bind("127.0.0.1:0")?, std::net::TcpListener::bind("127.0.0.1:0")?];
        let [port, secure] = [listeners[0].local_addr()?.port(), listeners[1].local_addr()?.port()];
        drop(listeners);
        let made = Command::new("openssl")
            .args([
                "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key", "-out", "cert", "-days",
                "2",
            ])
            .args(["-subj", "/CN=soak"])
            .current_dir(folder)
            .stderr(Stdio::null())
            .status();
        ensure!(made.context("openssl")?.success(), "openssl made no certificate");
        let at = folder.display();
        let settings = format!(
            "worker_processes 1; daemon off; pid {at}/pid; error_log {at}/error.log;\n\
             events {{ worker_connections 1024; }}\n\
             http {{ access_log off; sendfile on; keepalive_requests 1000000000; server {{ listen 127.0.0.1:{port}; \
             listen 127.0.0.1:{secure} ssl; ssl_certificate {at}/cert; ssl_certificate_key {at}/key; root {at}; }} }}\n"
        );
        std::fs::write(folder.join("nginx.conf"), settings)?;
        std::fs::write(folder.join("script.lua"), SCRIPT)?;
        std::fs::write(folder.join("page"), "0123456789abcdef".repeat(50))?;
        // Its workers are another user.
        std::fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        let mut nginx = command("/usr/sbin/nginx".as_ref(), real_time);
        nginx.arg("-c").arg(folder.join("nginx.conf")).stderr(Stdio::null());
        let child = nginx.spawn().context("nginx")?;
        let web = Self {
            child,
            folder: folder.to_owned(),
            url: format!("http://127.0.0.1:{port}/page"),
            secure: format!("https://127.0.0.1:{secure}/page"),
            real_time,
        };
        std::thread::sleep(std::time::Duration::from_millis(500));
        // The first requests fill caches.
        web.ask(Load::USUAL, 1)?;
        Ok(web)
    }

    /// The page by TLS.
    pub fn secure(&self) -> &str {
        &self.secure
    }

    /// Asks for `seconds`, each by itself. Those in which a hypervisor took processors away tell of other machines, and are asked again,
    /// up to [`PATIENCE`] times as long.
    pub fn calm(&self, load: Load, seconds: u64) -> Result<Vec<Seen>> {
        let mut calm = Vec::new();
        for _ in 0..seconds * PATIENCE {
            let before = stolen_ticks()?;
            let seen = self.ask(load, 1)?;
            if stolen_ticks()? - before <= STOLEN_TICKS {
                calm.push(seen);
            }
            if calm.len() as u64 == seconds {
                break;
            }
        }
        Ok(calm)
    }

    /// Asks for `seconds`, and says how long answers took.
    pub fn ask(&self, load: Load, seconds: u64) -> Result<Seen> {
        let output = command("wrk".as_ref(), self.real_time)
            .args(["-t1", "--latency", &format!("-c{}", load.connections), &format!("-d{seconds}s")])
            .args(
                load.pauses
                    .then(|| self.folder.join("script.lua"))
                    .into_iter()
                    .flat_map(|it| ["-s".into(), it]),
            )
            .arg(&self.url)
            .output()
            .context("wrk")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success() && !text.contains("Non-2xx"), "wrk failed: {text}");
        Seen::parse(&text).with_context(|| format!("wrk says {text}"))
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        // Its workers end with it on SIGTERM, not when it is killed.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

impl Seen {
    fn parse(text: &str) -> Option<Self> {
        let after = |key: &str| text.lines().find_map(|line| line.trim().strip_prefix(key)).map(str::trim);
        Some(Self {
            per_second: after("Requests/sec:")?.parse().ok()?,
            median_us: micros(after("50%")?)?,
            p99_us: micros(after("99%")?)?,
        })
    }
}

/// `1.25ms` and the like.
fn micros(text: &str) -> Option<f64> {
    let (number, factor) = [("us", 1.0), ("ms", 1e3), ("s", 1e6)]
        .iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)))?;
    Some(number.parse::<f64>().ok()? * factor)
}

/// A command that runs as others do, or before everything else.
pub fn command(program: &Path, real_time: bool) -> Command {
    if !real_time {
        return Command::new(program);
    }
    let mut command = Command::new("chrt");
    command.args(["-r", "1"]).arg(program);
    command
}
