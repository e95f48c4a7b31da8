//! Whom the agent gives way to. The scheduler first shares the processors among groups of programs (control groups, or sessions where there
//! are none), and looks at a program's policy only within its group: to come last in a group that comes when it likes helps nobody else.

use std::path::Path;

/// What keeps other groups from coming first, and what to do about it; nothing where they do. `root` is where the host's files are.
pub fn obstacle(root: &Path) -> Option<String> {
    let groups = std::fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    if let Some((mount, path)) = processor_group(&groups) {
        let mount = root.join("sys/fs/cgroup").join(mount);
        // A group that has no weight of its own is of the nearest above it that has. The root, whose path is empty, is no group.
        let groups = Path::new(path.trim_start_matches('/')).ancestors();
        for group in groups.filter(|it| !it.as_os_str().is_empty()) {
            let file = mount.join(group).join("cpu.idle");
            let Ok(idle) = std::fs::read_to_string(&file) else { continue };
            return (idle.trim() != "1").then(|| {
                let group = group.display();
                format!(
                    "only to programs of its control group, {group}: give that the least weight (systemd: CPUWeight=idle; 1 in its cpu.idle)"
                )
            });
        }
    }
    let sessions =
        std::fs::read_to_string(root.join("proc/sys/kernel/sched_autogroup_enabled")).unwrap_or_default();
    (sessions.trim() == "1").then(|| {
        "only to programs of its own session, as sysctl kernel.sched_autogroup_enabled is 1: let it be a service with CPUWeight=idle"
            .to_owned()
    })
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
        let found = obstacle(root.path());
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
        let service = "sys/fs/cgroup/system.slice/agent.service/cpu.idle";
        let sessions = ("proc/sys/kernel/sched_autogroup_enabled", "1\n");
        check(&[unified, (service, "1\n"), sessions], None);
        check(&[unified, (service, "0\n")], Some("control group, system.slice/agent.service:"));
        let slice = ("sys/fs/cgroup/system.slice/cpu.idle", "0\n");
        check(&[unified, slice], Some("control group, system.slice:"));
        check(&[unified, sessions], Some("own session"));
        check(&[unified], None);
        let legacy = ("proc/self/cgroup", "4:memory:/other\n2:cpu,cpuacct:/agent\n0::/\n");
        check(&[legacy, ("sys/fs/cgroup/cpu,cpuacct/agent/cpu.idle", "0\n")], Some("control group, agent:"));
        let root = ("proc/self/cgroup", "1:cpu:/\n0::/\n");
        check(&[root, ("sys/fs/cgroup/cpu/cpu.idle", "0\n"), sessions], Some("own session"));
        check(&[], None);
        check(&[("proc/self/cgroup", "nonsense\n1:\n"), sessions], Some("own session"));
        check(&[("proc/self/cgroup", "0::/../..\n"), sessions], Some("own session"));
    }
}
