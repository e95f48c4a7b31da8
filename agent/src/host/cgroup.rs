//! What the kernel accounts to control groups, in both of its hierarchies.
//! <https://docs.kernel.org/admin-guide/cgroup-v2.html>, <https://docs.kernel.org/admin-guide/cgroup-v1/>

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::proc::{fields, pressure};
use super::{Sample, counter, gauge, read};

/// Seconds used.
pub(super) const PROCESSOR_TIME: &str = "container_cpu_usage_seconds_total";
/// Processors that may be used.
pub(super) const PROCESSOR_LIMIT: &str = "container_resources_cpu_limit_cores";

/// Folders below the root of a hierarchy.
const DEPTH: usize = 8;
/// Control groups of a host that are looked at.
const GROUPS: usize = 4096;
/// A limit in v1 that is none: the kernel rounds the largest number down to pages.
const NO_LIMIT: f64 = 9.0e18;
const TICKS: f64 = 100.0;

/// Where the hierarchies are mounted.
#[derive(Debug)]
pub(super) enum Hierarchy {
    /// One for all.
    V2(PathBuf),
    /// One for each controller, in a folder of its name.
    V1(PathBuf),
}

impl Hierarchy {
    pub fn of(root: &Path) -> Self {
        if root.join("cgroup.controllers").exists() {
            Self::V2(root.to_owned())
        } else {
            Self::V1(root.to_owned())
        }
    }

    /// What is known of each control group whose path is `wanted`.
    pub fn sample(&self, wanted: &impl Fn(&str) -> bool) -> Vec<Sample> {
        let mut samples = Vec::new();
        match self {
            Self::V2(root) => {
                for path in groups(root).into_iter().filter(|path| wanted(path)) {
                    of_v2(&below(root, &path), &mut |sample| samples.push(of_group(sample, &path)));
                }
            }
            Self::V1(root) => {
                for (controller, read_group) in V1 {
                    let root = root.join(controller);
                    for path in groups(&root).into_iter().filter(|path| wanted(path)) {
                        read_group(&below(&root, &path), &mut |sample| samples.push(of_group(sample, &path)));
                    }
                }
            }
        }
        samples
    }
}

type ReadGroup = fn(&Path, &mut dyn FnMut(Sample));

const V1: [(&str, ReadGroup); 4] =
    [("cpuacct", v1_cpuacct), ("cpu", v1_cpu), ("memory", v1_memory), ("blkio", v1_blkio)];

fn below(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

fn of_group(sample: Sample, path: &Arc<str>) -> Sample {
    Sample { cgroup: Some(path.clone()), ..sample }
}

/// Paths from the root of the hierarchy, sorted, without that of the root.
fn groups(root: &Path) -> Vec<Arc<str>> {
    let mut found = Vec::new();
    let mut folders = vec![(root.to_owned(), String::new(), 0)];
    while let Some((folder, path, depth)) = folders.pop() {
        if depth == DEPTH {
            continue;
        }
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if found.len() == GROUPS {
                break;
            }
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                let path = format!("{path}/{}", entry.file_name().to_string_lossy());
                found.push(Arc::from(path.as_str()));
                folders.push((entry.path(), path, depth + 1));
            }
        }
    }
    found.sort();
    found
}

fn number(path: PathBuf) -> Option<f64> {
    // `max` is no limit.
    read(&path)?.trim().parse().ok()
}

/// The working set: what is used less what of the file cache was not touched lately, as the kubelet evicts by.
fn working_set(used: Option<f64>, inactive: Option<&f64>) -> Option<f64> {
    Some((used? - inactive?).max(0.0))
}

fn of_v2(group: &Path, push: &mut dyn FnMut(Sample)) {
    let mut push = |sample: Option<Sample>| sample.into_iter().for_each(&mut *push);
    if let Some(text) = read(&group.join("cpu.stat")) {
        let fields = fields(&text);
        let seconds = |name: &str| fields.get(name).map(|micros| micros / 1e6);
        push(counter(PROCESSOR_TIME, "s", seconds("usage_usec")));
        push(counter("container_cpu_cfs_periods_total", "1", fields.get("nr_periods").copied()));
        push(counter("container_cpu_cfs_throttled_periods_total", "1", fields.get("nr_throttled").copied()));
        push(counter("container_cpu_cfs_throttled_seconds_total", "s", seconds("throttled_usec")));
    }
    if let Some(text) = read(&group.join("cpu.max")) {
        let mut words = text.split_ascii_whitespace().map(|word| word.parse::<f64>().ok());
        if let (Some(Some(quota)), Some(Some(period))) = (words.next(), words.next()) {
            push(gauge(PROCESSOR_LIMIT, "{cpu}", Some(quota / period)));
        }
    }
    let used = number(group.join("memory.current"));
    push(gauge("container_memory_usage_bytes", "By", used));
    if let Some(text) = read(&group.join("memory.stat")) {
        let fields = fields(&text);
        push(gauge(
            "container_memory_working_set_bytes",
            "By",
            working_set(used, fields.get("inactive_file")),
        ));
        push(gauge("container_memory_rss", "By", fields.get("anon").copied()));
        push(counter("container_memory_major_faults_total", "1", fields.get("pgmajfault").copied()));
    }
    push(gauge("container_spec_memory_limit_bytes", "By", number(group.join("memory.max"))));
    push(gauge("container_memory_swap", "By", number(group.join("memory.swap.current"))));
    if let Some(text) = read(&group.join("memory.events")) {
        push(counter("container_oom_events_total", "1", fields(&text).get("oom_kill").copied()));
    }
    for (file, waiting) in [
        ("cpu.pressure", "container_pressure_cpu_waiting_seconds_total"),
        ("memory.pressure", "container_pressure_memory_waiting_seconds_total"),
        ("io.pressure", "container_pressure_io_waiting_seconds_total"),
    ] {
        let some = read(&group.join(file)).and_then(|text| pressure(&text).some);
        push(counter(waiting, "s", some));
    }
    if let Some(text) = read(&group.join("io.stat")) {
        // `8:0 rbytes=1 wbytes=2 rios=3 wios=4 …`, a line for each device.
        let sum = |name: &str| -> f64 {
            text.split_ascii_whitespace()
                .filter_map(|word| word.strip_prefix(name)?.strip_prefix('=')?.parse::<f64>().ok())
                .sum()
        };
        push(counter("container_fs_reads_bytes_total", "By", Some(sum("rbytes"))));
        push(counter("container_fs_writes_bytes_total", "By", Some(sum("wbytes"))));
        push(counter("container_fs_reads_total", "1", Some(sum("rios"))));
        push(counter("container_fs_writes_total", "1", Some(sum("wios"))));
    }
    push(gauge("container_processes", "{process}", number(group.join("pids.current"))));
}

