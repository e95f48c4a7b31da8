//! The heads of what sockets move: which are sent to the agent, and what of each.

use core::hint::black_box;

use agent_events::{
    Event, PAYLOAD_BYTES, SLICE_BITS, TURN_BYTES, VECTORS, control, direction, flag, kind, lost, role,
    verdict,
};
use aya_ebpf::helpers::generated::{bpf_ktime_get_ns, bpf_probe_read_user};
use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_probe_read_user as read_user};

use crate::maps::{CONTROL, Call, Ends, Scratch, Socket, VERDICTS};
use crate::socket::TCP;
use crate::{emit, offset, seen, socket, tcp};

const OUT: u32 = direction::OUT as u32;
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

/// The same, of a socket that is known: looked up only when verdicts have changed since it last was.
#[inline(always)]
fn settled(sk: u64, known: &mut Socket) -> u8 {
    // Read before the verdict: one that changes in between is looked up again.
    let changes = CONTROL.get(control::VERDICTS).copied().unwrap_or(0);
    if known.settled_at != changes {
        known.verdict = verdict_of(sk);
        known.settled_at = changes;
    }
    known.verdict
}

/// Sends the head of what `call` moved, unless this turn of the conversation has been captured enough.
#[inline(always)]
pub fn bytes(call: &Call, total: u32, flags: u8) -> Option<()> {
    bytes_of(bpf_get_current_pid_tgid(), call, total, flags)
}

/// The same, in the thread `id`. What decides comes before whatever costs more; what is at hand is handed on, as a call of the kernel's
/// costs as much as dozens of instructions.
#[inline(always)]
pub fn bytes_of(id: u64, call: &Call, total: u32, flags: u8) -> Option<()> {
    let known = known(call.socket, (id >> 32) as u32)?;
    let time_ns = moment(call, known);
    if known.pid == 0 {
        known.pid = (id >> 32) as u32;
    }
    tcp::moved(id, call.socket, known, time_ns);
    let settled = settled(call.socket, known);
    let (last, turn) = if flags & flag::TLS != 0 {
        (&mut known.tls_last_direction, &mut known.tls_turn_bytes)
    } else {
        if settled & verdict::IGNORE != 0 {
            return None;
        }
        (&mut known.last_direction, &mut known.turn_bytes)
    };
    if *last != call.direction as u8 || settled & verdict::EVERY_CALL != 0 {
        *last = call.direction as u8;
        *turn = 0;
    }
    if *turn >= TURN_BYTES {
        return None;
    }
    *turn += total.min(TURN_BYTES);
    if shed(&known.ends, time_ns) {
        emit::count(lost::SHED);
        return None;
    }
    let about = About { id, time_ns, known, call, total, flags };
    let wanted = total.min(offset!(capture_bytes) as u32);
    if call.vectors != 0 {
        return vectors(&about, wanted);
    }
    // Room is reserved before it is known how much can be read, in a few sizes: the verifier wants each to be a constant.
    match wanted {
        0..=256 => plain::<256>(&about, wanted),
        _ => plain::<PAYLOAD_BYTES>(&about, wanted),
    }
}

/// What is known of a socket over which bytes move; nothing for one that is not watched. The ends of a TCP connection are looked up
/// once; those of a datagram socket may change with each.
#[inline(always)]
fn known(sk: u64, pid: u32) -> Option<&'static mut Socket> {
    if let Some(known) = seen::at_its_place(sk)
        && known.ends.protocol == TCP
    {
        return Some(known);
    }
    look_up(sk, pid)
}

/// Apart from what is done for every call, so that that is short: code of programs that seldom run is seldom in the processor's caches.
/// (Not `#[cold]`: that puts it in a section of its own, and the loader takes what is at the same place of another for it.)
#[inline(never)]
fn look_up(sk: u64, pid: u32) -> Option<&'static mut Socket> {
    let found = seen::find(sk);
    // Of TCP and yet not at its place: another has that.
    if found.as_ref().is_some_and(|known| known.ends.protocol == TCP) {
        return found;
    }
    let protocol = socket::watched(sk)?;
    let known = match found {
        Some(known) => known,
        None => seen::made(sk, pid, protocol == TCP)?,
    };
    note_ends(sk, known)?;
    if known.role == role::UNKNOWN && known.ends.protocol == TCP {
        // Older than the agent: what it moved before is not told.
        known.told = tcp::totals(sk);
    }
    Some(known)
}

/// Apart from what else looks a socket up: a program has 512 bytes of stack, with all functions that it is within.
#[inline(never)]
fn note_ends(sk: u64, known: &mut Socket) -> Option<()> {
    known.ends = socket::ends(sk)?;
    Some(())
}

/// When what `call` moved was read, or left. For what was written without a note of when, that is as near as the kernel says: the
/// connection's clock was set within the call, and for a connection on this host before the other end could read.
#[inline(always)]
fn moment(call: &Call, known: &Socket) -> u64 {
    if call.direction == OUT {
        if call.time_ns != 0 {
            return call.time_ns;
        }
        let place = offset!(tcp_clock);
        if place != 0
            && known.ends.protocol == TCP
            && let Some(left) = socket::read(call.socket, place)
        {
            return left;
        }
    }
    unsafe { bpf_ktime_get_ns() }
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

/// What an event says beside its payload.
struct About<'a> {
    id: u64,
    time_ns: u64,
    known: &'a Socket,
    call: &'a Call,
    total: u32,
    flags: u8,
}

impl About<'_> {
    #[inline(always)]
    fn event(&self) -> Event {
        let mut event = emit::event_at(kind::DATA, self.id, self.time_ns, &self.known.ends);
        event.direction = self.call.direction as u8;
        event.flags = self.flags;
        event.role = self.known.role;
        event.socket = self.call.socket;
        event.total = self.total;
        event
    }
}

/// One buffer, of which at most `N` bytes are `wanted`.
#[inline(always)]
fn plain<const N: usize>(about: &About<'_>, wanted: u32) -> Option<()> {
    let mut entry = emit::reserve::<N>()?;
    let record = unsafe { &mut *entry.as_mut_ptr() };
    record.event = about.event();
    if wanted > 0 {
        // From 1 to `N`, as a mask and not as a comparison: verifiers before Linux 6.3 forget a bound that was compared once the number
        // is cut to 32 bits. Opaque to the compiler, which knows the bound and would leave out the mask.
        let size = (black_box(u64::from(wanted)).wrapping_sub(1) & (N as u64 - 1)) + 1;
        let to = record.payload.as_mut_ptr();
        if unsafe { bpf_probe_read_user(to.cast(), size as u32, about.call.buffer as *const _) } == 0 {
            record.event.captured = wanted;
        } else {
            emit::count(lost::UNREADABLE);
        }
    }
    emit::submit(entry);
    Some(())
}

/// Several buffers.
#[inline(never)]
fn vectors(about: &About<'_>, wanted: u32) -> Option<()> {
    let scratch = emit::scratch()?;
    scratch.event = about.event();
    let count = about.call.vectors.min(VECTORS as u32);
    let size = black_box(count * VECTOR_BYTES) & (2 * VECTORS as u32 * VECTOR_BYTES - 1);
    let from = about.call.buffer as *const _;
    if unsafe { bpf_probe_read_user(scratch.vectors.as_mut_ptr().cast(), size, from) } != 0 {
        emit::count(lost::UNREADABLE);
        emit::send_scratch(scratch);
        return Some(());
    }
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
    emit::send_scratch(scratch);
    Some(())
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
