//! Bytes that processes read from and write to sockets, by the system calls that move them.

use core::hint::black_box;

use agent_events::{
    PAYLOAD_BYTES, SLICE_BITS, TURN_BYTES, VECTORS, control, direction, flag, kind, lost, role, verdict,
};
use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::generated::{bpf_ktime_get_ns, bpf_probe_read_user};
use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_probe_read_user as read_user};
use aya_ebpf::macros::tracepoint;
use aya_ebpf::programs::TracePointContext;

use crate::maps::{
    CONTROL, Call, Ends, SOCKETS_SEEN, Scratch, Socket, THREADS, TLS_SOCKETS, Thread, TlsCall, TlsSession,
    VERDICTS,
};
use crate::{emit, offset, socket, tcp};

const TCP: u16 = 6;
const UDP: u16 = 17;
/// The only datagrams that are looked at.
const DNS_PORT: u16 = 53;

/// Places in the record of a `sys_enter_*` tracepoint: part of the kernel's interface on 64 bits.
const ARGUMENT: [usize; 4] = [16, 24, 32, 40];
const RETURNED: usize = 16;

/// Bytes of a `struct iovec`.
const VECTOR_BYTES: u32 = 16;

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
    let thread = thread(id as u32)?;
    if thread.tls.session != 0 {
        tie(TlsSession { session: thread.tls.session, pid: id >> 32 }, sk);
    }
    let settled = verdict_of(sk);
    if settled & verdict::IGNORE != 0 {
        return None;
    }
    let argument = word(context, ARGUMENT[1]);
    let (buffer, vectors) = match shape {
        Shape::Plain => (argument, 0),
        Shape::Vectors => (argument, word(context, ARGUMENT[2]) as u32),
        Shape::Message => unsafe {
            let vectors: u64 = read_user((argument + MESSAGE_VECTORS) as *const u64).ok()?;
            let count: u64 = read_user((argument + MESSAGE_VECTOR_COUNT) as *const u64).ok()?;
            (vectors, count as u32)
        },
    };
    thread.call = Call {
        socket: sk,
        buffer,
        // What is read is timed when it is there.
        time_ns: if direction == direction::OUT { unsafe { bpf_ktime_get_ns() } } else { 0 },
        vectors,
        direction,
        every: settled & verdict::EVERY_CALL,
        pad: 0,
    };
    Some(())
}

/// What thread `tid` is in the middle of.
#[inline(always)]
pub fn thread(tid: u32) -> Option<&'static mut Thread> {
    if let Some(found) = THREADS.get_ptr_mut(tid) {
        return Some(unsafe { &mut *found });
    }
    let idle = Thread {
        tls: TlsCall { session: 0, buffer: 0, done: 0, time_ns: 0, direction: 0, pad: 0 },
        call: Call { socket: 0, buffer: 0, time_ns: 0, vectors: 0, direction: 0, every: 0, pad: 0 },
    };
    THREADS.insert(tid, idle, 0).ok()?;
    THREADS.get_ptr_mut(tid).map(|found| unsafe { &mut *found })
}

/// `session` uses `sk`. As a rule that is known: to look is cheaper than to write.
#[inline(always)]
fn tie(session: TlsSession, sk: u64) {
    if unsafe { TLS_SOCKETS.get(session) }.is_none_or(|known| *known != sk) {
        let _ = TLS_SOCKETS.insert(session, sk, 0);
    }
}

/// What the agent has settled on for `sk`.
#[inline(always)]
pub fn verdict_of(sk: u64) -> u8 {
    unsafe { VERDICTS.get(sk) }.copied().unwrap_or(0)
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
    bytes(&call, total, 0)
}