fn v1_cpuacct(group: &Path, push: &mut dyn FnMut(Sample)) {
    let nanos = number(group.join("cpuacct.usage"));
    counter(PROCESSOR_TIME, "s", nanos.map(|nanos| nanos / 1e9)).into_iter().for_each(&mut *push);
    if let Some(text) = read(&group.join("cpuacct.stat")) {
        let fields = fields(&text);
        let seconds = |name: &str| fields.get(name).map(|ticks| ticks / TICKS);
        counter("container_cpu_user_seconds_total", "s", seconds("user")).into_iter().for_each(&mut *push);
        counter("container_cpu_system_seconds_total", "s", seconds("system"))
            .into_iter()
            .for_each(&mut *push);
    }
}

fn v1_cpu(group: &Path, push: &mut dyn FnMut(Sample)) {
    let mut push = |sample: Option<Sample>| sample.into_iter().for_each(&mut *push);
    let quota = number(group.join("cpu.cfs_quota_us")).filter(|quota| *quota > 0.0);
    let period = number(group.join("cpu.cfs_period_us")).filter(|period| *period > 0.0);
    if let (Some(quota), Some(period)) = (quota, period) {
        push(gauge(PROCESSOR_LIMIT, "{cpu}", Some(quota / period)));
    }
    if let Some(text) = read(&group.join("cpu.stat")) {
        let fields = fields(&text);
        push(counter("container_cpu_cfs_periods_total", "1", fields.get("nr_periods").copied()));
        push(counter("container_cpu_cfs_throttled_periods_total", "1", fields.get("nr_throttled").copied()));
        let seconds = fields.get("throttled_time").map(|nanos| nanos / 1e9);
        push(counter("container_cpu_cfs_throttled_seconds_total", "s", seconds));
    }
}

fn v1_memory(group: &Path, push: &mut dyn FnMut(Sample)) {
    let mut push = |sample: Option<Sample>| sample.into_iter().for_each(&mut *push);
    let used = number(group.join("memory.usage_in_bytes"));
    push(gauge("container_memory_usage_bytes", "By", used));
    if let Some(text) = read(&group.join("memory.stat")) {
        let fields = fields(&text);
        let inactive = fields.get("total_inactive_file");
        push(gauge("container_memory_working_set_bytes", "By", working_set(used, inactive)));
        push(gauge("container_memory_rss", "By", fields.get("total_rss").copied()));
        push(counter("container_memory_major_faults_total", "1", fields.get("total_pgmajfault").copied()));
        push(gauge("container_memory_swap", "By", fields.get("total_swap").copied()));
    }
    let limit = number(group.join("memory.limit_in_bytes")).filter(|limit| *limit < NO_LIMIT);
    push(gauge("container_spec_memory_limit_bytes", "By", limit));
    push(counter("container_memory_failcnt", "1", number(group.join("memory.failcnt"))));
    if let Some(text) = read(&group.join("memory.oom_control")) {
        push(counter("container_oom_events_total", "1", fields(&text).get("oom_kill").copied()));
    }
}

fn v1_blkio(group: &Path, push: &mut dyn FnMut(Sample)) {
    let mut push = |sample: Option<Sample>| sample.into_iter().for_each(&mut *push);
    for (file, reads, writes, unit) in [
        (
            "blkio.throttle.io_service_bytes_recursive",
            "container_fs_reads_bytes_total",
            "container_fs_writes_bytes_total",
            "By",
        ),
        (
            "blkio.throttle.io_serviced_recursive",
            "container_fs_reads_total",
            "container_fs_writes_total",
            "1",
        ),
    ] {
        let Some(text) = read(&group.join(file)) else { continue };
        // `8:0 Read 4096`, a line for each device and kind.
        let sum = |kind: &str| -> f64 {
            text.lines()
                .filter_map(|line| {
                    let mut words = line.split_ascii_whitespace().skip(1);
                    (words.next()? == kind).then(|| words.next()?.parse::<f64>().ok()).flatten()
                })
                .sum()
        };
        push(counter(reads, unit, Some(sum("Read"))));
        push(counter(writes, unit, Some(sum("Write"))));
    }
}
