//! The host and its control groups: processor, memory, pressure, disks, network.
//!
//! [`Host::sample`] reads `/proc` and `/sys/fs/cgroup` (v1 and v2) and gives [`Sample`]s: of the host under OpenTelemetry's names
//! (`system.*`), its pressure under those of node_exporter, and of control groups under those of cAdvisor (`container_*`), which dashboards
//! and the server's inspections know. What a kernel does not tell is left out.
//!
//! Deliberately absent: who runs in a control group. `crate::identity` tells, of the path that each sample carries.

mod cgroup;
mod proc;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use domain::UnixNanos;

/// Bytes of one file that are read.
const FILE_BYTES: usize = 1 << 20;

/// How the value of a sample is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows, but for restarts.
    Counter,
    /// It is as it is at this moment.
    Gauge,
}

/// One number.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// What is measured.
    pub name: &'static str,
    /// As UCUM writes it: `s`, `By`, `1`, `{packet}`.
    pub unit: &'static str,
    /// How the value is meant.
    pub kind: Kind,
    /// Finite.
    pub value: f64,
    /// Which of several: a device, a state, a direction.
    pub attributes: Vec<(&'static str, String)>,
    /// Path of the control group that it is of; `None` for the host.
    pub cgroup: Option<Arc<str>>,
}

/// A host, sampled now and again.
#[derive(Debug)]
pub struct Host {
    root: PathBuf,
    /// Processor time by mode, as it was last.
    processor: BTreeMap<&'static str, f64>,
    /// Processor seconds of control groups with a limit, and when.
    cgroups: BTreeMap<Arc<str>, (UnixNanos, f64)>,
}

