//! Bytes that processes read from and write to sockets, by the system calls that move them.

use core::hint::black_box;

use agent_events::{
    Event, PAYLOAD_BYTES, SLICE_BITS, TURN_BYTES, VECTORS, control, direction, flag, kind, lost, role,
    verdict,
};
use aya_ebpf::helpers::generated::{bpf_ktime_get_ns, bpf_probe_read_user};
use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_probe_read_user as read_user};
use aya_ebpf::macros::tracepoint;
use aya_ebpf::programs::TracePointContext;

use crate::maps::{CALLS_OF_THREADS, CONTROL, Call, Scratch, TLS_CALLS, TLS_SOCKETS, TlsSession, VERDICTS};
use crate::{emit, offset, socket, tcp};

const TCP: u16 = 6;
const UDP: u16 = 17;
/// The only datagrams that are looked at.
const DNS_PORT: u16 = 53;

/// Places in the record of a `sys_enter_*` tracepoint: part of the kernel's interface on 64 bits.
const ARGUMENT: [usize; 4] = [16, 24, 32, 40];
const RETURNED: usize = 16;

/// Places in `struct user_msghdr`.
const MESSAGE_VECTORS: u64 = 16;
const MESSAGE_VECTOR_COUNT: u64 = 24;

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

#[inline(always)]
fn enter(context: &TracePointContext, shape: Shape, direction: u8) -> Option<()> {
    let id = bpf_get_current_pid_tgid();
    if (id >> 32) as usize == offset!(own_pid) {
        return None;
    }
    let fd: u64 = unsafe { context.read_at(ARGUMENT[0]).ok()? };
    let sk = socket::of_descriptor(fd)?;
    let thread = id as u32;
    if let Some(tls) = unsafe { TLS_CALLS.get(thread) } {
        let session = TlsSession { session: tls.session, pid: id >> 32 };
        let _ = TLS_SOCKETS.insert(session, sk, 0);
    }
    if settled(sk, verdict::IGNORE) {
        return None;
    }
    let argument: u64 = unsafe { context.read_at(ARGUMENT[1]).ok()? };
    let (buffer, vectors) = match shape {
        Shape::Plain => (argument, 0),
        Shape::Vectors => (argument, unsafe { context.read_at::<u64>(ARGUMENT[2]).ok()? } as u32),
        Shape::Message => unsafe {
            let vectors: u64 = read_user((argument + MESSAGE_VECTORS) as *const u64).ok()?;
            let count: u64 = read_user((argument + MESSAGE_VECTOR_COUNT) as *const u64).ok()?;
            (vectors, count as u32)
        },
    };
    let call = Call {
        socket: sk,
        buffer,
        time_ns: unsafe { bpf_ktime_get_ns() },
        vectors,
        direction: u32::from(direction),
    };
    let _ = CALLS_OF_THREADS.insert(thread, call, 0);
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
    let thread = bpf_get_current_pid_tgid() as u32;
    let call = unsafe { *CALLS_OF_THREADS.get(thread)? };
    let _ = CALLS_OF_THREADS.remove(thread);
    let returned: i64 = unsafe { context.read_at(RETURNED).ok()? };
    if returned <= 0 {
        return None;
    }
    // A datagram's length is in its message header, which this does not read: what is captured is all that is known.
    let total = if messages { PAYLOAD_BYTES as u32 } else { returned.min(u32::MAX as i64) as u32 };
    bytes(&call, total, 0)
}

