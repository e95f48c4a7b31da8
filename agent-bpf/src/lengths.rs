//! Bytes that processes read from and write to sockets, where the kernel tells of each (`sock_send_length` and `sock_recv_length`, since
//! Linux 6.3). That names the socket, so that none is looked for, and leaves all other system calls of the host alone: what it costs is
//! half of what the system calls do (`syscalls.rs`).
//!
//! The buffer is in the registers that the process called the kernel with.

use agent_events::direction;
use aya_ebpf::bindings::{pt_regs, task_struct};
use aya_ebpf::helpers::generated::{bpf_get_current_task_btf, bpf_task_pt_regs};
use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;

use crate::maps::{Call, TlsSession};
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

/// One program for both trace points, whose records are alike: code that is in the processor's caches already costs a fraction.
#[raw_tracepoint(tracepoint = "sock_send_length")]
pub fn length(context: RawTracePointContext) -> i32 {
    moved(&context);
    0
}

#[inline(always)]
fn moved(context: &RawTracePointContext) -> Option<()> {
    let task = unsafe { bpf_get_current_task_btf() };
    // What it was called with comes first: many calls have no buffer, and take no more time.
    let arguments = arguments(task)?;
    let returned = context.arg::<i32>(1);
    if returned <= 0 {
        // An error ends a call that moves several messages.
        if returned < 0 && arguments.is_of_messages() {
            end_messages(thread_of(task));
        }
        return None;
    }
    let id = u64::from(number(task, offset!(task_tgid))) << 32 | u64::from(thread_of(task));
    if (id >> 32) as usize == offset!(own_pid) {
        return None;
    }
    let sk = context.arg::<u64>(0);
    let session = thread::tls_session(id as u32);
    if session != 0 && socket::is_internet(sk) {
        thread::tie(TlsSession { session, pid: id >> 32 }, sk);
    }
    let (buffer, vectors) = arguments.buffer(id as u32)?;
    let call = Call { socket: sk, buffer, time_ns: 0, vectors, direction: arguments.direction() };
    payload::bytes_of(id, &call, returned as u32, 0)
}

/// A number of `task`, without a call of the kernel's.
#[inline(always)]
fn number(task: *const task_struct, place: usize) -> u32 {
    unsafe { core::ptr::read_volatile(task.byte_add(place).cast()) }
}

#[inline(always)]
fn thread_of(task: *const task_struct) -> u32 {
    number(task, offset!(task_pid))
}

/// The system call that a thread is in, and what of its arguments tells of buffers.
struct Arguments {
    number: u64,
    second: u64,
    third: u64,
}

/// Nothing for calls that have no buffer (`sendfile`, `io_uring_enter`) and for programs of 32 bits.
#[inline(always)]
fn arguments(task: *mut task_struct) -> Option<Arguments> {
    let regs = unsafe { bpf_task_pt_regs(task) } as *const pt_regs;
    let register = |place: *const u64| unsafe { core::ptr::read_volatile(place) };
    let [number, code, second, third] = unsafe {
        [&raw const (*regs).orig_rax, &raw const (*regs).cs, &raw const (*regs).rsi, &raw const (*regs).rdx]
    }
    .map(register);
    let has_buffer = matches!(
        number,
        call::READ | call::WRITE | call::READV | call::WRITEV | call::SENDTO
            ..=call::RECVMSG | call::RECVMMSG | call::SENDMMSG
    );
    (has_buffer && code == CODE_OF_64_BITS).then_some(Arguments { number, second, third })
}

impl Arguments {
    #[inline(always)]
    fn direction(&self) -> u32 {
        let is_read =
            matches!(self.number, call::READ | call::READV | call::RECVFROM | call::RECVMSG | call::RECVMMSG);
        u32::from(if is_read { direction::IN } else { direction::OUT })
    }

    #[inline(always)]
    fn is_of_messages(&self) -> bool {
        matches!(self.number, call::RECVMMSG | call::SENDMMSG)
    }

    /// The buffer, or its array of `iovec` and how many.
    #[inline(always)]
    fn buffer(&self, tid: u32) -> Option<(u64, u32)> {
        match self.number {
            call::READV | call::WRITEV => Some((self.second, self.third as u32)),
            call::RECVMSG | call::SENDMSG => payload::of_message(self.second),
            call::RECVMMSG | call::SENDMMSG => {
                payload::of_message(next_message(tid, self.second, self.third as u32)?)
            }
            _ => Some((self.second, 0)),
        }
    }
}

/// Where the header of the message in the array is: the kernel tells of each in turn, until the last or an error.
#[inline(never)]
fn next_message(tid: u32, array: u64, count: u32) -> Option<u64> {
    let messages = &mut thread::of(tid)?.messages;
    let at = if messages.array == array { messages.next } else { 0 };
    messages.array = array;
    messages.next = if at + 1 >= count.min(MOST_MESSAGES) { 0 } else { at + 1 };
    Some(array + u64::from(at) * MESSAGE_BYTES)
}

/// The call that moves several messages has ended early.
#[inline(never)]
fn end_messages(tid: u32) {
    if let Some(thread) = thread::of(tid) {
        thread.messages.next = 0;
    }
}
