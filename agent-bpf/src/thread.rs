//! What a thread is in the middle of, from one program to the next.

use crate::maps::{Call, Messages, THREADS, TLS_SOCKETS, Thread, TlsCall, TlsSession};

/// What thread `tid` is in the middle of.
#[inline(always)]
pub fn of(tid: u32) -> Option<&'static mut Thread> {
    if let Some(found) = THREADS.get_ptr_mut(tid) {
        return Some(unsafe { &mut *found });
    }
    let idle = Thread {
        tls: TlsCall { session: 0, buffer: 0, done: 0, time_ns: 0, direction: 0, pad: 0 },
        call: Call { socket: 0, buffer: 0, time_ns: 0, vectors: 0, direction: 0, every: 0, pad: 0 },
        messages: Messages { array: 0, next: 0, pad: 0 },
    };
    THREADS.insert(tid, idle, 0).ok()?;
    THREADS.get_ptr_mut(tid).map(|found| unsafe { &mut *found })
}

/// `session` uses `sk`. As a rule that is known: to look is cheaper than to write.
#[inline(always)]
pub fn tie(session: TlsSession, sk: u64) {
    if unsafe { TLS_SOCKETS.get(session) }.is_none_or(|known| *known != sk) {
        let _ = TLS_SOCKETS.insert(session, sk, 0);
    }
}
