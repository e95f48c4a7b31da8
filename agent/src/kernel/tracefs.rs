//! The kernel's trace points, which it shows as files, where the host does not have them mounted.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Where they are, in the order in which they are looked for.
const PLACES: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// Makes them visible to this thread and those that it starts. systemd mounts them on most hosts; a container or a small system may do
/// without. There they are mounted for this process alone, in a mount namespace of its own that ends with it: nothing changes for
/// others, and what the host mounts later still appears here. To be called before there are threads, and while CAP_SYS_ADMIN lasts.
#[expect(
    unsafe_code,
    reason = "the safe call is deprecated: it could part threads from their open files, which this does not"
)]
pub fn show_trace_points() -> Result<()> {
    if PLACES.iter().any(|place| Path::new(place).join("events").is_dir()) {
        return Ok(());
    }
    let advice = || format!("no trace points: mount -t tracefs tracefs {}", PLACES[0]);
    // SAFETY: of what threads share, only mounts are parted.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }.with_context(advice)?;
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC).with_context(advice)?;
    mount("tracefs", PLACES[0], "tracefs", MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC, None)
        .with_context(advice)
}

/// Whether the kernel has the trace point `point`, as in `sock/sock_send_length`.
pub fn has_trace_point(point: &str) -> bool {
    files_of(point).any(|folder| folder.is_dir())
}

/// Where the files of the trace point `point` may be.
pub(super) fn files_of(point: &str) -> impl Iterator<Item = PathBuf> {
    PLACES.iter().map(move |place| Path::new(place).join("events").join(point))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_shown_to_this_process_alone() {
        let mounts = || std::fs::read_to_string("/proc/1/mounts").expect("mounts");
        let before = mounts();
        let shown =
            std::thread::spawn(|| show_trace_points().map(|()| has_trace_point("sock/inet_sock_set_state")));
        match shown.join().expect("no panic") {
            Ok(found) => assert!(found),
            Err(error) => eprintln!("skipped: {error:#}"),
        }
        assert_eq!(mounts(), before);
    }
}
