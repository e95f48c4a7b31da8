//! The files of `/proc` that tell of the host. Pure: text in, numbers out; what is not understood is left out.

use std::collections::BTreeMap;

/// Ticks of processor time in a second: fixed in the kernel's interface (`USER_HZ`).
const TICKS: f64 = 100.0;
const SECTOR_BYTES: f64 = 512.0;
/// Devices, interfaces and file systems of a host that are told apart.
const MOST: usize = 64;

/// `/proc/stat`.
#[derive(Debug, Default)]
pub(super) struct Stat {
    /// Seconds by mode, since boot.
    pub seconds: BTreeMap<&'static str, f64>,
    pub processors: f64,
    pub created: Option<f64>,
    pub blocked: Option<f64>,
}

pub(super) fn stat(text: &str) -> Stat {
    const MODES: [&str; 8] = ["user", "nice", "system", "idle", "iowait", "interrupt", "softirq", "steal"];
    let mut stat = Stat::default();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let name = words.next().unwrap_or_default();
        let mut numbers = words.filter_map(|word| word.parse::<f64>().ok());
        match name {
            "cpu" => stat.seconds = MODES.into_iter().zip(numbers.map(|ticks| ticks / TICKS)).collect(),
            "processes" => stat.created = numbers.next(),
            "procs_blocked" => stat.blocked = numbers.next(),
            _ if name.starts_with("cpu") => stat.processors += 1.0,
            _ => {}
        }
    }
    stat
}

/// `name: number …` and `name number …`, as in `meminfo`, `vmstat`, `memory.stat` and `cpu.stat`.
pub(super) fn fields(text: &str) -> BTreeMap<&str, f64> {
    let field = |line| -> Option<(&str, f64)> {
        let mut words = str::split_ascii_whitespace(line);
        Some((words.next()?.trim_end_matches(':'), words.next()?.parse().ok()?))
    };
    text.lines().filter_map(field).collect()
}

/// Seconds for which some, and for which all, tasks waited. <https://docs.kernel.org/accounting/psi.html>
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Pressure {
    pub some: Option<f64>,
    pub full: Option<f64>,
}

pub(super) fn pressure(text: &str) -> Pressure {
    let total = |kind: &str| {
        let line = text.lines().find(|line| line.starts_with(kind))?;
        let micros: f64 = line.rsplit_once("total=")?.1.trim().parse().ok()?;
        Some(micros / 1e6)
    };
    Pressure { some: total("some "), full: total("full ") }
}

/// A disk: of each direction operations, bytes, and seconds that they took.
#[derive(Debug, PartialEq)]
pub(super) struct Disk {
    pub name: String,
    pub read: [f64; 3],
    pub write: [f64; 3],
    /// Seconds in which it was busy.
    pub busy: f64,
    /// The same, for each request that was there.
    pub weighted: f64,
}

/// Whole disks that were ever used; not their partitions, nor what lies over other disks.
pub(super) fn disks(text: &str) -> Vec<Disk> {
    let disk = |line: &str| -> Option<Disk> {
        let mut words = line.split_ascii_whitespace().skip(2);
        let name = words.next()?.to_owned();
        let numbers: Vec<f64> = words.map_while(|word| word.parse().ok()).collect();
        let [reads, _, read, reading, writes, _, written, writing, _, busy, weighted, ..] = numbers[..]
        else {
            return None;
        };
        let virtual_ =
            ["loop", "ram", "dm-", "md", "zram", "sr", "fd"].iter().any(|kind| name.starts_with(kind));
        (!virtual_ && !is_partition(&name) && reads + writes > 0.0).then_some(Disk {
            name,
            read: [reads, read * SECTOR_BYTES, reading / 1000.0],
            write: [writes, written * SECTOR_BYTES, writing / 1000.0],
            busy: busy / 1000.0,
            weighted: weighted / 1000.0,
        })
    };
    text.lines().filter_map(disk).take(MOST).collect()
}

