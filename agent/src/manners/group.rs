//! Whom the agent gives way to. The scheduler first shares the processors among groups of programs (control groups, or sessions where there
//! are none), and looks at a program's policy only within its group: to come last in a group that comes when it likes helps nobody else.

use std::io;
use std::path::Path;

/// Which a group has that competes with others, by version 2 and version 1.
const WEIGHTS: [&str; 2] = ["cpu.weight", "cpu.shares"];

/// What keeps other groups from coming first, and what to do about it; nothing where they do. `root` is `/`: it is about this process, as it
/// sees itself. An error where that cannot be read.
pub fn obstacle(root: &Path) -> io::Result<Option<String>> {
    let groups = std::fs::read_to_string(root.join("proc/self/cgroup"))?;
    if let Some((mount, path)) = processor_group(&groups) {
        let folder = root.join("sys/fs/cgroup").join(mount);
        // A group that has no weight of its own is of the nearest above it that has.
        for group in Path::new(path.trim_start_matches('/')).ancestors() {
            // The root of version 1 has a weight that counts for nothing; that of version 2 has none, unless it is a container's own group.
            let is_root = group.as_os_str().is_empty();
            let mut has_weight = false;
            for name in WEIGHTS {
                has_weight |= folder.join(group).join(name).try_exists()?;
            }
            if is_root && !mount.is_empty() || !has_weight {
                continue;
            }
            let idle = read_if_there(&folder.join(group).join("cpu.idle"))?;
            return Ok((idle.trim() != "1").then(|| {
                let group = if is_root { "that of the container".into() } else { group.to_string_lossy() };
                format!(
                    "only to programs of its control group, {group}: give that the least weight (systemd: CPUWeight=idle; 1 in its cpu.idle)"
                )
            }));
        }
    }
    let sessions = read_if_there(&root.join("proc/sys/kernel/sched_autogroup_enabled"))?;
    Ok((sessions.trim() == "1").then(|| {
        "only to programs of its own session, as sysctl kernel.sched_autogroup_enabled is 1: let it be a service with CPUWeight=idle"
            .to_owned()
    }))
}

/// A file that not every kernel has; empty where it is not there.
fn read_if_there(path: &Path) -> io::Result<String> {
    match std::fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        read => read,
    }
}

/// Where the hierarchy that shares processors is mounted, and the group of this process in it, of `/proc/self/cgroup`.
fn processor_group(groups: &str) -> Option<(&str, &str)> {
    let mut lines = groups.lines().filter_map(|line| {
        let (_, rest) = line.split_once(':')?;
        rest.split_once(':')
    });
    // Version 1 names the controller, version 2 has an empty name; where both are mounted the former has it.
    let first = lines.clone().find(|(controllers, _)| controllers.split(',').any(|it| it == "cpu"));
    first.or_else(|| lines.find(|(controllers, _)| controllers.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(files: &[(&str, &str)], expected: Option<&str>) {
        let root = tempfile::tempdir().expect("a folder");
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            std::fs::write(path, text).expect("written");
        }
        let found = obstacle(root.path()).expect("it can be read");
        match expected {
            None => assert_eq!(found, None, "{files:?}"),
            Some(part) => {
                assert!(found.as_ref().is_some_and(|it| it.contains(part)), "{found:?} of {files:?}")
            }
        }
    }

    #[test]
    fn others_come_first_where_their_group_does() {
        let unified = ("proc/self/cgroup", "0::/system.slice/agent.service\n");
        let weight = ("sys/fs/cgroup/system.slice/agent.service/cpu.weight", "100\n");
        let idle = "sys/fs/cgroup/system.slice/agent.service/cpu.idle";
        let sessions = ("proc/sys/kernel/sched_autogroup_enabled", "1\n");
        let own = Some("control group, system.slice/agent.service:");
        check(&[unified, weight, (idle, "1\n"), sessions], None);
        check(&[unified, weight, (idle, "0\n")], own);
        // Before Linux 5.15.
        check(&[unified, weight], own);
        check(
            &[unified, ("sys/fs/cgroup/system.slice/cpu.weight", "100\n")],
            Some("control group, system.slice:"),
        );
        check(&[unified, sessions], Some("own session"));
        check(&[unified], None);
        let root = ("proc/self/cgroup", "0::/\n");
        check(&[root, sessions], Some("own session"));
        check(&[root, ("sys/fs/cgroup/cpu.weight", "100\n")], Some("that of the container"));
        let legacy = ("proc/self/cgroup", "4:memory:/other\n2:cpu,cpuacct:/agent\n0::/\n");
        check(
            &[legacy, ("sys/fs/cgroup/cpu,cpuacct/agent/cpu.shares", "2\n")],
            Some("control group, agent:"),
        );
        let legacy = ("proc/self/cgroup", "1:cpu:/\n0::/\n");
        check(&[legacy, ("sys/fs/cgroup/cpu/cpu.shares", "1024\n"), sessions], Some("own session"));
        check(&[("proc/self/cgroup", "nonsense\n1:\n"), sessions], Some("own session"));
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        let root = tempfile::tempdir().expect("a folder");
        assert!(obstacle(root.path()).is_err());
    }
}
