//! What the two sides of the agent say to each other: events from the kernel, and the layout of this kernel's structures.
//!
//! Plain data with a fixed layout, no dependencies. Deliberately absent: decoding, which is the agent's (`agent/src/event.rs`).

#![no_std]

/// What happened. The numbers are the wire format of the ring buffer.
pub mod kind {
    /// A process runs a new program; the payload is the path that it was started with.
    pub const EXEC: u8 = 1;
    /// A process has ended; `extra[0]` is its wait status.
    pub const EXIT: u8 = 2;
    /// The kernel kills a process for want of memory; `extra[0]` is its anonymous memory in pages, where known.
    pub const OOM: u8 = 3;
    /// A connection is up, with its `role`; `extra[0]` is how long the handshake took, for a client.
    pub const OPEN: u8 = 4;
    /// A connection that was asked for did not come up; `extra[0]` is how long it took to fail.
    pub const CONNECT_FAILED: u8 = 5;
    /// A connection has ended; `extra` is bytes sent and bytes received since [`MOVED`], and round trip (µs) over retransmits (32 bits
    /// each).
    pub const CLOSE: u8 = 6;
    /// A segment is sent again.
    pub const RETRANSMIT: u8 = 7;
    /// Bytes read or written; the payload is their head.
    pub const DATA: u8 = 8;
    /// A reset was received.
    pub const RESET: u8 = 9;
    /// A socket starts to listen on `local_port`.
    pub const LISTEN: u8 = 10;
    /// A socket stops listening on `local_port`.
    pub const LISTEN_END: u8 = 11;
    /// What a connection that lasts has moved since it was last told, or first seen; `extra` as for [`CLOSE`].
    pub const MOVED: u8 = 12;
}

/// Which way bytes went, seen from the process.
pub mod direction {
    /// Written.
    pub const OUT: u8 = 0;
    /// Read.
    pub const IN: u8 = 1;
}

/// Which end of a connection a socket is.
pub mod role {
    /// Not seen: the connection is older than the agent.
    pub const UNKNOWN: u8 = 0;
    /// It asked for the connection.
    pub const CLIENT: u8 = 1;
    /// It took the connection.
    pub const SERVER: u8 = 2;
}

/// Bits of [`Event::flags`].
pub mod flag {
    /// The bytes were seen inside a TLS library, before encryption or after decryption.
    pub const TLS: u8 = 1;
}

/// Most bytes of payload in one event.
pub const PAYLOAD_BYTES: usize = 1024;
/// Buffers of one vectored call that are looked at: gRPC's C library hands over each header by itself.
pub const VECTORS: usize = 32;
/// Bytes captured of one turn of a conversation, until the other side speaks.
pub const TURN_BYTES: u32 = 4096;

/// One event; `captured` bytes of payload follow it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Event {
    /// One of [`kind`].
    pub kind: u8,
    /// One of [`direction`].
    pub direction: u8,
    /// Bits of [`flag`].
    pub flags: u8,
    /// One of [`role`].
    pub role: u8,
    /// Address family: 2 or 10.
    pub family: u16,
    /// Transport: 6 or 17.
    pub protocol: u16,
    /// Process.
    pub pid: u32,
    /// Thread.
    pub tid: u32,
    /// Nanoseconds of the monotonic clock.
    pub time_ns: u64,
    /// Address of the socket in the kernel: which connection this is, while it lasts.
    pub socket: u64,
    /// Bytes that the call moved.
    pub total: u32,
    /// Bytes of payload that follow.
    pub captured: u32,
    /// Host byte order.
    pub local_port: u16,
    /// Host byte order.
    pub remote_port: u16,
    /// Inode of the network namespace.
    pub netns: u32,
    /// IPv4 in the first four bytes.
    pub local: [u8; 16],
    /// IPv4 in the first four bytes.
    pub remote: [u8; 16],
    /// By kind.
    pub extra: [u64; 3],
}

/// Size of [`Event`] without its payload.
pub const EVENT_BYTES: usize = size_of::<Event>();

