//! Where the processor's time goes: the stacks of whatever runs, at each tick.

use agent_events::lost;
use aya_ebpf::bindings::BPF_F_USER_STACK;
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::macros::perf_event;
use aya_ebpf::programs::PerfEventContext;
use aya_ebpf::programs::tracing::StackIdContext as _;

use crate::emit;
use crate::maps::{SAMPLES, STACK_TRACES, Sample};

const ENOMEM: i32 = 12;
/// Another stack has the place that this one's hash gives it.
const EEXIST: i32 = 17;

#[perf_event]
pub fn profile(context: PerfEventContext) -> u32 {
    let pid = (bpf_get_current_pid_tgid() >> 32) as u32;
    // The idle task.
    if pid == 0 {
        return 0;
    }
    let user = context.get_stackid(&STACK_TRACES, u64::from(BPF_F_USER_STACK));
    let kernel = context.get_stackid(&STACK_TRACES, 0);
    let sample = Sample { pid, user: number(user), kernel: number(kernel), pad: 0 };
    match SAMPLES.get_ptr_mut(sample) {
        Some(count) => unsafe { *count += 1 },
        None => {
            if SAMPLES.insert(sample, 1, 0).is_err() {
                emit::count(lost::SAMPLES);
            }
        }
    }
    0
}

/// The number of a stack; -1 where there is none. One that could not be kept is counted.
#[inline(always)]
fn number(stack: Result<i64, i32>) -> i32 {
    match stack {
        Ok(id) => id as i32,
        Err(error) => {
            // Threads of the kernel have no user stack (`EFAULT`): nothing is lost there.
            if error == -ENOMEM || error == -EEXIST {
                emit::count(lost::STACKS);
            }
            -1
        }
    }
}
