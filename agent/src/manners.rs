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

pub mod group;

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
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

/// Forgoes the turn that the scheduler owes a thread which has slept or waited, to be called when it wakes up. However little weight a
/// thread has, what it did not use adds up to a turn of a millisecond now and then, in which those who wake up do not come first. Not while
/// it competes: then others would take all.
pub fn forgo_turn() {
    if is_yielding() {
        std::thread::yield_now();
    }
}

/// Nanoseconds that a thread has run, and that it was ready to and had to wait, and how often it was given a processor.
const SCHEDSTAT: &str = "/proc/thread-self/schedstat";
/// Time after which it offers the processor to others.
const PIECE: Duration = Duration::from_micros(100);

/// The shortest sleep; it takes some 50 µs, as the kernel collects timers.
const MOMENT: Duration = Duration::from_nanos(1);

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
struct Turn {
    /// Processor time that it got.
    worked: Duration,
    /// Time that it was ready to run, and had to wait for a processor. What a hypervisor takes away while it runs is not in it, nor is
    /// time that it slept.
    waited: Duration,
    /// Whether half of the buffer was full.
    crowded: bool,
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
    /// The thread that reads events, once it has ended a turn.
    thread: Option<Thread>,
    /// When the processor was last offered to others.
    offered: Instant,
}

impl Manners {
    /// Manages what [`give_way`] has begun; does nothing in a process that never called it.
    pub fn of_this_process() -> Self {
        Self { until: None, short: None, managed: is_yielding(), thread: None, offered: Instant::now() }
    }

    /// To be called between small pieces of work: offers the processor to others when it is time to. Not while it competes: then
    /// others would take all.
    #[expect(clippy::disallowed_methods, reason = "the thread that reads events has nothing else to do")]
    pub fn pause(&mut self) {
        let offer = Instant::now();
        if !self.managed || self.until.is_some() || offer.saturating_duration_since(self.offered) < PIECE {
            return;
        }
        std::thread::yield_now();
        self.offered = Instant::now();
        // Others want this processor. Who wakes up is put on one that is idle, if there is one; who waits stays where it is.
        if self.offered.saturating_duration_since(offer) >= PIECE {
            std::thread::sleep(MOMENT);
            self.offered = Instant::now();
        }
    }

    /// After a turn of the calling thread that ended `now` (time since the start); `crowded` says whether half of the buffer was full.
    pub fn after(&mut self, crowded: bool, now: Duration) {
        if !self.managed {
            return;
        }
        if let Err(error) = self.manage(crowded, now) {
            tracing::warn!(error = format!("{error:#}"), "cannot change how it stands to others");
            self.managed = false;
        }
    }

    fn manage(&mut self, crowded: bool, now: Duration) -> Result<()> {
        let Some(thread) = &mut self.thread else {
            self.thread = Some(Thread::calling()?);
            return Ok(());
        };
        let turn = thread.turn(crowded)?;
        let Some(policy) = self.decide(&turn, now) else { return Ok(()) };
        set(policy)?;
        if policy == Policy::Ordinary {
            tracing::info!(?turn, "no processor to spare: competes for a while");
        }
        Ok(())
    }

