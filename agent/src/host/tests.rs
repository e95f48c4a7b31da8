use std::fs;
use std::time::Duration;

use domain::UnixNanos;

use super::{Host, Sample};

const NOW: UnixNanos = UnixNanos::from_seconds(1_795_096_951);

/// A host made of files, `path` then content.
fn host(files: &[(&str, &str)]) -> (tempfile::TempDir, Host) {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), files);
    let host = Host::new(root.path());
    (root, host)
}

fn write(root: &std::path::Path, files: &[(&str, &str)]) {
    for (path, text) in files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

fn lines(samples: &[Sample]) -> String {
    let line = |sample: &Sample| {
        let attributes: Vec<String> =
            sample.attributes.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let group = sample.cgroup.as_deref().unwrap_or("");
        format!(
            "{group} {} {:?} {} {} {{{}}}\n",
            sample.name,
            sample.kind,
            sample.value,
            sample.unit,
            attributes.join(",")
        )
        .trim_start()
        .to_owned()
    };
    samples.iter().map(line).collect()
}

const PROC: &[(&str, &str)] = &[
    (
        "proc/stat",
        "cpu  100 0 50 800 20 0 10 20 0 0\ncpu0 50 0 25 400 10 0 5 10 0 0\ncpu1 50 0 25 400 10 0 5 10 0 0\n\
         ctxt 5\nprocesses 1234\nprocs_running 2\nprocs_blocked 1\n",
    ),
    ("proc/loadavg", "0.50 0.40 0.30 1/200 4000\n"),
    (
        "proc/meminfo",
        "MemTotal: 1000 kB\nMemFree: 200 kB\nMemAvailable: 600 kB\nBuffers: 50 kB\nCached: 300 kB\n\
         SwapTotal: 100 kB\nSwapFree: 75 kB\nHugePages_Total: 0\n",
    ),
    ("proc/vmstat", "nr_free_pages 1\npgmajfault 77\noom_kill 3\n"),
    ("proc/pressure/cpu", "some avg10=0.00 avg60=0.00 avg300=0.00 total=1500000\n"),
    ("proc/pressure/io", "some avg10=0 avg60=0 avg300=0 total=10\nfull avg10=0 avg60=0 avg300=0 total=5\n"),
    (
        "proc/diskstats",
        " 8 0 sda 10 0 80 4 20 0 160 8 0 12 16 0 0 0 0\n 8 1 sda1 10 0 80 4 20 0 160 8 0 12 16\n\
         7 0 loop0 9 0 9 9 9 9 9 9 9 9 9\n 8 16 sdb 0 0 0 0 0 0 0 0 0 0 0\n",
    ),
    (
        "proc/1/net/dev",
        "Inter-| Receive | Transmit\n face |bytes packets\n  eth0: 1000 10 1 2 0 0 0 0 2000 20 3 4 0 0 0 0\n\
         veth1: 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9\n  eth1: 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n",
    ),
];

#[test]
fn the_host() {
    let (root, mut host) = host(PROC);
    let first = host.sample(NOW, |_| true);
    assert!(
        first.iter().all(|sample| sample.name != "system.cpu.utilization"),
        "a share needs a sample before"
    );
    write(root.path(), &[("proc/stat", "cpu  150 0 75 870 25 0 10 20 0 0\ncpu0 1\ncpu1 1\n")]);
    insta::assert_snapshot!(lines(&host.sample(NOW.plus(Duration::from_secs(1)), |_| true)));
}

const V2: &[(&str, &str)] = &[
    ("sys/fs/cgroup/cgroup.controllers", "cpu memory io"),
    (
        "sys/fs/cgroup/a.slice/b.scope/cpu.stat",
        "usage_usec 2500000\nnr_periods 100\nnr_throttled 25\nthrottled_usec 500000\n",
    ),
    ("sys/fs/cgroup/a.slice/b.scope/cpu.max", "50000 100000\n"),
    ("sys/fs/cgroup/a.slice/b.scope/memory.current", "1000000\n"),
    ("sys/fs/cgroup/a.slice/b.scope/memory.max", "2000000\n"),
    ("sys/fs/cgroup/a.slice/b.scope/memory.stat", "anon 400000\ninactive_file 250000\npgmajfault 7\n"),
    ("sys/fs/cgroup/a.slice/b.scope/memory.events", "low 0\nhigh 0\nmax 9\noom 2\noom_kill 1\n"),
    ("sys/fs/cgroup/a.slice/b.scope/memory.pressure", "some avg10=0 avg60=0 avg300=0 total=3000000\n"),
    (
        "sys/fs/cgroup/a.slice/b.scope/io.stat",
        "8:0 rbytes=100 wbytes=200 rios=1 wios=2\n8:16 rbytes=1 wbytes=2 rios=1 wios=1\n",
    ),
    ("sys/fs/cgroup/a.slice/other/memory.max", "max\n"),
    ("sys/fs/cgroup/unwanted/memory.current", "1\n"),
];

#[test]
fn control_groups_v2() {
    let (root, mut host) = host(V2);
    let wanted = |path: &str| path.starts_with("/a.slice/");
    host.sample(NOW, wanted);
    let stat = "usage_usec 4500000\nnr_periods 200\nnr_throttled 75\nthrottled_usec 900000\n";
    write(root.path(), &[("sys/fs/cgroup/a.slice/b.scope/cpu.stat", stat)]);
    insta::assert_snapshot!(lines(&host.sample(NOW.plus(Duration::from_secs(10)), wanted)));
}

#[test]
fn control_groups_v1() {
    let (_root, mut host) = host(&[
        ("sys/fs/cgroup/cpuacct/docker/x/cpuacct.usage", "2500000000\n"),
        ("sys/fs/cgroup/cpuacct/docker/x/cpuacct.stat", "user 200\nsystem 50\n"),
        ("sys/fs/cgroup/cpu/docker/x/cpu.cfs_quota_us", "150000\n"),
        ("sys/fs/cgroup/cpu/docker/x/cpu.cfs_period_us", "100000\n"),
        ("sys/fs/cgroup/cpu/docker/x/cpu.stat", "nr_periods 10\nnr_throttled 5\nthrottled_time 1500000000\n"),
        ("sys/fs/cgroup/cpu/docker/y/cpu.cfs_quota_us", "-1\n"),
        ("sys/fs/cgroup/memory/docker/x/memory.usage_in_bytes", "1000\n"),
        ("sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes", "9223372036854771712\n"),
        (
            "sys/fs/cgroup/memory/docker/x/memory.stat",
            "cache 1\ntotal_rss 400\ntotal_inactive_file 100\ntotal_swap 0\n",
        ),
        ("sys/fs/cgroup/memory/docker/x/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"),
        (
            "sys/fs/cgroup/blkio/docker/x/blkio.throttle.io_service_bytes_recursive",
            "8:0 Read 100\n8:0 Write 200\n8:0 Total 300\n8:16 Read 1\nTotal 301\n",
        ),
    ]);
    insta::assert_snapshot!(lines(&host.sample(NOW, |_| true)));
}

#[test]
fn this_very_host() {
    let mut host = Host::new("/");
    host.sample(NOW, |_| true);
    let samples = host.sample(NOW.plus(Duration::from_secs(1)), |_| true);
    for name in ["system.cpu.time", "system.memory.usage", "system.network.io"] {
        assert!(samples.iter().any(|sample| sample.name == name), "{name}");
    }
    assert!(samples.iter().all(|sample| sample.value.is_finite() && sample.value >= 0.0));
}

#[test]
fn a_host_that_tells_nothing() {
    let (_root, mut host) = host(&[]);
    assert_eq!(host.sample(NOW, |_| true), []);
}
