//! Plaintext of TLS, at the doors of the library: OpenSSL's `SSL_read`, `SSL_write` and their `_ex` forms.
//!
//! The socket of a session is the one that the library reads or writes from within such a call, in the same thread. A session over
//! memory buffers, whose socket is used outside of these calls, is not tied to one and not reported.

use agent_events::{direction, flag};
use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_probe_read_user};
use aya_ebpf::macros::{uprobe, uretprobe};
use aya_ebpf::programs::{ProbeContext, RetProbeContext};

use crate::maps::{Call, TLS_SOCKETS, TlsCall, TlsSession};
use crate::{offset, payload, thread};

macro_rules! doors {
    ($($name:ident: $direction:ident, $ex:literal;)*) => {
        $(#[uprobe]
        pub fn $name(context: ProbeContext) -> u32 {
            enter(&context, direction::$direction, $ex);
            0
        })*
    };
}

doors! {
    tls_read: IN, false;
    tls_read_ex: IN, true;
    tls_write: OUT, false;
    tls_write_ex: OUT, true;
}

#[inline(always)]
fn enter(context: &ProbeContext, direction: u8, ex: bool) -> Option<()> {
    let id = bpf_get_current_pid_tgid();
    if (id >> 32) as usize == offset!(own_pid) {
        return None;
    }
    let call = TlsCall {
        session: context.arg(0)?,
        buffer: context.arg(1)?,
        done: if ex { context.arg(3)? } else { 0 },
        time_ns: unsafe { bpf_ktime_get_ns() },
        direction: u32::from(direction),
        pad: 0,
    };
    thread::enter_tls(id as u32, call)
}

#[uretprobe]
pub fn tls_leave(context: RetProbeContext) -> u32 {
    leave(&context);
    0
}

#[inline(always)]
fn leave(context: &RetProbeContext) -> Option<()> {
    let id = bpf_get_current_pid_tgid();
    let thread = thread::of(id as u32)?;
    let tls = thread.tls;
    if tls.session == 0 {
        return None;
    }
    thread.tls.session = 0;
    let returned = context.ret::<u64>() as i32;
    if returned <= 0 {
        return None;
    }
    let total = if tls.done == 0 {
        returned as u32
    } else {
        unsafe { bpf_probe_read_user(tls.done as *const u64).ok()? }.min(u64::from(u32::MAX)) as u32
    };
    if total == 0 {
        return None;
    }
    let socket = unsafe { *TLS_SOCKETS.get(TlsSession { session: tls.session, pid: id >> 32 })? };
    let call =
        Call { socket, buffer: tls.buffer, time_ns: tls.time_ns, vectors: 0, direction: tls.direction };
    payload::bytes(&call, total, flag::TLS)
}
