//! Bytes that processes read from and write to sockets, by the system calls that move them: for kernels that do not tell of them
//! otherwise (`lengths.rs`).

use agent_events::{PAYLOAD_BYTES, direction, verdict};
use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use aya_ebpf::macros::tracepoint;
use aya_ebpf::programs::TracePointContext;

use crate::maps::{Call, THREADS, TlsSession};
use crate::{offset, payload, socket, thread};

/// Places in the record of a `sys_enter_*` tracepoint: part of the kernel's interface on 64 bits.
const ARGUMENT: [usize; 4] = [16, 24, 32, 40];
const RETURNED: usize = 16;

#[derive(Clone, Copy)]
enum Shape {
    /// A buffer.
    Plain,
    /// An array of `iovec`, and how many.
    Vectors,
    /// A `msghdr`, or an array of `mmsghdr`, of which the first counts.
    Message,
}

macro_rules! calls {
    ($($enter:ident: $shape:ident, $direction:ident;)*) => {
        $(#[tracepoint]
        pub fn $enter(context: TracePointContext) -> u32 {
            enter(&context, Shape::$shape, direction::$direction);
            0
        })*
    };
}

calls! {
    enter_read: Plain, IN;
    enter_write: Plain, OUT;
    enter_readv: Vectors, IN;
    enter_writev: Vectors, OUT;
    enter_recvfrom: Plain, IN;
    enter_sendto: Plain, OUT;
    enter_recvmsg: Message, IN;
    enter_sendmsg: Message, OUT;
    enter_recvmmsg: Message, IN;
    enter_sendmmsg: Message, OUT;
}

/// A word of the record, without a call of the kernel's.
#[inline(always)]
fn word(context: &TracePointContext, place: usize) -> u64 {
    unsafe { core::ptr::read_volatile(context.as_ptr().byte_add(place).cast()) }
}

#[inline(always)]
fn enter(context: &TracePointContext, shape: Shape, direction: u8) -> Option<()> {
    let id = bpf_get_current_pid_tgid();
    if (id >> 32) as usize == offset!(own_pid) {
        return None;
    }
    let fd = word(context, ARGUMENT[0]);
    let sk = socket::of_descriptor(fd)?;
    let thread = thread::of(id as u32)?;
    if thread.tls.session != 0 {
        thread::tie(TlsSession { session: thread.tls.session, pid: id >> 32 }, sk);
    }
    if payload::verdict_of(sk) & verdict::IGNORE != 0 {
        return None;
    }
    let argument = word(context, ARGUMENT[1]);
    let (buffer, vectors) = match shape {
        Shape::Plain => (argument, 0),
        Shape::Vectors => (argument, word(context, ARGUMENT[2]) as u32),
        Shape::Message => payload::of_message(argument)?,
    };
    thread.call = Call {
        socket: sk,
        buffer,
        // What is read is timed when it is there.
        time_ns: if direction == direction::OUT { unsafe { bpf_ktime_get_ns() } } else { 0 },
        vectors,
        direction: u32::from(direction),
    };
    Some(())
}

/// One program for the end of each of these calls. `recvmmsg` and `sendmmsg` return how many messages, not bytes.
#[tracepoint]
pub fn leave_bytes(context: TracePointContext) -> u32 {
    leave(&context, false);
    0
}

#[tracepoint]
pub fn leave_messages(context: TracePointContext) -> u32 {
    leave(&context, true);
    0
}

#[inline(always)]
fn leave(context: &TracePointContext, messages: bool) -> Option<()> {
    let thread = unsafe { &mut *THREADS.get_ptr_mut(bpf_get_current_pid_tgid() as u32)? };
    let call = thread.call;
    if call.socket == 0 {
        return None;
    }
    thread.call.socket = 0;
    let returned = word(context, RETURNED) as i64;
    if returned <= 0 {
        return None;
    }
    // A datagram's length is in its message header, which this does not read: what is captured is all that is known.
    let total = if messages { PAYLOAD_BYTES as u32 } else { returned.min(u32::MAX as i64) as u32 };
    payload::bytes(&call, total, 0)
}
