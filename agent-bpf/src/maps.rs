//! Every map, with its bound.

use agent_events::{PAYLOAD_BYTES, VECTORS, control, lost};
use aya_ebpf::bindings::BPF_F_MMAPABLE;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf, StackTrace};

/// Room for bursts; the agent reads every few tens of milliseconds.
const RING_BYTES: u32 = 4 << 20;
const CALLS: u32 = 16 * 1024;
const SOCKETS: u32 = 32 * 1024;
const STACKS: u32 = 16 * 1024;
/// A power of two.
pub const SOCKET_SLOTS: u32 = 16 * 1024;
/// A power of two.
pub const TLS_SLOTS: u32 = 16 * 1024;

#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(RING_BYTES, 0);

/// What each thread is in the middle of. Entries stay when a call ends, and are used again: to change one in place is far cheaper than
/// to add and remove it.
#[map]
pub static THREADS: LruHashMap<u32, Thread> = LruHashMap::with_max_entries(CALLS, 0);

/// What is known of TCP sockets, each at a place that follows from its address (`seen.rs`).
#[map]
pub static SOCKETS_SEEN: Array<Slot> = Array::with_max_entries(SOCKET_SLOTS, BPF_F_MMAPABLE);

/// Who has which place: to add to a map is the one way to take something at most once that all kernels know.
#[map]
pub static PLACES_TAKEN: HashMap<u32, u64> = HashMap::with_max_entries(SOCKET_SLOTS, 0);

/// What is known of those whose place another has, and of those that nobody tells the end of, by address.
#[map]
pub static MORE_SOCKETS_SEEN: LruHashMap<u64, Socket> = LruHashMap::with_max_entries(SOCKETS, 0);

/// What the agent has settled on, by socket. It counts its changes in [`control::VERDICTS`], so that this is looked up only after one.
#[map]
pub static VERDICTS: LruHashMap<u64, u8> = LruHashMap::with_max_entries(SOCKETS, 0);

/// Whether a thread was ever within a call into a TLS library, by the low bits of its number. Others that have the same bits are looked
/// up in [`THREADS`] for nothing; the rest, on most hosts most threads, are not.
#[map]
pub static TLS_THREADS: Array<u32> = Array::with_max_entries(TLS_SLOTS, 0);

/// The socket that each TLS session was seen to use.
#[map]
pub static TLS_SOCKETS: LruHashMap<TlsSession, u64> = LruHashMap::with_max_entries(SOCKETS, 0);

/// What each goroutine waits to read. Entries stay, like those of threads.
#[map]
pub static GO_READS: LruHashMap<Goroutine, GoRead> = LruHashMap::with_max_entries(CALLS, 0);

/// What each thread is in the middle of within rustls.
#[map]
pub static RUSTLS: LruHashMap<u32, Rustls> = LruHashMap::with_max_entries(CALLS, 0);

/// The connection from which what a part of a session of rustls gives was seen to come.
#[map]
pub static RUSTLS_READERS: LruHashMap<TlsSession, RustlsReader> = LruHashMap::with_max_entries(CALLS, 0);

/// Where an event is put together: it does not fit on the stack.
#[map]
pub static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);

#[map]
pub static LOST: PerCpuArray<u64> = PerCpuArray::with_max_entries(lost::SLOTS, 0);

#[map]
pub static CONTROL: Array<u64> = Array::with_max_entries(control::SLOTS, 0);

/// Samples of the profile, and the stacks that they name.
#[map]
pub static SAMPLES: HashMap<Sample, u64> = HashMap::with_max_entries(STACKS, 0);
#[map]
pub static STACK_TRACES: StackTrace = StackTrace::with_max_entries(STACKS, 0);

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Thread {
    /// The call into a TLS library; none where `session` is 0.
    pub tls: TlsCall,
    /// The system call; none where `socket` is 0. Within a TLS call, when the library reads or writes.
    pub call: Call,
    /// The call that moves several messages; only where the kernel tells of each by itself.
    pub messages: Messages,
}

