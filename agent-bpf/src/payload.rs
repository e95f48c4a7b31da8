//! The heads of what sockets move: which are sent to the agent, and what of each.

use core::hint::black_box;

use agent_events::{
    PAYLOAD_BYTES, SLICE_BITS, TURN_BYTES, VECTORS, control, direction, flag, kind, lost, role,
};
use aya_ebpf::helpers::generated::{bpf_ktime_get_ns, bpf_probe_read_user};
use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_probe_read_user as read_user};

use crate::maps::{CONTROL, Call, Ends, SOCKETS_SEEN, Scratch, Socket, VERDICTS};
use crate::socket::TCP;
use crate::{emit, offset, socket, tcp};

const UDP: u16 = 17;
/// The only datagrams that are looked at.
const DNS_PORT: u16 = 53;
/// Bytes of a `struct iovec`.
const VECTOR_BYTES: u32 = 16;
/// Where `struct user_msghdr` has its vectors, and behind them how many.
const MESSAGE_VECTORS: u64 = 16;

/// The buffers of a message of a process: an array of `iovec`, and how many.
#[inline(always)]
pub fn of_message(header: u64) -> Option<(u64, u32)> {
    let [vectors, count]: [u64; 2] =
        unsafe { read_user((header + MESSAGE_VECTORS) as *const [u64; 2]).ok()? };
    Some((vectors, count as u32))
}

/// What the agent has settled on for `sk`.
#[inline(always)]
pub fn verdict_of(sk: u64) -> u8 {
    unsafe { VERDICTS.get(sk) }.copied().unwrap_or(0)
}

/// What is known of `sk` already, if anything.
#[inline(always)]
pub fn seen(sk: u64) -> Option<&'static mut Socket> {
    SOCKETS_SEEN.get_ptr_mut(sk).map(|found| unsafe { &mut *found })
}

/// Sends the head of what `call` moved, unless this turn of the conversation has been captured enough.
#[inline(always)]
pub fn bytes(call: &Call, total: u32, flags: u8) -> Option<()> {
    bytes_of(bpf_get_current_pid_tgid(), call, seen(call.socket), total, flags)
}

/// The same, in the thread `id`, of a socket of which is known what was `seen`. What decides comes before whatever costs more; what is at
/// hand is handed on, as a call of the kernel's costs as much as dozens of instructions.
#[inline(always)]
pub fn bytes_of(
    id: u64,
    call: &Call,
    seen: Option<&'static mut Socket>,
    total: u32,
    flags: u8,
) -> Option<()> {
    let out = call.direction == direction::OUT;
    let time_ns = if out { call.time_ns } else { unsafe { bpf_ktime_get_ns() } };
    let (known, ends) = known(call.socket, seen, time_ns, (id >> 32) as u32)?;
    if known.pid == 0 {
        known.pid = (id >> 32) as u32;
    }
    tcp::moved(id, call.socket, known, &ends, time_ns);
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
    let scratch = emit::begin_at(kind::DATA, id, time_ns, &ends)?;
    let event = &mut scratch.event;
    event.direction = call.direction;
    event.flags = flags;
    event.role = known.role;
    event.socket = call.socket;
    event.total = total;
    capture(call, total, scratch);
    emit::send(scratch);
    Some(())
}

/// What is known of a socket over which bytes move, and its ends; nothing for one that is not watched. The ends of a TCP connection are
/// looked up once; those of a datagram socket may change with each.
#[inline(always)]
fn known(
    sk: u64,
    seen: Option<&'static mut Socket>,
    time_ns: u64,
    pid: u32,
) -> Option<(&'static mut Socket, Ends)> {
    if let Some(known) = seen
        && known.ends.protocol == TCP
    {
        let ends = known.ends;
        return Some((known, ends));
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
