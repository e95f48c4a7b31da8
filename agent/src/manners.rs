//! What is watched runs first: an observer must not slow what it observes.
//!
//! The whole process runs under Linux's `SCHED_IDLE`: a program that wakes up takes the processor from it at once, where an ordinary
//! process would first use up its turn. The price is that on a host without a moment to spare it would get next to nothing, just when
//! there is most to see. So when events pile up, or it is kept waiting for long, it takes the place of an ordinary process for a while;
//! how much of the processors it may use then is the [`Governor`](crate::health::Governor)'s business, as always. Once is no reason: a
//! hypervisor that takes a processor away for a moment looks the same from within, and to compete would take more from what is watched.
//!
//! Only who wakes up comes first at once. Who was put off for a moment while it ran (by `ksoftirqd`, say) waits for the scheduler's next
//! choice, and that may fall on the one who gives way, for as long as until the next tick: 4 ms with 250 a second. So it offers the
//! processor by itself, after each little piece of work.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::thread::CapabilitySet;
use tokio::time::Instant;

use crate::privileges;

/// Kept waiting for so long in one turn, it is short of processors: what it ships is late by as much.
const PATIENCE: Duration = Duration::from_millis(250);
/// Short of processors twice within so long, it asserts itself. On a host that is full it is so in every turn.
const TWICE: Duration = Duration::from_secs(2);
/// How long it then competes before it gives way again, to see whether it still has to.
const ASSERTED: Duration = Duration::from_secs(60);

/// Makes this process one that gives way. To be called before there are threads. An error leaves everything as it was: who
/// could not return must not go.
pub fn give_way() -> Result<()> {
    ensure!(
        privileges::held()?.contains(CapabilitySet::SYS_NICE),
        "without CAP_SYS_NICE it could not be taken back"
    );
    set(Policy::Yielding)
}

/// The same for the calling thread alone, for good.
pub fn give_way_alone() -> Result<()> {
    set_thread(0, Policy::Yielding)
}

/// Time after which it offers the processor to others.
const PIECE: Duration = Duration::from_micros(100);

/// How this process stands to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Policy {
    /// Whoever wants the processor gets it.
    Yielding,
    /// As others do.
    Ordinary,
}

/// One turn of reading events and all else that is done between two looks at them.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    /// How long it took, without the time that it slept by intent.
    pub lasted: Duration,
    /// Processor time that it got of that.
    pub worked: Duration,
    /// Whether more events waited than it handles at a time, which is up to half of what the buffer holds.
    pub crowded: bool,
}

/// Decides when to give way.
#[derive(Debug)]
pub struct Manners {
    /// Until when it competes, since the start of the agent; nothing while it gives way.
    until: Option<Duration>,
    /// When it was last short of processors.
    short: Option<Duration>,
    /// Whether the process gave way at first: otherwise that is not its affair.
    managed: bool,
    /// When the processor was last offered to others.
    offered: Instant,
}

impl Manners {
    /// Manages what [`give_way`] has begun; does nothing in a process that never called it.
    pub fn of_this_process() -> Self {
        Self { until: None, short: None, managed: is_yielding(), offered: Instant::now() }
    }

    /// To be called between small pieces of work: offers the processor to others when it is time to. Not while it competes: then
    /// others would take all.
    pub fn pause(&mut self) {
        if self.managed && self.until.is_none() && self.offered.elapsed() >= PIECE {
            std::thread::yield_now();
            self.offered = Instant::now();
        }
    }

    /// After a turn that ended `now` (time since the start).
    pub fn after(&mut self, turn: &Turn, now: Duration) {
        let Some(policy) = self.decide(turn, now).filter(|_| self.managed) else { return };
        match set(policy) {
            Ok(()) if policy == Policy::Ordinary => {
                tracing::info!(?turn, "no processor to spare: competes for a while");
            }
            Ok(()) => {}
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "cannot change how it stands to others");
                self.managed = false;
            }
        }
    }

    fn decide(&mut self, turn: &Turn, now: Duration) -> Option<Policy> {
        let waited = turn.lasted.saturating_sub(turn.worked);
        // Where its own work took the time, to compete would not help.
        let crowded = turn.crowded && waited > turn.worked;
        match self.until {
            None if waited > PATIENCE || crowded => {
                let before = self.short.replace(now);
                before.filter(|before| now.saturating_sub(*before) <= TWICE)?;
                self.until = Some(now + ASSERTED);
                Some(Policy::Ordinary)
            }
            Some(until) if now >= until => {
                self.until = None;
                Some(Policy::Yielding)
            }
            _ => None,
        }
    }
}

#[expect(unsafe_code, reason = "there is no safe wrapper of this call among the crates here")]
fn is_yielding() -> bool {
    // SAFETY: it takes a number, 0 for the caller, and returns one.
    unsafe { libc::sched_getscheduler(0) == libc::SCHED_IDLE }
}

/// Each thread has a policy of its own; those to come take that of the one which starts them.
fn set(policy: Policy) -> Result<()> {
    let tasks = std::fs::read_dir("/proc/self/task").context("cannot list the threads of this process")?;
    for task in tasks.flatten() {
        let Some(thread) = task.file_name().to_str().and_then(|it| it.parse().ok()) else { continue };
        set_thread(thread, policy)?;
    }
    Ok(())
}

#[expect(unsafe_code, reason = "there is no safe wrapper of this call among the crates here")]
fn set_thread(thread: libc::pid_t, policy: Policy) -> Result<()> {
    let number = if policy == Policy::Yielding { libc::SCHED_IDLE } else { libc::SCHED_OTHER };
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: the parameters are plain data that outlives the call.
    let done = unsafe { libc::sched_setscheduler(thread, number, &raw const parameters) };
    let error = std::io::Error::last_os_error();
    // A thread that has ended in the meantime needs no policy.
    ensure!(
        done == 0 || error.raw_os_error() == Some(libc::ESRCH),
        "sched_setscheduler to {policy:?}: {error}"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_gives_way_until_it_is_kept_waiting() {
        let mut manners = Manners { until: None, short: None, managed: false, offered: Instant::now() };
        let mut turn = |waited, worked, crowded, now| {
            let worked = Duration::from_millis(worked);
            let turn = Turn { lasted: worked + Duration::from_millis(waited), worked, crowded };
            manners.decide(&turn, Duration::from_secs(now))
        };
        assert_eq!([turn(0, 1, false, 1), turn(249, 1, false, 1)], [None, None]);
        assert_eq!([turn(251, 900, false, 2), turn(251, 1, false, 5)], [None, None], "once, and long after");
        assert_eq!(turn(251, 1, false, 7), Some(Policy::Ordinary));
        assert_eq!([turn(500, 1, true, 8), turn(0, 1, false, 66)], [None, None]);
        assert_eq!(turn(0, 1, false, 67), Some(Policy::Yielding));
        assert_eq!([turn(100, 101, true, 68), turn(100, 101, true, 69)], [None, None], "its own work");
        assert_eq!([turn(102, 101, true, 70), turn(102, 101, true, 71)], [None, Some(Policy::Ordinary)]);
    }

    #[test]
    fn a_process_that_never_gave_way_is_left_alone() {
        let mut manners = Manners::of_this_process();
        manners.after(
            &Turn { lasted: Duration::from_secs(1), worked: Duration::ZERO, crowded: true },
            Duration::from_secs(1),
        );
        assert!(!is_yielding());
    }
}
