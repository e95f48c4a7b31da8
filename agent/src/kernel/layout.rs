//! Everything that the programs must know of this kernel before they are loaded.

use std::path::{Path, PathBuf};

use agent_events::{Offsets, PAYLOAD_BYTES};

use super::btf::{Btf, BtfError};
use super::tracefs::files_of;

const KERNEL_TYPES: &str = "/sys/kernel/btf/vmlinux";

/// Why the layout of this kernel is not known.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// A file of the kernel cannot be read.
    #[error("cannot read {path}: {error}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// Its types.
    #[error(transparent)]
    Btf(#[from] BtfError),
    /// A trace point without a field that is needed.
    #[error("the trace point {point} has no field {field}")]
    Field {
        /// Which trace point.
        point: &'static str,
        /// Which field.
        field: &'static str,
    },
}

/// The layout of the running kernel.
#[derive(Clone, Copy, Default)]
#[repr(transparent)]
pub struct Layout(pub Offsets);

impl Layout {
    /// Reads it from the kernel's own description of itself.
    pub fn of_this_kernel() -> Result<Self, LayoutError> {
        let btf = Btf::parse(read(Path::new(KERNEL_TYPES))?)?;
        let retransmit_sk = field("tcp/tcp_retransmit_skb", "skaddr")?;
        Ok(Self(Offsets {
            own_pid: std::process::id(),
            task_pid: btf.offset("task_struct", "pid")?,
            task_tgid: btf.offset("task_struct", "tgid")?,
            task_files: btf.offset("task_struct", "files")?,
            task_exit_code: btf.offset("task_struct", "exit_code")?,
            task_signal: btf.offset("task_struct", "signal")?,
            signal_group_exit_code: btf.offset("signal_struct", "group_exit_code")?,
            files_fdt: btf.offset("files_struct", "fdt")?,
            fdt_max_fds: btf.offset("fdtable", "max_fds")?,
            fdt_fd: btf.offset("fdtable", "fd")?,
            file_inode: btf.offset("file", "f_inode")?,
            file_private: btf.offset("file", "private_data")?,
            inode_mode: btf.offset("inode", "i_mode")?,
            socket_sk: btf.offset("socket", "sk")?,
            sk_family: btf.offset("sock_common", "skc_family")?,
            sk_daddr: btf.offset("sock_common", "skc_daddr")?,
            sk_saddr: btf.offset("sock_common", "skc_rcv_saddr")?,
            sk_dport: btf.offset("sock_common", "skc_dport")?,
            sk_num: btf.offset("sock_common", "skc_num")?,
            sk_daddr6: btf.offset("sock_common", "skc_v6_daddr")?,
            sk_saddr6: btf.offset("sock_common", "skc_v6_rcv_saddr")?,
            sk_net: btf.offset("sock_common", "skc_net")?,
            net_inum: btf.offset("net", "ns.inum")?,
            sk_protocol: btf.offset("sock", "sk_protocol")?,
            tcp_bytes_acked: btf.offset("tcp_sock", "bytes_acked")?,
            tcp_bytes_received: btf.offset("tcp_sock", "bytes_received")?,
            tcp_srtt: btf.offset("tcp_sock", "srtt_us")?,
            tcp_total_retrans: btf.offset("tcp_sock", "total_retrans")?,
            tcp_clock: btf.offset("tcp_sock", "tcp_clock_cache").unwrap_or(0),
            exec_filename: field("sched/sched_process_exec", "filename")?,
            state_sk: field("sock/inet_sock_set_state", "skaddr")?,
            state_old: field("sock/inet_sock_set_state", "oldstate")?,
            state_new: field("sock/inet_sock_set_state", "newstate")?,
            retransmit_sk,
            // Both are of one class of events.
            reset_sk: field("tcp/tcp_receive_reset", "skaddr").unwrap_or(retransmit_sk),
            // Older kernels name the process alone.
            oom_pid: field("oom/mark_victim", "pid").unwrap_or(8),
            capture_bytes: PAYLOAD_BYTES as u32,
        }))
    }
}

/// Where `name` lies in the record of the trace point `point`.
fn field(point: &'static str, name: &'static str) -> Result<u32, LayoutError> {
    let mut refused = None;
    for folder in files_of(point) {
        match read(&folder.join("format")) {
            Ok(format) => {
                return place(&String::from_utf8_lossy(&format), name)
                    .ok_or(LayoutError::Field { point, field: name });
            }
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    Err(refused.unwrap_or(LayoutError::Field { point, field: name }))
}

/// `\tfield:const void * skaddr;\toffset:8;\tsize:8;\tsigned:0;`
fn place(format: &str, name: &str) -> Option<u32> {
    format.lines().find_map(|line| {
        let (declaration, rest) = line.trim().strip_prefix("field:")?.split_once(';')?;
        let declared = declaration.split_whitespace().next_back()?.split('[').next()?;
        if declared != name {
            return None;
        }
        rest.trim().strip_prefix("offset:")?.split(';').next()?.parse().ok()
    })
}

fn read(path: &Path) -> Result<Vec<u8>, LayoutError> {
    std::fs::read(path).map_err(|error| LayoutError::Read { path: path.to_owned(), error })
}

#[cfg(test)]
mod tests {
    use super::place;

    #[test]
    fn fields_of_a_trace_point() {
        let format = "name: x\nformat:\n\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n\n\
                      \tfield:const void * skaddr;\toffset:8;\tsize:8;\tsigned:0;\n\
                      \tfield:__data_loc char[] filename;\toffset:24;\tsize:4;\tsigned:0;\n\
                      \tfield:__u8 saddr[4];\toffset:28;\tsize:4;\tsigned:0;\n";
        assert_eq!(place(format, "skaddr"), Some(8));
        assert_eq!(place(format, "filename"), Some(24));
        assert_eq!(place(format, "saddr"), Some(28));
        assert_eq!(place(format, "pid"), None);
    }
}
