//! The thread that finds names for stacks and adds them up: that may take a tenth of a second, in which the thread that reads events
//! would let their buffer overflow.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use domain::UnixNanos;

use super::symbols::Symbols;
use super::{Minute, Taken, wire};
use crate::export::otlp::Host;
use crate::kernel::SAMPLES_PER_SECOND;
use crate::manners::forgo_turn;

/// Pieces of work that wait; what comes while there are more is left out.
const MOST_WAITING: usize = 4;

/// Hands work to the thread; never waits for it but at the end.
pub(super) struct Naming {
    work: SyncSender<Work>,
    thread: JoinHandle<()>,
    /// Samples that were left out.
    pub left_out: u64,
}

enum Work {
    Add(Vec<Taken>),
    /// A minute is over, at this time.
    Ship(UnixNanos),
}

impl Naming {
    /// The messages of each minute are handed to `ship`.
    pub fn start(
        mut symbols: Symbols,
        host: Host,
        ship: impl Fn(Vec<u8>) + Send + 'static,
    ) -> io::Result<Self> {
        let (work, todo) = sync_channel(MOST_WAITING);
        let thread = std::thread::Builder::new()
            .name("profiles".into())
            .spawn(move || run(&todo, &mut symbols, &host, ship))?;
        Ok(Self { work, thread, left_out: 0 })
    }

    /// Adds samples to the minute.
    pub fn add(&mut self, taken: Vec<Taken>) {
        let samples: u64 = taken.iter().map(|one| one.count).sum();
        if !self.hand_over(Work::Add(taken)) {
            self.left_out += samples;
        }
    }

    /// Ships what was added by `now`; where the thread is behind, with the next minute.
    pub fn ship(&self, now: UnixNanos) {
        self.hand_over(Work::Ship(now));
    }

    /// Ships the rest, and waits for it.
    pub fn finish(self, now: UnixNanos) {
        // Nothing receives where the thread has failed, which is told below.
        let _ = self.work.send(Work::Ship(now));
        drop(self.work);
        if self.thread.join().is_err() {
            tracing::warn!("the thread that names functions has failed");
        }
    }

    fn hand_over(&self, work: Work) -> bool {
        match self.work.try_send(work) {
            Ok(()) => return true,
            Err(TrySendError::Full(_)) => {
                tracing::warn!(
                    "names of functions take too long: something of the profile is left out, or late"
                );
            }
            Err(TrySendError::Disconnected(_)) => {
                tracing::warn!("the thread that names functions has ended: there are no profiles any more");
            }
        }
        false
    }
}

fn run(todo: &Receiver<Work>, symbols: &mut Symbols, host: &Host, ship: impl Fn(Vec<u8>)) {
    let mut minute = Minute::default();
    for work in todo {
        forgo_turn();
        match work {
            Work::Add(taken) => {
                symbols.learn(taken.iter().map(|one| (one.pid, one.user.as_slice(), one.kernel.as_slice())));
                for one in taken {
                    let frames = symbols.stack(one.pid, &one.user, &one.kernel);
                    if !frames.is_empty() {
                        minute.add(one.service, &frames, one.count);
                    }
                }
            }
            Work::Ship(now) => {
                let minute = std::mem::take(&mut minute);
                let messages = wire::encode(host, &minute, 1_000_000_000 / SAMPLES_PER_SECOND, now);
                messages.into_iter().for_each(&ship);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::identity::Service;

    #[test]
    fn what_comes_while_names_take_too_long_is_left_out_and_counted() {
        let root = tempfile::tempdir().expect("a folder");
        let (began, has_begun) = sync_channel(1);
        let (go_on, may_go_on) = sync_channel::<()>(1);
        let ship = move |_| {
            began.send(()).expect("somebody listens");
            may_go_on.recv().expect("somebody tells");
        };
        let host = Host { name: "host".into() };
        let mut naming = Naming::start(Symbols::new(root.path().into()), host, ship).expect("a thread");
        let service = Arc::new(Service { name: "shop".into(), attributes: Vec::new() });
        // Of the kernel, where every address has a name.
        let taken =
            || vec![Taken { service: Arc::clone(&service), pid: 1, user: vec![], kernel: vec![1], count: 3 }];
        naming.add(taken());
        naming.ship(UnixNanos::from_seconds(60));
        has_begun.recv().expect("it ships");
        for _ in 0..MOST_WAITING + 2 {
            naming.add(taken());
        }
        assert_eq!(naming.left_out, 6);
        go_on.send(()).expect("it listens");
        go_on.send(()).expect("it listens");
        naming.finish(UnixNanos::from_seconds(120));
        has_begun.try_recv().expect("the rest is shipped at the end");
    }
}