/// Sends the head of what `call` moved, unless this turn of the conversation has been captured enough.
#[inline(always)]
pub fn bytes(call: &Call, total: u32, flags: u8) -> Option<()> {
    let tls = flags & flag::TLS != 0;
    let scratch = emit::begin(kind::DATA)?;
    socket::ends(call.socket, &mut scratch.event)?;
    let event = &mut scratch.event;
    if event.protocol == UDP {
        if event.remote_port != DNS_PORT && event.local_port != DNS_PORT {
            return None;
        }
    } else if event.protocol != TCP {
        return None;
    }
    event.direction = call.direction as u8;
    event.flags = flags;
    event.total = total;
    if event.direction == direction::OUT {
        event.time_ns = call.time_ns;
    }
    let fresh = tcp::fresh(role::UNKNOWN, scratch, true);
    let known = socket::known(call.socket, &fresh)?;
    let event = &mut scratch.event;
    if known.pid == 0 {
        known.pid = event.pid;
        known.comm = event.comm;
    }
    event.role = known.role;
    let every = settled(call.socket, verdict::EVERY_CALL);
    let (last, turn) = if tls {
        (&mut known.tls_last_direction, &mut known.tls_turn_bytes)
    } else {
        (&mut known.last_direction, &mut known.turn_bytes)
    };
    if *last != event.direction || every {
        *last = event.direction;
        *turn = 0;
    }
    if *turn >= TURN_BYTES {
        return None;
    }
    *turn += total.min(TURN_BYTES);
    if shed(event) {
        emit::count(lost::SHED);
        return None;
    }
    capture(call, total, scratch);
    emit::send(scratch);
    Some(())
}

#[inline(always)]
fn settled(sk: u64, bit: u8) -> bool {
    unsafe { VERDICTS.get(sk) }.is_some_and(|verdict| *verdict & bit != 0)
}

/// Under load, only one of 2^n connections is captured, whole: half a conversation would be misread. Both ends agree on which, as they
/// have the same ports; the greater is the client's as a rule. Which ones are chosen changes with time, so that every one is seen.
#[inline(always)]
fn shed(event: &Event) -> bool {
    let bits = CONTROL.get(control::SHED_BITS).copied().unwrap_or(0) & 15;
    if bits == 0 {
        return false;
    }
    let port = u64::from(event.local_port.max(event.remote_port));
    let spread = port.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    (spread + (event.time_ns >> SLICE_BITS)) & ((1 << bits) - 1) != 0
}

#[inline(always)]
fn capture(call: &Call, total: u32, scratch: &mut Scratch) {
    let wanted = total.min(offset!(capture_bytes) as u32);
    if call.vectors == 0 {
        scratch.event.captured = copy(scratch, 0, call.buffer, wanted);
        return;
    }
    let count = call.vectors.min(VECTORS as u32);
    let size = count * 16;
    let read = unsafe {
        bpf_probe_read_user(scratch.vectors.as_mut_ptr().cast(), size & 127, call.buffer as *const _)
    };
    if read != 0 {
        emit::count(lost::UNREADABLE);
        return;
    }
    let mut taken = 0_u32;
    for index in 0..VECTORS {
        if index as u32 >= count || taken >= wanted {
            break;
        }
        let [base, length] = scratch.vectors[index];
        let part = (wanted - taken).min(length.min(PAYLOAD_BYTES as u64) as u32);
        let done = copy(scratch, taken, base, part);
        taken += done;
        if done < part || u64::from(part) < length {
            break;
        }
    }
    scratch.event.captured = taken;
}

/// Copies up to `length` bytes of the process to `place` in the payload; how many were copied.
#[inline(always)]
fn copy(scratch: &mut Scratch, place: u32, from: u64, length: u32) -> u32 {
    let length = length.min(PAYLOAD_BYTES as u32);
    // Opaque to the compiler, which knows both bounds and would leave out the masks, which the verifier needs to see.
    let size = black_box(u64::from(length)) & (2 * PAYLOAD_BYTES as u64 - 1);
    let place = black_box(place as usize) & (PAYLOAD_BYTES - 1);
    if length == 0 {
        return 0;
    }
    let to = unsafe { scratch.payload.as_mut_ptr().add(place) };
    if unsafe { bpf_probe_read_user(to.cast(), size as u32, from as *const _) } == 0 {
        return length;
    }
    emit::count(lost::UNREADABLE);
    0
}
