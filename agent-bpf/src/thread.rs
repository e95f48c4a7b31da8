//! What a thread is in the middle of, from one program to the next.

use crate::maps::{
    Call, Messages, THREADS, TLS_SLOTS, TLS_SOCKETS, TLS_THREADS, Thread, TlsCall, TlsSession,
};

/// What thread `tid` is in the middle of.
#[inline(always)]
pub fn of(tid: u32) -> Option<&'static mut Thread> {
    if let Some(found) = THREADS.get_ptr_mut(tid) {
        return Some(unsafe { &mut *found });
    }
    let idle = Thread {
        tls: TlsCall { session: 0, buffer: 0, done: 0, time_ns: 0, direction: 0, pad: 0 },
        call: Call { socket: 0, buffer: 0, time_ns: 0, vectors: 0, direction: 0 },
        messages: Messages { array: 0, next: 0, pad: 0 },
    };
    THREADS.insert(tid, idle, 0).ok()?;
    THREADS.get_ptr_mut(tid).map(|found| unsafe { &mut *found })
}

/// Thread `tid` enters a call into a TLS library.
#[inline(always)]
pub fn enter_tls(tid: u32, call: TlsCall) -> Option<()> {
    of(tid)?.tls = call;
    if let Some(slot) = TLS_THREADS.get_ptr_mut(tid & (TLS_SLOTS - 1)) {
        unsafe { *slot = 1 };
    }
    Some(())
}

/// The session of the TLS library that thread `tid` is within a call of; 0 for none.
#[inline(always)]
pub fn tls_session(tid: u32) -> u64 {
    if TLS_THREADS.get(tid & (TLS_SLOTS - 1)).is_none_or(|slot| *slot == 0) {
        return 0;
    }
    unsafe { THREADS.get(tid) }.map_or(0, |thread| thread.tls.session)
}

/// `session` uses `sk`. As a rule that is known: to look is cheaper than to write.
#[inline(always)]
pub fn tie(session: TlsSession, sk: u64) {
    if unsafe { TLS_SOCKETS.get(session) }.is_none_or(|known| *known != sk) {
        let _ = TLS_SOCKETS.insert(session, sk, 0);
    }
}