/// Sends the head of what `call` moved, unless this turn of the conversation has been captured enough. What decides that comes before
/// whatever costs more.
#[inline(always)]
pub fn bytes(call: &Call, total: u32, flags: u8) -> Option<()> {
    let id = bpf_get_current_pid_tgid();
    let out = call.direction == direction::OUT;
    let time_ns = if out { call.time_ns } else { unsafe { bpf_ktime_get_ns() } };
    let (known, ends) = known(call.socket, time_ns, (id >> 32) as u32)?;
    if known.pid == 0 {
        known.pid = (id >> 32) as u32;
    }
    tcp::moved(call.socket, known, &ends, time_ns);
    let (last, turn) = if flags & flag::TLS != 0 {
        (&mut known.tls_last_direction, &mut known.tls_turn_bytes)
    } else {
        (&mut known.last_direction, &mut known.turn_bytes)
    };
    if *last != call.direction || call.every != 0 {
        *last = call.direction;
        *turn = 0;
    }
    if *turn >= TURN_BYTES {
        return None;
    }
    *turn += total.min(TURN_BYTES);
    if shed(&ends, time_ns) {
        emit::count(lost::SHED);
        return None;
    }
    let scratch = emit::begin_at(kind::DATA, time_ns)?;
    let event = &mut scratch.event;
    event.direction = call.direction;
    event.flags = flags;
    event.role = known.role;
    event.socket = call.socket;
    event.total = total;
    emit::between(event, &ends);
    capture(call, total, scratch);
    emit::send(scratch);
    Some(())
}

/// What is known of a socket over which bytes move, and its ends; nothing for one that is not watched. The ends of a TCP connection are
/// looked up once; those of a datagram socket may change with each.
#[inline(always)]
fn known(sk: u64, time_ns: u64, pid: u32) -> Option<(&'static mut Socket, Ends)> {
    let found = SOCKETS_SEEN.get_ptr_mut(sk);
    if let Some(known) = found {
        let known = unsafe { &mut *known };
        if known.ends.protocol == TCP {
            let ends = known.ends;
            return Some((known, ends));
        }
    }
    let ends = socket::ends(sk)?;
    let dns = ends.protocol == UDP && (ends.remote_port == DNS_PORT || ends.local_port == DNS_PORT);
    if ends.protocol != TCP && !dns {
        return None;
    }
    let known = socket::known(sk, &tcp::fresh(role::UNKNOWN, time_ns, pid))?;
    if !dns {
        known.ends = ends;
        if known.role == role::UNKNOWN {
            // Older than the agent: what it moved before is not told.
            known.told = tcp::totals(sk);
        }
    }
    Some((known, ends))
}

/// Under load, only one of 2^n connections is captured, whole: half a conversation would be misread. Both ends agree on which, as they
/// have the same ports; the greater is the client's as a rule. Which ones are chosen changes with time, so that every one is seen.
#[inline(always)]
fn shed(ends: &Ends, time_ns: u64) -> bool {
    let bits = CONTROL.get(control::SHED_BITS).copied().unwrap_or(0) & 15;
    if bits == 0 {
        return false;
    }
    let port = u64::from(ends.local_port.max(ends.remote_port));
    let spread = port.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    (spread + (time_ns >> SLICE_BITS)) & ((1 << bits) - 1) != 0
}

#[inline(always)]
fn capture(call: &Call, total: u32, scratch: &mut Scratch) {
    let wanted = total.min(offset!(capture_bytes) as u32);
    if call.vectors == 0 {
        scratch.event.captured = copy(scratch, 0, call.buffer, wanted);
        return;
    }
    let count = call.vectors.min(VECTORS as u32);
    let size = black_box(count * VECTOR_BYTES) & (2 * VECTORS as u32 * VECTOR_BYTES - 1);
    let read =
        unsafe { bpf_probe_read_user(scratch.vectors.as_mut_ptr().cast(), size, call.buffer as *const _) };
    if read != 0 {
        emit::count(lost::UNREADABLE);
        return;
    }
    scratch.event.captured = 0;
    let mut index = 0;
    // Two things keep the verifier from following every way through every turn. The loop stays one: the compiler would write it out.
    // And how much is taken is kept where the verifier knows nothing of it, so that all ways into the next turn look alike.
    while black_box(index) < VECTORS {
        let taken = unsafe { core::ptr::read_volatile(&raw const scratch.event.captured) };
        if index as u32 >= count || taken >= wanted {
            break;
        }
        let [base, length] = scratch.vectors[index & (VECTORS - 1)];
        let part = (wanted - taken).min(length.min(PAYLOAD_BYTES as u64) as u32);
        let done = copy(scratch, taken, base, part);
        unsafe { core::ptr::write_volatile(&raw mut scratch.event.captured, taken + done) };
        if done < part || u64::from(part) < length {
            break;
        }
        index += 1;
    }
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
