//! Handing an event to the agent.

use agent_events::{EVENT_BYTES, Event, PAYLOAD_BYTES, lost};
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::{bpf_ktime_get_ns, bpf_ringbuf_output};

use crate::maps::{EVENTS, Ends, LOST, SCRATCH, Scratch};

/// `BPF_RB_NO_WAKEUP`: the agent looks by itself every few tens of milliseconds, because a wake-up costs more than an event.
const NO_WAKEUP: u64 = 1;

/// This processor's scratch space with an event of `kind`, of this moment and thread, begun in it.
#[inline(always)]
pub fn begin(kind: u8, ends: &Ends) -> Option<&'static mut Scratch> {
    begin_at(kind, bpf_get_current_pid_tgid(), unsafe { bpf_ktime_get_ns() }, ends)
}

/// The same, of the thread `id` and the moment `time_ns`.
#[inline(always)]
pub fn begin_at(kind: u8, id: u64, time_ns: u64, ends: &Ends) -> Option<&'static mut Scratch> {
    let scratch = unsafe { &mut *SCRATCH.get_ptr_mut(0)? };
    scratch.event = Event {
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
        extra: [0; 3],
    };
    Some(scratch)
}

/// Sends the event with its payload.
#[inline(always)]
pub fn send(scratch: &mut Scratch) {
    let captured = (scratch.event.captured as usize).min(PAYLOAD_BYTES);
    scratch.event.captured = captured as u32;
    let size = EVENT_BYTES as u64 + (captured as u64 & (2 * PAYLOAD_BYTES as u64 - 1));
    let sent = unsafe {
        bpf_ringbuf_output(&raw const EVENTS as *mut _, (&raw mut scratch.event).cast(), size, NO_WAKEUP)
    };
    if sent != 0 {
        count(lost::RING_FULL);
    }
}

/// Counts something that the agent will not see.
#[inline(always)]
pub fn count(slot: u32) {
    if let Some(counter) = LOST.get_ptr_mut(slot) {
        unsafe { *counter += 1 };
    }
}