    fn decide(&mut self, turn: &Turn, now: Duration) -> Option<Policy> {
        // Where its own work took the time, to compete would not help.
        let crowded = turn.crowded && turn.waited > turn.worked;
        match self.until {
            None if turn.waited > PATIENCE || crowded => {
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

/// What the kernel tells of the time of a thread.
#[derive(Debug)]
struct Thread {
    file: File,
    worked: Duration,
    waited: Duration,
}

impl Thread {
    /// The calling thread, from now on. An error where the kernel does not tell (`CONFIG_SCHED_INFO`).
    fn calling() -> Result<Self> {
        let file = File::open(SCHEDSTAT).context(SCHEDSTAT)?;
        let mut thread = Self { file, worked: Duration::ZERO, waited: Duration::ZERO };
        thread.turn(false)?;
        Ok(thread)
    }

    /// What it did since this was last asked.
    fn turn(&mut self, crowded: bool) -> Result<Turn> {
        let mut bytes = [0; 64];
        let length = self.file.read_at(&mut bytes, 0).context(SCHEDSTAT)?;
        let text = str::from_utf8(&bytes[..length]).context(SCHEDSTAT)?;
        let mut fields = text.split_whitespace().map(str::parse);
        let (Some(Ok(worked)), Some(Ok(waited))) = (fields.next(), fields.next()) else {
            bail!("{SCHEDSTAT} says {text:?}");
        };
        let before = (self.worked, self.waited);
        (self.worked, self.waited) = (Duration::from_nanos(worked), Duration::from_nanos(waited));
        Ok(Turn {
            worked: self.worked.saturating_sub(before.0),
            waited: self.waited.saturating_sub(before.1),
            crowded,
        })
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
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    use super::*;

    #[test]
    fn it_gives_way_until_it_is_kept_waiting() {
        let mut manners = Manners::of_this_process();
        let mut turn = |waited, worked, crowded, now| {
            let [waited, worked] = [waited, worked].map(Duration::from_millis);
            let turn = Turn { worked, waited, crowded };
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
        for second in 0..3 {
            manners.after(true, Duration::from_secs(second));
        }
        assert!(!is_yielding());
        assert!(manners.thread.is_none(), "it was not even looked at");
    }

    /// The kernel's own account, of a thread that first sleeps and then shares a processor with others.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "it is about time that passes")]
    fn to_sleep_is_not_to_wait() {
        let (asleep, shared) = on_one_processor(|| {
            let mut thread = Thread::calling().expect("a kernel that tells");
            std::thread::sleep(Duration::from_millis(300));
            let asleep = thread.turn(false).expect("a kernel that tells");
            beside_others(|| ());
            (asleep, thread.turn(true).expect("a kernel that tells"))
        });
        assert!(asleep.waited < Duration::from_millis(150), "{asleep:?}");
        assert!(shared.crowded && shared.waited > shared.worked, "{shared:?}");
    }

    #[test]
    fn who_waits_sleeps_for_a_moment_but_not_while_it_competes() {
        let slept = |until| {
            on_one_processor(move || {
                let mut manners = Manners { until, managed: true, ..Manners::of_this_process() };
                let mut slept = 0;
                beside_others(|| {
                    let before = sleeps();
                    manners.pause();
                    slept += sleeps() - before;
                });
                slept
            })
        };
        assert!(slept(None) > 0);
        assert_eq!(slept(Some(Duration::MAX)), 0);
    }

    #[test]
    fn turns_are_forgone_by_who_gives_way() {
        // Of all its turns, those in which it then had to wait for the others.
        let forgone = |gives_way: bool| {
            on_one_processor(move || {
                if gives_way {
                    give_way_alone().expect("everybody may");
                }
                let mut thread = Thread::calling().expect("a kernel that tells");
                let (mut forgone, mut turns) = (0, 0);
                beside_others(|| {
                    thread.turn(false).expect("a kernel that tells");
                    forgo_turn();
                    turns += 1;
                    forgone += u32::from(!thread.turn(false).expect("a kernel that tells").waited.is_zero());
                });
                (forgone, turns)
            })
        };
        let (ordinary, yielding) = (forgone(false), forgone(true));
        // The scheduler may let a turn pass, but not turn after turn.
        assert!((ordinary.0 + 1) * 20 < ordinary.1, "{ordinary:?}");
        assert!((yielding.0 + 1) * 20 > yielding.1, "{yielding:?}");
    }

    /// How often the calling thread gave up its processor to wait for something.
    fn sleeps() -> u64 {
        let status = std::fs::read_to_string("/proc/thread-self/status").expect("a kernel that tells");
        let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        count.expect("a count").trim().parse().expect("a number")
    }

    fn on_one_processor<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
        let thread = std::thread::spawn(|| {
            let mut processors = sched_getaffinity(None).expect("processors");
            let first = (0..CpuSet::MAX_CPU).find(|it| processors.is_set(*it)).expect("a processor");
            processors.clear();
            processors.set(first);
            sched_setaffinity(None, &processors).expect("one of its own");
            act()
        });
        thread.join().expect("no panic")
    }

    /// Acts again and again for a while, beside others on the same processor, which take after the thread that starts them.
    fn beside_others(mut act: impl FnMut()) {
        let until = Instant::now() + Duration::from_millis(300);
        let rivals = [(); 3].map(|()| std::thread::spawn(move || while Instant::now() < until {}));
        while Instant::now() < until {
            act();
        }
        for rival in rivals {
            rival.join().expect("no panic");
        }
    }
}
