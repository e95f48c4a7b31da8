//! Plaintext of rustls, where its functions have symbols. It does no input or output of its own: the program hands it what came, and takes
//! what is to go. Two kinds of functions are looked at, each of which is given the address of a part of the session:
//!
//! - those that plaintext passes: `PlaintextSink::write` and `write_vectored`, `Reader::read`, and `into_first_chunk` with `consume`;
//! - those within which the program reads or writes its own socket: `DeframerVecBuffer::read` and `ChunkVecBuffer::write_to`. They tell
//!   the socket, as the calls into OpenSSL do.
//!
//! What is written goes out with the `write_to` that follows on its thread; what is read has come with the `read` before it. A session
//! may be moved in memory, and another may be where it was: so what was known of a place counts only while the connection of which it was
//! known is open. What has come with the end of the handshake, before the session was moved, is not seen.
//!
//! The ends of functions are seen at their `ret` instructions: a changed return address would end a program that unwinds through it.
//! How Rust passes arguments is not laid down anywhere; this is how it does for these functions, with optimisation and without.

use agent_events::{direction, flag};
use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_probe_read_user as read_user};
use aya_ebpf::macros::uprobe;
use aya_ebpf::programs::ProbeContext;

use crate::maps::{Call, RUSTLS, RUSTLS_READERS, Rustls, RustlsReader, TLS_SOCKETS, TlsCall, TlsSession};
use crate::{offset, payload, seen, thread};

/// A session is some 1 to 2 KiB.
const SESSION_BYTES: u64 = 2048;

macro_rules! programs {
    ($($name:ident: |$context:ident| $run:expr;)*) => {
        $(#[uprobe]
        pub fn $name($context: ProbeContext) -> u32 {
            let _: Option<()> = $run;
            0
        })*
    };
}

programs! {
    rustls_io: |context| io(&context);
    rustls_input_leave: |context| input_leave(&context);
    rustls_output_leave: |_context| output_leave();
    rustls_write: |context| write(&context, false);
    rustls_write_vectored: |context| write(&context, true);
    rustls_write_leave: |context| write_leave(&context);
    rustls_read: |context| read(&context);
    rustls_read_leave: |context| read_leave(&context);
    rustls_first_chunk: |context| first_chunk(&context);
    rustls_first_chunk_leave: |context| first_chunk_leave(&context);
    rustls_consume: |context| consume(&context);
}

/// `DeframerVecBuffer::read(&mut self, ..)`, `ChunkVecBuffer::write_to(&mut self, ..)`.
#[inline(always)]
fn io(context: &ProbeContext) -> Option<()> {
    let id = bpf_get_current_pid_tgid();
    if (id >> 32) as usize == offset!(own_pid) {
        return None;
    }
    let part: u64 = context.arg(0)?;
    // Only what happens from here on counts: the socket calls of this thread until the end are of this session.
    let _ = TLS_SOCKETS.remove(TlsSession { session: part, pid: id >> 32 });
    let call = TlsCall { session: part, buffer: 0, done: 0, time_ns: 0, direction: 0, pad: 0 };
    thread::enter_tls(id as u32, call)
}

/// The part that has read or written, and its socket, if there was any.
#[inline(always)]
fn io_end() -> Option<(u64, u64)> {
    let id = bpf_get_current_pid_tgid();
    let thread = thread::of(id as u32)?;
    let part = core::mem::replace(&mut thread.tls.session, 0);
    let socket = unsafe { *TLS_SOCKETS.get(TlsSession { session: part, pid: id >> 32 })? };
    Some((part, socket))
}

#[inline(always)]
fn input_leave(context: &ProbeContext) -> Option<()> {
    let rustls = rustls(bpf_get_current_pid_tgid() as u32)?;
    rustls.near = 0;
    let (part, socket) = io_end()?;
    if done(context).is_some() {
        rustls.near = part;
        rustls.socket = socket;
    }
    Some(())
}

#[inline(always)]
fn output_leave() -> Option<()> {
    let rustls = rustls(bpf_get_current_pid_tgid() as u32)?;
    rustls.near = 0;
    let total = core::mem::replace(&mut rustls.written, 0);
    let (part, socket) = io_end()?;
    if total == 0 || !are_near(rustls.sink, part) {
        return None;
    }
    let call = call(socket, rustls.buffer, rustls.vectors, rustls.time_ns, direction::OUT);
    payload::bytes(&call, total, flag::TLS)
}

/// `PlaintextSink::write(&mut self, buffer: &[u8])`, or with `&[IoSlice]`, which is laid out as the kernel's.
#[inline(always)]
fn write(context: &ProbeContext, vectored: bool) -> Option<()> {
    let id = bpf_get_current_pid_tgid();
    let rustls = rustls(id as u32)?;
    rustls.written = 0;
    rustls.sink = context.arg(0)?;
    rustls.buffer = context.arg(1)?;
    rustls.vectors = if vectored { context.arg::<u64>(2)?.min(u64::from(u32::MAX)) as u32 } else { 0 };
    rustls.time_ns = unsafe { bpf_ktime_get_ns() };
    Some(())
}

