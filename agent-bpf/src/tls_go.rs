//! Plaintext of Go's `crypto/tls`, at `(*Conn).Write` and `(*Conn).Read`, by Go's own calling convention on x86-64 (Go 1.17 and later):
//! receiver in RAX, slice in RBX and RCX, the count that is returned in RAX, the goroutine in R14.
//!
//! Three things differ from a library in C. A goroutine moves between threads while it waits, so that what it is in the middle of is
//! kept by goroutine. Its stack moves when it grows, so that a return address must not be touched: the end of `Read` is seen at its
//! `ret` instructions. And the probes at the beginning sit behind the check of the stack, which would otherwise run them twice.
//!
//! The socket is what the connection holds: a `*net.TCPConn`, or a struct that begins with one. What is written is taken at the
//! beginning, before it is on its way, for whoever reads the answer may be another goroutine on another processor.

use agent_events::{direction, flag};
use aya_ebpf::bindings::pt_regs;
use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_probe_read_user as read_user};
use aya_ebpf::macros::uprobe;
use aya_ebpf::programs::ProbeContext;

use crate::maps::{Call, GO_READS, GoRead, Goroutine};
use crate::{offset, payload, socket};

/// `poll.FD.Sysfd`, with which `net.netFD` begins, behind a mutex of two words.
const DESCRIPTOR: u64 = 16;
/// What holds a connection may be a wrapper around a wrapper.
const WRAPPERS: usize = 3;
/// What is read there is a number of 64 bits; one this large is something else.
const MOST_DESCRIPTORS: u64 = 1 << 20;

#[uprobe]
pub fn go_write(context: ProbeContext) -> u32 {
    write(&context);
    0
}

#[inline(always)]
fn write(context: &ProbeContext) -> Option<()> {
    if is_own() {
        return None;
    }
    let registers = registers(context);
    let length = registers.rcx;
    if length == 0 {
        return None;
    }
    let call = call(socket_of(registers.rax)?, registers.rbx, direction::OUT);
    payload::bytes(&call, length.min(u64::from(u32::MAX)) as u32, flag::TLS)
}

#[uprobe]
pub fn go_read(context: ProbeContext) -> u32 {
    read(&context);
    0
}

#[inline(always)]
fn read(context: &ProbeContext) -> Option<()> {
    if is_own() {
        return None;
    }
    let registers = registers(context);
    let goroutine = goroutine(registers);
    let [stack_low, stack_high]: [u64; 2] =
        unsafe { read_user(goroutine.goroutine as *const [u64; 2]).ok()? };
    let read = GoRead {
        socket: socket_of(registers.rax)?,
        buffer: registers.rbx,
        stack_pointer: registers.rsp,
        stack_low,
        stack_high,
    };
    match GO_READS.get_ptr_mut(goroutine) {
        Some(known) => unsafe { *known = read },
        None => GO_READS.insert(goroutine, read, 0).ok()?,
    }
    Some(())
}

#[uprobe]
pub fn go_read_leave(context: ProbeContext) -> u32 {
    leave(&context);
    0
}

#[inline(always)]
fn leave(context: &ProbeContext) -> Option<()> {
    let registers = registers(context);
    let known = unsafe { &mut *GO_READS.get_ptr_mut(goroutine(registers))? };
    let read = *known;
    if read.socket == 0 {
        return None;
    }
    known.socket = 0;
    let returned = registers.rax as i64;
    if returned <= 0 {
        return None;
    }
    // The stack pointer is now what it was at the beginning, unless the stack has moved: a buffer on it has moved as far.
    let mut buffer = read.buffer;
    if read.stack_low <= buffer && buffer < read.stack_high {
        buffer = buffer.wrapping_add(registers.rsp.wrapping_sub(read.stack_pointer));
    }
    let call = call(read.socket, buffer, direction::IN);
    payload::bytes(&call, returned.min(i64::from(u32::MAX)) as u32, flag::TLS)
}

#[inline(always)]
fn is_own() -> bool {
    (bpf_get_current_pid_tgid() >> 32) as usize == offset!(own_pid)
}

#[inline(always)]
fn registers(context: &ProbeContext) -> &pt_regs {
    unsafe { &*context.regs }
}

#[inline(always)]
fn goroutine(registers: &pt_regs) -> Goroutine {
    Goroutine { pid: bpf_get_current_pid_tgid() >> 32, goroutine: registers.r14 }
}

#[inline(always)]
fn call(socket: u64, buffer: u64, direction: u8) -> Call {
    Call {
        socket,
        buffer,
        time_ns: unsafe { bpf_ktime_get_ns() },
        vectors: 0,
        direction: u32::from(direction),
    }
}

/// The socket of a `tls.Conn`, whose first field is a `net.Conn`: a table of methods, and the connection.
#[inline(always)]
fn socket_of(connection: u64) -> Option<u64> {
    let mut holder = connection;
    for _ in 0..WRAPPERS {
        let [_, inner]: [u64; 2] = unsafe { read_user(holder as *const [u64; 2]).ok()? };
        // A `net.TCPConn` is one pointer, to its `netFD`.
        let first: u64 = unsafe { read_user(inner as *const u64).ok()? };
        let descriptor = unsafe { read_user((first + DESCRIPTOR) as *const u64) }.unwrap_or(0);
        // Memory that holds nothing reads as 0, which is not a connection either way.
        if descriptor != 0 && descriptor < MOST_DESCRIPTORS {
            if let Some(found) = socket::of_descriptor(descriptor) {
                return Some(found);
            }
        }
        holder = inner;
    }
    None
}
