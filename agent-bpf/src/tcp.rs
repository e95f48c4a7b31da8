//! TCP: a connection comes up, fails, ends, loses a segment, is reset.

use agent_events::{Event, MOVED_NS, direction, kind, role};
use aya_ebpf::macros::tracepoint;
use aya_ebpf::programs::TracePointContext;

use crate::maps::{Ends, Socket, VERDICTS};
use crate::socket::TCP;
use crate::{emit, offset, seen, socket};

const ESTABLISHED: i32 = 1;
const SYN_SENT: i32 = 2;
const SYN_RECV: i32 = 3;
const CLOSE: i32 = 7;
const LISTEN: i32 = 10;

/// A socket of which nothing is known but `role` and whose it is, where that is certain.
#[inline(always)]
pub fn fresh(role: u8, opened_ns: u64, pid: u32) -> Socket {
    Socket {
        opened_ns,
        pid,
        role,
        last_direction: direction::IN + 1,
        tls_last_direction: direction::IN + 1,
        verdict: 0,
        turn_bytes: 0,
        tls_turn_bytes: 0,
        told_ns: opened_ns,
        told: [0; 2],
        settled_at: 0,
        ends: Ends::UNKNOWN,
    }
}

#[tracepoint]
pub fn socket_state(context: TracePointContext) -> u32 {
    state(&context);
    0
}

#[inline(always)]
fn state(context: &TracePointContext) -> Option<()> {
    let sk: u64 = unsafe { context.read_at(offset!(state_sk)).ok()? };
    let old: i32 = unsafe { context.read_at(offset!(state_old)).ok()? };
    let new: i32 = unsafe { context.read_at(offset!(state_new)).ok()? };
    let kind = match (old, new) {
        (_, SYN_SENT) | (SYN_SENT, ESTABLISHED) | (SYN_RECV, ESTABLISHED) => kind::OPEN,
        (_, LISTEN) => kind::LISTEN,
        (LISTEN, CLOSE) => kind::LISTEN_END,
        (SYN_SENT, CLOSE) => kind::CONNECT_FAILED,
        (_, CLOSE) => kind::CLOSE,
        _ => return None,
    };
    let ends = socket::ends(sk)?;
    if ends.protocol != TCP {
        return None;
    }
    let mut event = emit::event(kind, &ends);
    event.socket = sk;
    if new == SYN_SENT {
        // In the thread that called connect(): the only moment at which the owner of a client's socket is certain.
        seen::note(sk, &fresh(role::CLIENT, event.time_ns, event.pid), true)?;
        return None;
    }
    if (old, new) == (SYN_RECV, ESTABLISHED) {
        seen::note(sk, &fresh(role::SERVER, event.time_ns, 0), true)?;
    }
    let now = event.time_ns;
    let mut told = [0; 2];
    if kind != kind::LISTEN && kind != kind::LISTEN_END {
        // Packets are handled in whatever process runs: what was noted of the socket says whose it is.
        event.pid = 0;
        event.tid = 0;
        if let Some(known) = seen::find(sk) {
            event.pid = known.pid;
            event.role = known.role;
            event.extra[0] = now - known.opened_ns;
            told = known.told;
        }
    }
    if new == CLOSE {
        if kind == kind::CLOSE {
            since(told, totals(sk), sk, &mut event);
        }
        seen::forget(sk);
        let _ = VERDICTS.remove(sk);
    }
    emit::send(&event);
    Some(())
}

/// Bytes that the connection has sent and received, from the kernel's own counters.
#[inline(always)]
pub fn totals(sk: u64) -> [u64; 2] {
    [
        socket::read(sk, offset!(tcp_bytes_acked)).unwrap_or(0),
        socket::read(sk, offset!(tcp_bytes_received)).unwrap_or(0),
    ]
}

/// What it has moved since it was `told`, with how it fares.
#[inline(always)]
fn since(told: [u64; 2], now: [u64; 2], sk: u64, event: &mut Event) {
    let retransmits: u32 = socket::read(sk, offset!(tcp_total_retrans)).unwrap_or(0);
    let srtt: u32 = socket::read(sk, offset!(tcp_srtt)).unwrap_or(0);
    event.extra = [
        now[0].saturating_sub(told[0]),
        now[1].saturating_sub(told[1]),
        u64::from(srtt >> 3) << 32 | u64::from(retransmits),
    ];
}

/// Tells what a connection that lasts has moved, now and then.
#[inline(always)]
pub fn moved(id: u64, sk: u64, known: &mut Socket, time_ns: u64) {
    if known.ends.protocol == TCP && time_ns.saturating_sub(known.told_ns) >= MOVED_NS {
        tell_moved(id, sk, known, time_ns);
    }
}

#[inline(never)]
fn tell_moved(id: u64, sk: u64, known: &mut Socket, time_ns: u64) {
    known.told_ns = time_ns;
    let now = totals(sk);
    let mut event = emit::event_at(kind::MOVED, id, time_ns, &known.ends);
    since(known.told, now, sk, &mut event);
    known.told = now;
    event.socket = sk;
    event.role = known.role;
    event.pid = known.pid;
    emit::send(&event);
}

#[tracepoint]
pub fn retransmit(context: TracePointContext) -> u32 {
    segment(&context, offset!(retransmit_sk), kind::RETRANSMIT);
    0
}

#[tracepoint]
pub fn receive_reset(context: TracePointContext) -> u32 {
    segment(&context, offset!(reset_sk), kind::RESET);
    0
}

#[inline(always)]
fn segment(context: &TracePointContext, place: usize, kind: u8) -> Option<()> {
    let sk: u64 = unsafe { context.read_at(place).ok()? };
    let ends = socket::ends(sk)?;
    let mut event = emit::event(kind, &ends);
    event.socket = sk;
    event.pid = 0;
    event.tid = 0;
    if let Some(known) = seen::find(sk) {
        event.pid = known.pid;
        event.role = known.role;
    }
    emit::send(&event);
    Some(())
}
