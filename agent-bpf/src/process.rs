//! Processes: a new program, an end, a kill for want of memory.

use agent_events::{PAYLOAD_BYTES, kind};
use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::{bpf_get_current_task, bpf_probe_read_kernel_str};
use aya_ebpf::macros::tracepoint;
use aya_ebpf::programs::TracePointContext;

use crate::maps::{Ends, THREADS};
use crate::{emit, offset, socket};

/// Longest path that is noted.
const PATH_BYTES: u32 = 256;
const _: () = assert!(PATH_BYTES as usize <= PAYLOAD_BYTES);

#[tracepoint]
pub fn process_exec(context: TracePointContext) -> u32 {
    exec(&context);
    0
}

#[inline(always)]
fn exec(context: &TracePointContext) -> Option<()> {
    let scratch = emit::scratch()?;
    scratch.event = emit::event(kind::EXEC, &Ends::UNKNOWN);
    // The low half of a `__data_loc` is where the text starts in the record.
    let place: u32 = unsafe { context.read_at(offset!(exec_filename)).ok()? };
    let from = unsafe { context.as_ptr().cast::<u8>().add((place & 0xffff) as usize) };
    let length =
        unsafe { bpf_probe_read_kernel_str(scratch.payload.as_mut_ptr().cast(), PATH_BYTES, from.cast()) };
    if length > 1 && length <= PATH_BYTES as i64 {
        scratch.event.captured = length as u32 - 1;
    }
    emit::send_scratch(scratch);
    Some(())
}

#[tracepoint]
pub fn process_exit(_context: TracePointContext) -> u32 {
    // Its number will be given to another.
    let _ = THREADS.remove(bpf_get_current_pid_tgid() as u32);
    exit();
    0
}

#[inline(always)]
fn exit() -> Option<()> {
    let mut event = emit::event(kind::EXIT, &Ends::UNKNOWN);
    // The end of a thread is not the end of its process. The leader may end first, with others still running; the agent forgets a
    // process a while after its leader, so that this is rare and does no harm.
    if event.pid != event.tid {
        return None;
    }
    let task = unsafe { bpf_get_current_task() };
    let own: u32 = socket::read(task, offset!(task_exit_code))?;
    let signal: u64 = socket::read(task, offset!(task_signal))?;
    let group: u32 = socket::read(signal, offset!(signal_group_exit_code)).unwrap_or(0);
    event.extra[0] = u64::from(if group == 0 { own } else { group });
    emit::send(&event);
    Some(())
}

#[tracepoint]
pub fn oom_kill(context: TracePointContext) -> u32 {
    oom(&context);
    0
}

#[inline(always)]
fn oom(context: &TracePointContext) -> Option<()> {
    let mut event = emit::event(kind::OOM, &Ends::UNKNOWN);
    // Whoever asked for memory runs here: the victim is named in the record.
    event.pid = unsafe { context.read_at(offset!(oom_pid)).ok()? };
    event.tid = event.pid;
    emit::send(&event);
    Some(())
}
