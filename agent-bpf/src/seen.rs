//! What is known of each socket: noted when it is first seen, found whenever it moves bytes, forgotten at its end.
//!
//! Found by where the socket is in memory, in a table: that takes no call of the kernel's and one look at memory, where a hash map takes
//! several of both, and it is done for every read and write of every service. Where two sockets have the same place, the second is kept
//! in a hash map, as are sockets of datagrams: nobody tells of their end.

use agent_events::role;
use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::helpers::generated::bpf_ktime_get_ns;

use crate::maps::{MORE_SOCKETS_SEEN, PLACES_TAKEN, SOCKET_SLOTS, SOCKETS_SEEN, Slot, Socket};
use crate::tcp;

/// A power of two that no socket of TCP is smaller than (they have 2.2 KiB and more): neighbours in memory, as those are that were opened
/// one after the other, have places of their own, and near each other.
const SOCKET_BITS: u32 = 11;

#[inline(always)]
fn place(sk: u64) -> u32 {
    (sk >> SOCKET_BITS) as u32 & (SOCKET_SLOTS - 1)
}

#[inline(always)]
fn slot(sk: u64) -> Option<&'static mut Slot> {
    SOCKETS_SEEN.get_ptr_mut(place(sk)).map(|slot| unsafe { &mut *slot })
}

/// What is known of `sk` at its own place: nothing if it has none.
#[inline(always)]
pub fn at_its_place(sk: u64) -> Option<&'static mut Socket> {
    let slot = slot(sk)?;
    (slot.socket == sk).then_some(&mut slot.known)
}

/// What is known of `sk`.
#[inline(always)]
pub fn find(sk: u64) -> Option<&'static mut Socket> {
    if let Some(known) = at_its_place(sk) {
        return Some(known);
    }
    MORE_SOCKETS_SEEN.get_ptr_mut(sk).map(|known| unsafe { &mut *known })
}

/// Notes what is known of `sk`, of which nothing was or of which it no longer holds.
#[inline(always)]
pub fn note(sk: u64, known: &Socket, is_tcp: bool) -> Option<()> {
    if is_tcp
        && let Some(slot) = slot(sk)
        && (slot.socket == sk || PLACES_TAKEN.insert(place(sk), sk, u64::from(BPF_NOEXIST)).is_ok())
    {
        slot.known = *known;
        slot.socket = sk;
        return Some(());
    }
    MORE_SOCKETS_SEEN.insert(sk, known, 0).ok()
}

/// The same, made at need: a socket from before the agent, or one of datagrams. Apart, for its stack.
#[inline(never)]
pub fn made(sk: u64, pid: u32, is_tcp: bool) -> Option<&'static mut Socket> {
    note(sk, &tcp::fresh(role::UNKNOWN, unsafe { bpf_ktime_get_ns() }, pid), is_tcp)?;
    find(sk)
}

/// `sk` has ended.
#[inline(always)]
pub fn forget(sk: u64) {
    if let Some(slot) = slot(sk)
        && slot.socket == sk
    {
        slot.socket = 0;
        let _ = PLACES_TAKEN.remove(place(sk));
    } else {
        let _ = MORE_SOCKETS_SEEN.remove(sk);
    }
}
