//! The host itself: its processor, memory, pressure, disks and network, in the store.

use std::path::Path;

use storage::questions::metric_values::SeriesValues;

use super::{Watched, watch};

#[tokio::test(flavor = "multi_thread")]
async fn the_host_is_measured() {
    watch(async |watched| {
        let meminfo = std::fs::read_to_string("/proc/meminfo").expect("the kernel's own count");
        let kib: f64 = meminfo
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse().ok())
            .expect("a total");
        assert_eq!(last(watched, "system.memory.limit", "").await, kib * 1024.0);
        let used = last(watched, "system.memory.usage", "used").await;
        assert!(used > 0.0 && used < kib * 1024.0, "{used} bytes of {kib} KiB");
        let processors = std::thread::available_parallelism().expect("known").get() as f64;
        assert!(last(watched, "system.cpu.logical.count", "").await >= processors);
        // Rates: this very test makes each of them more than nothing.
        assert!(last(watched, "system.cpu.time", "user").await > 0.0);
        assert!(last(watched, "system.network.io", "lo").await > 0.0);
        assert!(last(watched, "system.filesystem.usage", "/").await > 0.0);
        // What this kernel does not have cannot be measured.
        if Path::new("/proc/pressure/cpu").exists() {
            assert!(last(watched, "node_pressure_cpu_waiting_seconds_total", "").await >= 0.0);
        }
        if std::fs::read_to_string("/proc/diskstats").is_ok_and(|text| !text.trim().is_empty()) {
            assert!(last(watched, "system.disk.io", "write").await >= 0.0);
        }
    })
    .await;
}

/// The last value of the series of this host with a label of this value, once there are two: before, a counter has no rate.
async fn last(watched: &Watched<'_>, name: &str, label: &str) -> f64 {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("a name");
    let fits = |series: &SeriesValues| {
        let has = |wanted: &str| series.labels.iter().any(|(_, value)| value == wanted);
        series.name == name && has(host.trim()) && (label.is_empty() || has(label))
    };
    watched
        .until(&format!("{name} of {label:?} of the host in the store"), async |it| {
            let found = it.server.store().metric_values(it.window()).await.expect("the store answers");
            found
                .iter()
                .filter(|series| fits(series))
                .flat_map(|it| it.points.last())
                .map(|(_, value)| *value)
                .reduce(f64::max)
        })
        .await
}