/// `sda1`, `vdb2`, `nvme0n1p3`, `mmcblk0p1`.
fn is_partition(name: &str) -> bool {
    let stem = name.trim_end_matches(|letter: char| letter.is_ascii_digit());
    if stem.len() == name.len() {
        return false;
    }
    match stem.strip_suffix('p') {
        Some(disk) => disk.ends_with(|letter: char| letter.is_ascii_digit()),
        None => ["sd", "vd", "hd", "xvd"].iter().any(|kind| name.starts_with(kind)),
    }
}

/// A file system on a device.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mount {
    pub device: String,
    pub path: String,
}

/// Each device once, where it was mounted first.
pub(super) fn mounts(text: &str) -> Vec<Mount> {
    let mut found: Vec<Mount> = Vec::new();
    for line in text.lines() {
        let mut words = line.split(' ');
        let (Some(device), Some(path), Some(kind)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        let real = device.starts_with("/dev/") && !device.starts_with("/dev/loop") && kind != "squashfs";
        if real && found.len() < MOST && found.iter().all(|mount| mount.device != device) {
            let path = path.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\");
            found.push(Mount { device: device.to_owned(), path });
        }
    }
    found
}

/// An interface: of each direction bytes, packets, errors, drops.
#[derive(Debug, PartialEq)]
pub(super) struct Device {
    pub name: String,
    pub received: [f64; 4],
    pub sent: [f64; 4],
}

/// Interfaces that were ever used; not those of single containers, whose other end is counted.
pub(super) fn devices(text: &str) -> Vec<Device> {
    let device = |line: &str| -> Option<Device> {
        let (name, rest) = line.split_once(':')?;
        let name = name.trim().to_owned();
        let numbers: Vec<f64> = rest.split_ascii_whitespace().map_while(|word| word.parse().ok()).collect();
        let [a, b, c, d, _, _, _, _, e, f, g, h, ..] = numbers[..] else { return None };
        let of_container = ["veth", "cali", "lxc", "cni", "tap"].iter().any(|kind| name.starts_with(kind));
        (!of_container && b + f > 0.0).then_some(Device { name, received: [a, b, c, d], sent: [e, f, g, h] })
    };
    text.lines().filter_map(device).take(MOST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_parts_of_a_disk() {
        let check = |name: &str, expected: bool| assert_eq!(is_partition(name), expected, "{name}");
        for disk in ["sda", "vdb", "nvme0n1", "mmcblk0", "xvda"] {
            check(disk, false);
        }
        for part in ["sda1", "vdb2", "nvme0n1p3", "mmcblk0p1", "xvda1"] {
            check(part, true);
        }
    }

    #[test]
    fn pressure_in_seconds() {
        let text =
            "some avg10=1.00 avg60=0 avg300=0 total=2500000\nfull avg10=0 avg60=0 avg300=0 total=500000\n";
        assert_eq!(pressure(text), Pressure { some: Some(2.5), full: Some(0.5) });
        assert_eq!(pressure(""), Pressure::default());
    }

    #[test]
    fn mounts_of_devices_once() {
        let text = "/dev/sda1 / ext4 rw 0 0\nproc /proc proc rw 0 0\n/dev/sda1 /var/lib/docker ext4 rw 0 0\n\
                    /dev/sdb1 /my\\040data xfs rw 0 0\n/dev/loop3 /snap/x squashfs ro 0 0\n";
        let found: Vec<_> = mounts(text).into_iter().map(|mount| mount.path).collect();
        assert_eq!(found, ["/", "/my data"]);
    }

    #[test]
    fn nonsense_is_left_out() {
        for text in ["", "cpu", "cpu x y", "a b c d", "::::", "8 0 sda 1 2", "lo: 1 2 3"] {
            let _ = (stat(text), fields(text), pressure(text));
            assert!(disks(text).is_empty() && devices(text).is_empty() && mounts(text).is_empty());
        }
    }
}
