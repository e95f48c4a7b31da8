//! The kernel side of the agent: small programs that note what processes and connections do and hand it to the ring buffer.
//!
//! They decide as little as possible: protocols, names and rates are the agent's business, in user space. What they need to know
//! about this kernel's structures comes as [`OFFSETS`], so that one object runs on many kernels.
//! Deliberately absent: anything that changes what a program does. Every program here only reads.

#![no_std]
#![no_main]

mod emit;
mod lengths;
mod maps;
mod payload;
mod process;
mod profile;
mod seen;
mod socket;
mod syscalls;
mod tcp;
mod thread;
mod tls;
mod tls_go;
mod tls_rustls;

use agent_events::Offsets;

/// Filled in by the agent before the programs are loaded.
#[unsafe(no_mangle)]
static OFFSETS: Offsets = Offsets {
    own_pid: 0,
    task_pid: 0,
    task_tgid: 0,
    task_files: 0,
    task_exit_code: 0,
    task_signal: 0,
    signal_group_exit_code: 0,
    files_fdt: 0,
    fdt_max_fds: 0,
    fdt_fd: 0,
    file_inode: 0,
    file_private: 0,
    inode_mode: 0,
    socket_sk: 0,
    sk_family: 0,
    sk_daddr: 0,
    sk_saddr: 0,
    sk_dport: 0,
    sk_num: 0,
    sk_daddr6: 0,
    sk_saddr6: 0,
    sk_net: 0,
    net_inum: 0,
    sk_protocol: 0,
    tcp_bytes_acked: 0,
    tcp_bytes_received: 0,
    tcp_srtt: 0,
    tcp_total_retrans: 0,
    tcp_clock: 0,
    exec_filename: 0,
    state_sk: 0,
    state_old: 0,
    state_new: 0,
    retransmit_sk: 0,
    reset_sk: 0,
    oom_pid: 0,
    capture_bytes: 0,
};

/// One field of [`OFFSETS`].
macro_rules! offset {
    ($field:ident) => {
        crate::loaded(&raw const crate::OFFSETS.$field)
    };
}
pub(crate) use offset;

/// Volatile, or the compiler would fold the zeroes above into the programs.
#[inline(always)]
fn loaded(field: *const u32) -> usize {
    unsafe { core::ptr::read_volatile(field) as usize }
}

/// The kernel lets only programs under the GPL use its tracing helpers; this project is under Apache-2.0, and grants the GPL for
/// this object as well.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
