//! What the agent is allowed to do, and giving up what it does not need.

use anyhow::{Context as _, Result};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_no_new_privs};

/// What is needed for what, in words for people.
pub const NEEDED: [(CapabilitySet, &str, &str); 7] = [
    (CapabilitySet::BPF, "CAP_BPF", "load programs (before Linux 5.8: CAP_SYS_ADMIN)"),
    (CapabilitySet::PERFMON, "CAP_PERFMON", "attach them, and read memory of the kernel"),
    (CapabilitySet::SYS_ADMIN, "CAP_SYS_ADMIN", "attach to TLS libraries"),
    (CapabilitySet::SYS_PTRACE, "CAP_SYS_PTRACE", "read programs and environments of other users' processes"),
    (
        CapabilitySet::DAC_READ_SEARCH,
        "CAP_DAC_READ_SEARCH",
        "read log files, trace points and files of containers",
    ),
    (CapabilitySet::SYSLOG, "CAP_SYSLOG", "name functions of the kernel in profiles"),
    (CapabilitySet::SYS_NICE, "CAP_SYS_NICE", "give way to what is watched, and take that back"),
];

/// What this process has of it.
pub fn held() -> Result<CapabilitySet> {
    Ok(capabilities(None).context("cannot read the capabilities of this process")?.effective)
}

/// Gives up everything else, for good, for the programs that it starts as well (`journalctl`): they would get it back as those of root
/// do. To be called before there are threads: each has its own.
pub fn drop_others() -> Result<()> {
    set_no_new_privs(true).context("cannot keep what it starts from gaining privileges")?;
    let now = capabilities(None).context("cannot read the capabilities of this process")?;
    let kept = NEEDED.iter().fold(CapabilitySet::empty(), |all, (one, ..)| all | *one) & now.permitted;
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets).context("cannot give up capabilities")
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn what_it_starts_gains_nothing() {
        // Capabilities are a thread's: the others of this process keep theirs.
        let status = std::thread::spawn(|| {
            drop_others().expect("given up");
            let output = Command::new("cat").arg("/proc/self/status").output().expect("cat runs");
            String::from_utf8(output.stdout).expect("a text")
        });
        let status = status.join().expect("no panic");
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a field");
            u64::from_str_radix(line.trim_start_matches(':').trim(), 16).expect("a number")
        };
        let needed = NEEDED.iter().fold(CapabilitySet::empty(), |all, (one, ..)| all | *one).bits();
        assert_eq!((field("CapEff") & !needed, field("CapPrm") & !needed), (0, 0), "{status}");
        assert_eq!(field("NoNewPrivs"), 1);
    }
}
