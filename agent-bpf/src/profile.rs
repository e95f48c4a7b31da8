//! Where the processor's time goes: the stacks of whatever runs, at each tick.

use aya_ebpf::bindings::BPF_F_USER_STACK;
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::macros::perf_event;
use aya_ebpf::programs::PerfEventContext;
use aya_ebpf::programs::tracing::StackIdContext as _;

use crate::maps::{SAMPLES, STACK_TRACES, Sample};

#[perf_event]
pub fn profile(context: PerfEventContext) -> u32 {
    let pid = (bpf_get_current_pid_tgid() >> 32) as u32;
    // The idle task.
    if pid == 0 {
        return 0;
    }
    let user = context.get_stackid(&STACK_TRACES, u64::from(BPF_F_USER_STACK));
    let kernel = context.get_stackid(&STACK_TRACES, 0);
    let sample = Sample {
        pid,
        user: user.map_or(-1, |id| id as i32),
        kernel: kernel.map_or(-1, |id| id as i32),
        pad: 0,
    };
    match SAMPLES.get_ptr_mut(sample) {
        Some(count) => unsafe { *count += 1 },
        None => {
            let _ = SAMPLES.insert(sample, 1, 0);
        }
    }
    0
}
