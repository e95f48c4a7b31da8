//! Bytes that processes read from and write to sockets, where the kernel tells of each (`sock_send_length` and `sock_recv_length`, since
//! Linux 6.3). That names the socket, so that none is looked for, and leaves all other system calls of the host alone: what it costs is
//! half of what the system calls do (`syscalls.rs`).
//!
//! The buffer is in the registers that the process called the kernel with.

use agent_events::{direction, verdict};
use aya_ebpf::bindings::pt_regs;
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::{bpf_get_current_task_btf, bpf_ktime_get_ns, bpf_task_pt_regs};
use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;

use crate::maps::{Call, THREADS, Thread, TlsSession};
use crate::socket::TCP;
use crate::{offset, payload, socket, thread};

/// Numbers of system calls on x86-64.
mod call {
    pub const READ: u64 = 0;
    pub const WRITE: u64 = 1;
    pub const READV: u64 = 19;
    pub const WRITEV: u64 = 20;
    pub const SENDTO: u64 = 44;
    pub const RECVFROM: u64 = 45;
    pub const SENDMSG: u64 = 46;
    pub const RECVMSG: u64 = 47;
    pub const RECVMMSG: u64 = 299;
    pub const SENDMMSG: u64 = 307;
}
/// The code segment of programs of 64 bits: others have other numbers, and other structures.
const CODE_OF_64_BITS: u64 = 0x33;
/// Bytes of a `struct mmsghdr`.
const MESSAGE_BYTES: u64 = 64;
/// Messages that one call moves at most (`UIO_MAXIOV`).
const MOST_MESSAGES: u32 = 1024;

#[raw_tracepoint(tracepoint = "sock_send_length")]
pub fn sent(context: RawTracePointContext) -> i32 {
    moved(&context, direction::OUT);
    0
}

#[raw_tracepoint(tracepoint = "sock_recv_length")]
pub fn received(context: RawTracePointContext) -> i32 {
    moved(&context, direction::IN);
    0
}

#[inline(always)]
fn moved(context: &RawTracePointContext, direction: u8) -> Option<()> {
    let id = bpf_get_current_pid_tgid();
    if (id >> 32) as usize == offset!(own_pid) {
        return None;
    }
    let sk = context.arg::<u64>(0);
    let seen = payload::seen(sk);
    let is_tcp = seen.as_ref().is_some_and(|seen| seen.ends.protocol == TCP);
    if !is_tcp && !socket::is_internet(sk) {
        return None;
    }
    let thread = THREADS.get_ptr_mut(id as u32).map(|found| unsafe { &mut *found });
    if let Some(thread) = &thread
        && thread.tls.session != 0
    {
        thread::tie(TlsSession { session: thread.tls.session, pid: id >> 32 }, sk);
    }
    let settled = payload::verdict_of(sk);
    if settled & verdict::IGNORE != 0 {
        return None;
    }
    let returned = context.arg::<i32>(1);
    if returned <= 0 {
        // An error ends a call that moves several messages.
        if let Some(thread) = thread
            && returned < 0
        {
            thread.messages.next = 0;
        }
        return None;
    }
    let (buffer, vectors) = buffer(id as u32, thread)?;
    let call = Call {
        socket: sk,
        buffer,
        time_ns: if direction == direction::OUT { left(sk, is_tcp) } else { 0 },
        vectors,
        direction,
        every: settled & verdict::EVERY_CALL,
        pad: 0,
    };
    payload::bytes_of(id, &call, seen, returned as u32, 0)
}

/// The buffer of the system call that this thread is in, or its array of `iovec` and how many. Nothing for calls that have none
/// (`sendfile`, `io_uring_enter`) and for programs of 32 bits.
#[inline(always)]
fn buffer(tid: u32, known: Option<&'static mut Thread>) -> Option<(u64, u32)> {
    let regs = unsafe { bpf_task_pt_regs(bpf_get_current_task_btf()) } as *const pt_regs;
    let register = |place: *const u64| unsafe { core::ptr::read_volatile(place) };
    let [number, code, second, third] = unsafe {
        [&raw const (*regs).orig_rax, &raw const (*regs).cs, &raw const (*regs).rsi, &raw const (*regs).rdx]
    }
    .map(register);
    if code != CODE_OF_64_BITS {
        return None;
    }
    match number {
        call::READ | call::WRITE | call::RECVFROM | call::SENDTO => Some((second, 0)),
        call::READV | call::WRITEV => Some((second, third as u32)),
        call::RECVMSG | call::SENDMSG => payload::of_message(second),
        call::RECVMMSG | call::SENDMMSG => {
            let thread = match known {
                Some(thread) => thread,
                None => thread::of(tid)?,
            };
            let at = next_message(thread, second, third as u32);
            payload::of_message(second + u64::from(at) * MESSAGE_BYTES)
        }
        _ => None,
    }
}

/// Which message of the array it is: the kernel tells of each in turn, until the last or an error.
#[inline(always)]
fn next_message(thread: &mut Thread, array: u64, count: u32) -> u32 {
    let messages = &mut thread.messages;
    let at = if messages.array == array { messages.next } else { 0 };
    messages.array = array;
    messages.next = if at + 1 >= count.min(MOST_MESSAGES) { 0 } else { at + 1 };
    at
}

/// When what was just written left, as near as the kernel says: the connection's clock was set within the call, and for a connection on
/// this host before the other end could read. For others it is now.
#[inline(always)]
fn left(sk: u64, is_tcp: bool) -> u64 {
    let place = offset!(tcp_clock);
    if is_tcp
        && place != 0
        && let Some(left) = socket::read(sk, place)
    {
        return left;
    }
    unsafe { bpf_ktime_get_ns() }
}