/// Where this kernel keeps the fields that the programs read: byte offsets, from its own type information and the `format` files of
/// its tracepoints. Zero in `available` bits says that a field was not found.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Offsets {
    /// Process of the agent: its own traffic is not looked at.
    pub own_pid: u32,
    /// `task_struct.pid`, which is a thread's number.
    pub task_pid: u32,
    /// `task_struct.tgid`, which is a process's.
    pub task_tgid: u32,
    /// `task_struct.files`.
    pub task_files: u32,
    /// `task_struct.exit_code`.
    pub task_exit_code: u32,
    /// `task_struct.signal`.
    pub task_signal: u32,
    /// `signal_struct.group_exit_code`.
    pub signal_group_exit_code: u32,
    /// `files_struct.fdt`.
    pub files_fdt: u32,
    /// `fdtable.max_fds`.
    pub fdt_max_fds: u32,
    /// `fdtable.fd`.
    pub fdt_fd: u32,
    /// `file.f_inode`.
    pub file_inode: u32,
    /// `file.private_data`.
    pub file_private: u32,
    /// `inode.i_mode`.
    pub inode_mode: u32,
    /// `socket.sk`.
    pub socket_sk: u32,
    /// `sock_common.skc_family`.
    pub sk_family: u32,
    /// `sock_common.skc_daddr`.
    pub sk_daddr: u32,
    /// `sock_common.skc_rcv_saddr`.
    pub sk_saddr: u32,
    /// `sock_common.skc_dport`.
    pub sk_dport: u32,
    /// `sock_common.skc_num`.
    pub sk_num: u32,
    /// `sock_common.skc_v6_daddr`.
    pub sk_daddr6: u32,
    /// `sock_common.skc_v6_rcv_saddr`.
    pub sk_saddr6: u32,
    /// `sock_common.skc_net`.
    pub sk_net: u32,
    /// `net.ns.inum`.
    pub net_inum: u32,
    /// `sock.sk_protocol`.
    pub sk_protocol: u32,
    /// `tcp_sock.bytes_acked`.
    pub tcp_bytes_acked: u32,
    /// `tcp_sock.bytes_received`.
    pub tcp_bytes_received: u32,
    /// `tcp_sock.srtt_us`, in eighths of a microsecond.
    pub tcp_srtt: u32,
    /// `tcp_sock.total_retrans`.
    pub tcp_total_retrans: u32,
    /// `tcp_sock.tcp_clock_cache`: when it last sent or received; 0 where the kernel has none.
    pub tcp_clock: u32,
    /// `sched_process_exec`: where the place of the path is.
    pub exec_filename: u32,
    /// `inet_sock_set_state`: the socket.
    pub state_sk: u32,
    /// `inet_sock_set_state`: state before.
    pub state_old: u32,
    /// `inet_sock_set_state`: state after.
    pub state_new: u32,
    /// `tcp_retransmit_skb`: the socket.
    pub retransmit_sk: u32,
    /// `tcp_receive_reset`: the socket.
    pub reset_sk: u32,
    /// `mark_victim`: the process.
    pub oom_pid: u32,
    /// Bytes of payload to capture per call, at most [`PAYLOAD_BYTES`].
    pub capture_bytes: u32,
}

/// Slots of the `LOST` counters.
pub mod lost {
    /// The ring buffer was full.
    pub const RING_FULL: u32 = 0;
    /// User memory could not be read (it was not resident).
    pub const UNREADABLE: u32 = 1;
    /// Shed by sampling.
    pub const SHED: u32 = 2;
    /// Samples of the profile for which there was no room.
    pub const SAMPLES: u32 = 3;
    /// Stacks of the profile whose place another one had, or for which there was no room.
    pub const STACKS: u32 = 4;
    /// How many there are.
    pub const SLOTS: u32 = 8;
}

/// How often at most the bytes of a connection that lasts are told.
pub const MOVED_NS: u64 = 10_000_000_000;

/// Slots of `CONTROL`, which the agent writes while it runs.
pub mod control {
    /// Of every 2^n connections, one is captured.
    pub const SHED_BITS: u32 = 0;
    /// How often `VERDICTS` has changed.
    pub const VERDICTS: u32 = 1;
    /// How many there are.
    pub const SLOTS: u32 = 2;
}

/// How the agent has settled on a connection: bits of the values of `VERDICTS`.
pub mod verdict {
    /// Nothing to read in what the system calls move: only what a TLS library sees, if anything.
    pub const IGNORE: u8 = 1;
    /// Many conversations in one connection: capture the head of every call, not of every turn.
    pub const EVERY_CALL: u8 = 2;
}

/// How long the same connections are chosen when only some are captured, as a power of two of nanoseconds: 69 s.
pub const SLICE_BITS: u64 = 36;