#[inline(always)]
fn write_leave(context: &ProbeContext) -> Option<()> {
    let done = done(context)?;
    rustls(bpf_get_current_pid_tgid() as u32)?.written = done;
    Some(())
}

/// `Reader::read(&mut self, buffer: &mut [u8])`; the first field of a `Reader` is a part of its session.
#[inline(always)]
fn read(context: &ProbeContext) -> Option<()> {
    let reader: u64 = context.arg(0)?;
    let rustls = rustls(bpf_get_current_pid_tgid() as u32)?;
    rustls.source = unsafe { read_user(reader as *const u64).ok()? };
    rustls.chunk = context.arg(1)?;
    rustls.left = 0;
    Some(())
}

#[inline(always)]
fn read_leave(context: &ProbeContext) -> Option<()> {
    let rustls = rustls(bpf_get_current_pid_tgid() as u32)?;
    let done = done(context);
    arrived(rustls, done.unwrap_or(0))
}

/// `Reader::into_first_chunk(self) -> io::Result<&[u8]>`: what is returned is stored where the first argument points.
#[inline(always)]
fn first_chunk(context: &ProbeContext) -> Option<()> {
    let reader: u64 = context.arg(1)?;
    let rustls = rustls(bpf_get_current_pid_tgid() as u32)?;
    rustls.left = 0;
    rustls.source = unsafe { read_user(reader as *const u64).ok()? };
    Some(())
}

#[inline(always)]
fn first_chunk_leave(context: &ProbeContext) -> Option<()> {
    let returned = unsafe { (*context.regs).rax };
    let rustls = rustls(bpf_get_current_pid_tgid() as u32)?;
    let [chunk, length]: [u64; 2] = unsafe { read_user(returned as *const [u64; 2]).ok()? };
    rustls.chunk = chunk;
    rustls.left = if chunk == 0 { 0 } else { length.min(u64::from(u32::MAX)) as u32 };
    Some(())
}

/// `Reader::consume(&mut self, amount)`: so much of the first chunk has arrived at the program.
#[inline(always)]
fn consume(context: &ProbeContext) -> Option<()> {
    let reader: u64 = context.arg(0)?;
    let amount: u64 = context.arg(1)?;
    let rustls = rustls(bpf_get_current_pid_tgid() as u32)?;
    let source: u64 = unsafe { read_user(reader as *const u64).ok()? };
    if source != rustls.source || amount > u64::from(rustls.left) {
        return None;
    }
    rustls.left = 0;
    arrived(rustls, amount as u32)
}

/// Sends `total` bytes that have come out of a session.
#[inline(always)]
fn arrived(rustls: &mut Rustls, total: u32) -> Option<()> {
    let pid = bpf_get_current_pid_tgid() >> 32;
    if pid as usize == offset!(own_pid) {
        return None;
    }
    let source = TlsSession { session: rustls.source, pid };
    let near = core::mem::replace(&mut rustls.near, 0);
    if total == 0 {
        return None;
    }
    if near != 0 && are_near(near, rustls.source) {
        let opened_ns = seen::find(rustls.socket)?.opened_ns;
        let reader = RustlsReader { socket: rustls.socket, opened_ns };
        match RUSTLS_READERS.get_ptr_mut(source) {
            Some(known) => unsafe { *known = reader },
            None => RUSTLS_READERS.insert(source, reader, 0).ok()?,
        }
    }
    let reader = unsafe { *RUSTLS_READERS.get(source)? };
    let is_open = seen::find(reader.socket)?.opened_ns == reader.opened_ns;
    if !is_open {
        return None;
    }
    let call = call(reader.socket, rustls.chunk, 0, 0, direction::IN);
    payload::bytes(&call, total, flag::TLS)
}

/// The number in an `io::Result<usize>`, if it is one and more than 0.
#[inline(always)]
fn done(context: &ProbeContext) -> Option<u32> {
    let registers = unsafe { &*context.regs };
    (registers.rax == 0 && registers.rdx > 0).then(|| registers.rdx.min(u64::from(u32::MAX)) as u32)
}

#[inline(always)]
fn are_near(one: u64, other: u64) -> bool {
    one.wrapping_sub(other).wrapping_add(SESSION_BYTES) <= 2 * SESSION_BYTES
}

#[inline(always)]
fn call(socket: u64, buffer: u64, vectors: u32, time_ns: u64, direction: u8) -> Call {
    Call { socket, buffer, time_ns, vectors, direction: u32::from(direction) }
}

/// What thread `tid` is in the middle of.
#[inline(always)]
fn rustls(tid: u32) -> Option<&'static mut Rustls> {
    if let Some(found) = RUSTLS.get_ptr_mut(tid) {
        return Some(unsafe { &mut *found });
    }
    let idle = Rustls {
        near: 0,
        socket: 0,
        sink: 0,
        buffer: 0,
        time_ns: 0,
        vectors: 0,
        written: 0,
        source: 0,
        chunk: 0,
        left: 0,
        pad: 0,
    };
    RUSTLS.insert(tid, idle, 0).ok()?;
    RUSTLS.get_ptr_mut(tid).map(|found| unsafe { &mut *found })
}