impl Host {
    /// The host whose `/` is at `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), processor: BTreeMap::new(), cgroups: BTreeMap::new() }
    }

    /// Everything at `now`, for the control groups that are `wanted` by their path. Shares of time need a sample before.
    pub fn sample(&mut self, now: UnixNanos, wanted: impl Fn(&str) -> bool) -> Vec<Sample> {
        let mut samples = Vec::new();
        self.processor(&mut samples);
        self.memory(&mut samples);
        let pressure = |resource: &str| self.read(&format!("proc/pressure/{resource}"));
        for (resource, waiting, stalled) in PRESSURE {
            let Some(text) = pressure(resource) else { continue };
            let total = proc::pressure(&text);
            push(&mut samples, counter(waiting, "s", total.some));
            if let Some(stalled) = stalled {
                push(&mut samples, counter(stalled, "s", total.full));
            }
        }
        self.disks(&mut samples);
        self.filesystems(&mut samples);
        self.network(&mut samples);
        let found = cgroup::Hierarchy::of(&self.root.join("sys/fs/cgroup")).sample(&wanted);
        self.limits_in_use(now, &found, &mut samples);
        samples.extend(found);
        samples
    }

    fn read(&self, path: &str) -> Option<String> {
        read(&self.root.join(path))
    }

    fn processor(&mut self, samples: &mut Vec<Sample>) {
        let Some(text) = self.read("proc/stat") else { return };
        let stat = proc::stat(&text);
        let before = std::mem::replace(&mut self.processor, stat.seconds.clone());
        let spent = |mode: &str| stat.seconds[mode] - before.get(mode).copied().unwrap_or(0.0);
        let total: f64 = stat.seconds.keys().map(|mode| spent(mode)).sum();
        for (mode, seconds) in &stat.seconds {
            let of_mode = || vec![("cpu.mode", (*mode).to_owned())];
            push(samples, counter("system.cpu.time", "s", Some(*seconds)).with(of_mode()));
            if !before.is_empty() && total > 0.0 {
                let share = (spent(mode) / total).clamp(0.0, 1.0);
                push(samples, gauge("system.cpu.utilization", "1", Some(share)).with(of_mode()));
            }
        }
        push(samples, gauge("system.cpu.logical.count", "{cpu}", Some(stat.processors)));
        push(samples, counter("system.processes.created", "{process}", stat.created));
        push(samples, gauge("system.processes.blocked", "{process}", stat.blocked));
        if let Some(text) = self.read("proc/loadavg") {
            let mut words = text.split(' ').map(|word| word.parse().ok());
            for name in
                ["system.cpu.load_average.1m", "system.cpu.load_average.5m", "system.cpu.load_average.15m"]
            {
                push(samples, gauge(name, "{thread}", words.next().flatten()));
            }
        }
    }

    fn memory(&self, samples: &mut Vec<Sample>) {
        let Some(text) = self.read("proc/meminfo") else { return };
        let fields = proc::fields(&text);
        let bytes = |name: &str| fields.get(name).map(|kilobytes| kilobytes * 1024.0);
        let Some(total) = bytes("MemTotal").filter(|total| *total > 0.0) else { return };
        push(samples, gauge("system.memory.limit", "By", Some(total)));
        // What can be had without swapping is not in use, cached or not.
        let used = bytes("MemAvailable").map(|available| total - available);
        let states = [
            ("used", used),
            ("free", bytes("MemFree")),
            ("cached", bytes("Cached")),
            ("buffers", bytes("Buffers")),
        ];
        for (state, value) in states {
            let of_state = || vec![("system.memory.state", state.to_owned())];
            push(samples, gauge("system.memory.usage", "By", value).with(of_state()));
            let share = value.map(|value| value / total);
            push(samples, gauge("system.memory.utilization", "1", share).with(of_state()));
        }
        let (swap, free) = (bytes("SwapTotal"), bytes("SwapFree"));
        if let (Some(swap), Some(free)) = (swap.filter(|swap| *swap > 0.0), free) {
            for (state, value) in [("used", swap - free), ("free", free)] {
                let of_state = vec![("system.paging.state", state.to_owned())];
                push(samples, gauge("system.paging.usage", "By", Some(value)).with(of_state));
            }
        }
        if let Some(text) = self.read("proc/vmstat") {
            let fields = proc::fields(&text);
            push(samples, counter("node_vmstat_oom_kill", "1", fields.get("oom_kill").copied()));
            let major = vec![("system.paging.fault.type", "major".to_owned())];
            push(
                samples,
                counter("system.paging.faults", "{fault}", fields.get("pgmajfault").copied()).with(major),
            );
        }
    }

    fn disks(&self, samples: &mut Vec<Sample>) {
        let Some(text) = self.read("proc/diskstats") else { return };
        for disk in proc::disks(&text) {
            let of = |direction: Option<&str>| {
                let mut attributes = vec![("system.device", disk.name.clone())];
                attributes.extend(direction.map(|direction| ("disk.io.direction", direction.to_owned())));
                attributes
            };
            for (direction, [operations, bytes, seconds]) in [("read", disk.read), ("write", disk.write)] {
                let of_direction = || of(Some(direction));
                push(
                    samples,
                    counter("system.disk.operations", "{operation}", Some(operations)).with(of_direction()),
                );
                push(samples, counter("system.disk.io", "By", Some(bytes)).with(of_direction()));
                push(samples, counter("system.disk.operation_time", "s", Some(seconds)).with(of_direction()));
            }
            push(samples, counter("system.disk.io_time", "s", Some(disk.busy)).with(of(None)));
            push(samples, counter("system.disk.weighted_io_time", "s", Some(disk.weighted)).with(of(None)));
        }
    }

    fn filesystems(&self, samples: &mut Vec<Sample>) {
        // Those of the first process: the agent may see others, in a container.
        let Some(text) = self.read("proc/1/mounts").or_else(|| self.read("proc/self/mounts")) else { return };
        for mount in proc::mounts(&text) {
            let path = self.root.join(mount.path.trim_start_matches('/'));
            let Ok(stat) = rustix::fs::statvfs(&path) else { continue };
            let size = stat.f_blocks.saturating_mul(stat.f_frsize) as f64;
            let free = stat.f_bavail.saturating_mul(stat.f_frsize) as f64;
            if size <= 0.0 {
                continue;
            }
            // Of what a user who is not root may fill, as `df` counts.
            let used = stat.f_blocks.saturating_sub(stat.f_bfree).saturating_mul(stat.f_frsize) as f64;
            let place = || {
                vec![
                    ("system.device", mount.device.clone()),
                    ("system.filesystem.mountpoint", mount.path.clone()),
                ]
            };
            for (state, value) in [("used", used), ("free", free)] {
                let mut attributes = place();
                attributes.push(("system.filesystem.state", state.to_owned()));
                push(samples, gauge("system.filesystem.usage", "By", Some(value)).with(attributes));
            }
            push(
                samples,
                gauge("system.filesystem.utilization", "1", Some(used / (used + free))).with(place()),
            );
            push(samples, gauge("node_filesystem_files", "1", Some(stat.f_files as f64)).with(place()));
            push(samples, gauge("node_filesystem_files_free", "1", Some(stat.f_ffree as f64)).with(place()));
        }
    }

    fn network(&self, samples: &mut Vec<Sample>) {
        // Of the host's namespace, not the agent's.
        let Some(text) = self.read("proc/1/net/dev").or_else(|| self.read("proc/net/dev")) else { return };
        for device in proc::devices(&text) {
            for (direction, counts) in [("receive", device.received), ("transmit", device.sent)] {
                let names = [
                    ("system.network.io", "By"),
                    ("system.network.packet.count", "{packet}"),
                    ("system.network.errors", "{error}"),
                    ("system.network.packet.dropped", "{packet}"),
                ];
                for ((name, unit), value) in names.into_iter().zip(counts) {
                    let attributes = vec![
                        ("network.interface.name", device.name.clone()),
                        ("network.io.direction", direction.to_owned()),
                    ];
                    push(samples, counter(name, unit, Some(value)).with(attributes));
                }
            }
        }
    }

    /// The share of its limit of processor time that a control group has used since it was last sampled.
    fn limits_in_use(&mut self, now: UnixNanos, found: &[Sample], samples: &mut Vec<Sample>) {
        let of = |name: &str| -> BTreeMap<Arc<str>, f64> {
            let wanted = found.iter().filter(|sample| sample.name == name);
            wanted.filter_map(|sample| Some((sample.cgroup.clone()?, sample.value))).collect()
        };
        let limits = of(cgroup::PROCESSOR_LIMIT);
        let mut last = BTreeMap::new();
        for (path, seconds) in of(cgroup::PROCESSOR_TIME) {
            let Some(limit) = limits.get(&path) else { continue };
            if let Some((then, before)) = self.cgroups.get(&path) {
                let elapsed = now.seconds_since(*then);
                if elapsed > 0.0 && seconds >= *before {
                    let share = (seconds - before) / elapsed / limit;
                    let sample = gauge("container.cpu.limit_utilization", "1", Some(share));
                    push(
                        samples,
                        Some(Sample { cgroup: Some(path.clone()), ..sample.unwrap_or_else(nothing) }),
                    );
                }
            }
            last.insert(path, (now, seconds));
        }
        self.cgroups = last;
    }
}

