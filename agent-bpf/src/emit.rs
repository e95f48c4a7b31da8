//! Handing an event to the agent.

use core::hint::black_box;

use agent_events::{EVENT_BYTES, Event, PAYLOAD_BYTES, lost};
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::{bpf_ktime_get_ns, bpf_ringbuf_output};
use aya_ebpf::maps::ring_buf::RingBufEntry;

use crate::maps::{EVENTS, Ends, LOST, Record, SCRATCH, Scratch};

/// `BPF_RB_NO_WAKEUP`: the agent looks by itself every few tens of milliseconds, because a wake-up costs more than an event.
const NO_WAKEUP: u64 = 1;

/// An event of `kind`, of this moment and thread.
#[inline(always)]
pub fn event(kind: u8, ends: &Ends) -> Event {
    event_at(kind, bpf_get_current_pid_tgid(), unsafe { bpf_ktime_get_ns() }, ends)
}

/// The same, of the thread `id` and the moment `time_ns`.
#[inline(always)]
pub fn event_at(kind: u8, id: u64, time_ns: u64, ends: &Ends) -> Event {
    Event {
        kind,
        direction: 0,
        flags: 0,
        role: 0,
        family: ends.family,
        protocol: ends.protocol,
        pid: (id >> 32) as u32,
        tid: id as u32,
        time_ns,
        socket: 0,
        total: 0,
        captured: 0,
        local_port: ends.local_port,
        remote_port: ends.remote_port,
        netns: ends.netns,
        local: ends.local,
        remote: ends.remote,
        // Opaque, or the compiler would call a function to clear three words.
        extra: [black_box(0), black_box(0), black_box(0)],
    }
}

/// Sends an event without payload, from the stack: packets are handled in the middle of anything, also of a program that has the
/// scratch space in use.
#[inline(always)]
pub fn send(event: &Event) {
    output((&raw const *event).cast_mut().cast(), EVENT_BYTES as u64);
}

/// This processor's scratch space, for an event whose payload comes in parts. Only for programs that run for a process.
#[inline(always)]
pub fn scratch() -> Option<&'static mut Scratch> {
    Some(unsafe { &mut *SCRATCH.get_ptr_mut(0)? })
}

/// Sends the event in the scratch space, with its payload.
#[inline(always)]
pub fn send_scratch(scratch: &mut Scratch) {
    let captured = (scratch.event.captured as usize).min(PAYLOAD_BYTES);
    scratch.event.captured = captured as u32;
    let size = EVENT_BYTES as u64 + (captured as u64 & (2 * PAYLOAD_BYTES as u64 - 1));
    output((&raw mut scratch.event).cast(), size);
}

#[inline(always)]
fn output(event: *mut core::ffi::c_void, size: u64) {
    if unsafe { bpf_ringbuf_output(&raw const EVENTS as *mut _, event, size, NO_WAKEUP) } != 0 {
        count(lost::RING_FULL);
    }
}

/// Room in the buffer itself for an event with up to `N` bytes of payload: nothing is copied twice.
#[inline(always)]
pub fn reserve<const N: usize>() -> Option<RingBufEntry<Record<N>>> {
    let entry = EVENTS.reserve::<Record<N>>(0);
    if entry.is_none() {
        count(lost::RING_FULL);
    }
    entry
}

/// Hands over what was put into reserved room.
#[inline(always)]
pub fn submit<const N: usize>(entry: RingBufEntry<Record<N>>) {
    entry.submit(NO_WAKEUP);
}

/// Counts something that the agent will not see.
#[inline(always)]
pub fn count(slot: u32) {
    if let Some(counter) = LOST.get_ptr_mut(slot) {
        unsafe { *counter += 1 };
    }
}