/// Which of the messages of one call is the next.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Messages {
    /// Where the process has their headers.
    pub array: u64,
    pub next: u32,
    pub pad: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Call {
    pub socket: u64,
    /// The buffer, or the array of `iovec`.
    pub buffer: u64,
    /// When it began; only for what is written, and 0 where that was not noted.
    pub time_ns: u64,
    /// How many `iovec` there are; 0 for a plain buffer.
    pub vectors: u32,
    pub direction: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Socket {
    pub opened_ns: u64,
    pub pid: u32,
    pub role: u8,
    pub last_direction: u8,
    pub tls_last_direction: u8,
    /// What the agent has settled on, as of `settled_at`.
    pub verdict: u8,
    pub turn_bytes: u32,
    pub tls_turn_bytes: u32,
    /// When the bytes that it had moved were last told, and how many those were.
    pub told_ns: u64,
    pub told: [u64; 2],
    /// How many changes of verdicts there had been; 0 where it was never looked up.
    pub settled_at: u64,
    /// Its two ends, once bytes have moved over it: they stay while a TCP connection lasts. Without protocol where not known.
    pub ends: Ends,
}

/// Two lines of the processor's caches: the map begins at a page, as one that could be mapped does.
#[repr(C, align(128))]
pub struct Slot {
    /// The socket that has it, once all is noted of that; else 0.
    pub socket: u64,
    pub known: Socket,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Ends {
    pub family: u16,
    pub protocol: u16,
    pub local_port: u16,
    pub remote_port: u16,
    pub netns: u32,
    pub local: [u8; 16],
    pub remote: [u8; 16],
}

impl Ends {
    pub const UNKNOWN: Self = Self {
        family: 0,
        protocol: 0,
        local_port: 0,
        remote_port: 0,
        netns: 0,
        local: [0; 16],
        remote: [0; 16],
    };
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct TlsCall {
    pub session: u64,
    pub buffer: u64,
    /// Where `_ex` functions store how much was done; 0 for the plain ones.
    pub done: u64,
    pub time_ns: u64,
    pub direction: u32,
    pub pad: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct TlsSession {
    pub session: u64,
    pub pid: u64,
}

/// By the address of its `g`, which a later goroutine may have again.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Goroutine {
    pub pid: u64,
    pub goroutine: u64,
}

/// A call of Go's `Read`; none where `socket` is 0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct GoRead {
    pub socket: u64,
    pub buffer: u64,
    /// Where the stack of the goroutine was, and how far it was used: it may move before the call ends.
    pub stack_pointer: u64,
    pub stack_low: u64,
    pub stack_high: u64,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Rustls {
    /// The part of a session that has just read its socket, and that; 0 once plaintext was taken since, or anything written.
    pub near: u64,
    pub socket: u64,
    /// The session that was last written to, what, and when.
    pub sink: u64,
    pub buffer: u64,
    pub time_ns: u64,
    pub vectors: u32,
    /// Bytes of it that are not reported yet.
    pub written: u32,
    /// The part of a session that plaintext is read from.
    pub source: u64,
    /// The plaintext, and how much of it is left to be taken.
    pub chunk: u64,
    pub left: u32,
    pub pad: u32,
}

/// A socket, and when it was opened: a later one may be at the same place.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct RustlsReader {
    pub socket: u64,
    pub opened_ns: u64,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Sample {
    pub pid: u32,
    pub user: i32,
    pub kernel: i32,
    pub pad: u32,
}

/// An event, with room for a payload.
#[repr(C)]
pub struct Record<const N: usize> {
    pub event: agent_events::Event,
    pub payload: [u8; N],
}

/// Three times the payload: all that the verifier sees is an offset below the bound and a length below twice the bound.
#[repr(C)]
pub struct Scratch {
    pub event: agent_events::Event,
    pub payload: [u8; PAYLOAD_BYTES * 3],
    pub vectors: [[u64; 2]; VECTORS],
}