/// Resources that are waited for, and the names of the time in which some, and in which all, were waiting.
const PRESSURE: [(&str, &str, Option<&str>); 3] = [
    ("cpu", "node_pressure_cpu_waiting_seconds_total", None),
    (
        "memory",
        "node_pressure_memory_waiting_seconds_total",
        Some("node_pressure_memory_stalled_seconds_total"),
    ),
    ("io", "node_pressure_io_waiting_seconds_total", Some("node_pressure_io_stalled_seconds_total")),
];

fn counter(name: &'static str, unit: &'static str, value: Option<f64>) -> Option<Sample> {
    gauge(name, unit, value).map(|sample| Sample { kind: Kind::Counter, ..sample })
}

fn gauge(name: &'static str, unit: &'static str, value: Option<f64>) -> Option<Sample> {
    let value = value.filter(|value| value.is_finite())?;
    Some(Sample { name, unit, kind: Kind::Gauge, value, attributes: Vec::new(), cgroup: None })
}

fn nothing() -> Sample {
    Sample { name: "", unit: "", kind: Kind::Gauge, value: 0.0, attributes: Vec::new(), cgroup: None }
}

fn push(samples: &mut Vec<Sample>, sample: Option<Sample>) {
    samples.extend(sample);
}

trait With {
    fn with(self, attributes: Vec<(&'static str, String)>) -> Self;
}

impl With for Option<Sample> {
    fn with(self, attributes: Vec<(&'static str, String)>) -> Self {
        self.map(|sample| Sample { attributes, ..sample })
    }
}

/// A small file of the kernel's, `None` when it is not there or cannot be read.
fn read(path: &Path) -> Option<String> {
    use std::io::Read as _;

    let mut text = Vec::new();
    fs::File::open(path).ok()?.take(FILE_BYTES as u64).read_to_end(&mut text).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests;
