//! The ring buffer, and the counts of what never got into it.

use std::time::Duration;

use agent_events::lost;
use anyhow::{Result, bail};
use aya::maps::{Map, MapData, PerCpuArray, RingBuf};

use super::event::time_ns;
use crate::clock;

/// How long events wait before they are looked at: the buffer holds many times what comes in between.
const LINGER: Duration = Duration::from_millis(20);
/// The same while there are many. Each look costs a wake-up, and caches that hold other things by then: to look every 2 ms took a tenth
/// more. It may be much that comes at once: who handles it gives way all the same (`manners.rs`).
const BUSY_LINGER: Duration = Duration::from_millis(10);
/// Events at a time that are many.
const MANY: usize = 64;
/// Events handled before other work has its turn.
const BATCH: usize = 2048;

/// Bytes that the kernel puts before each event.
const HEADER_BYTES: usize = 8;

/// Reads events.
pub struct Reader {
    ring: RingBuf<MapData>,
    linger: Duration,
    /// Half of what the buffer holds, in bytes.
    half: usize,
    backlog: Backlog,
}

/// How much was in the buffer at once: what is read later, of the time before it was looked at. (Not what is read until it is found empty:
/// who reads as fast as events come may never find it so.)
#[derive(Debug, Default)]
struct Backlog {
    looked_ns: u64,
    bytes: usize,
}

impl Backlog {
    /// An event was read; `now` is asked once all that there was when it was last looked at has been read. How much that is by now.
    fn add(&mut self, time_ns: u64, bytes: usize, now: impl FnOnce() -> u64) -> usize {
        if time_ns > self.looked_ns {
            *self = Self { looked_ns: now(), bytes: 0 };
        }
        self.bytes += bytes;
        self.bytes
    }
}

impl Reader {
    pub(super) fn new(map: Map) -> Result<Self> {
        let Map::RingBuf(data) = &map else { bail!("the map of events is no ring buffer") };
        let half = data.info()?.max_entries() as usize / 2;
        Ok(Self { ring: RingBuf::try_from(map)?, linger: LINGER, half, backlog: Backlog::default() })
    }

    /// Waits until it is time to look again. Nothing wakes the agent: a wake-up for each event would cost more than the event.
    #[expect(clippy::disallowed_methods, reason = "the thread that reads events has nothing else to do")]
    pub fn wait(&self) {
        std::thread::sleep(self.linger);
    }

    /// Hands what is there to `take`, at most a batch of it; whether half of the buffer was full.
    pub fn drain(&mut self, mut take: impl FnMut(&[u8])) -> bool {
        let mut most = 0;
        for taken in 0..BATCH {
            let Some(item) = self.ring.next() else {
                self.linger = if taken >= MANY { BUSY_LINGER } else { LINGER };
                self.backlog = Backlog::default();
                return most >= self.half;
            };
            let bytes = item.len() + HEADER_BYTES;
            most = most.max(self.backlog.add(time_ns(&item), bytes, clock::monotonic_ns));
            take(&item);
        }
        self.linger = Duration::ZERO;
        most >= self.half
    }
}

/// What the kernel side could not hand over, since it was loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// The ring buffer was full.
    pub ring_full: u64,
    /// User memory that was not resident.
    pub unreadable: u64,
    /// Shed by sampling, on purpose.
    pub shed: u64,
    /// Samples of the profile for which there was no room.
    pub samples: u64,
    /// Stacks of the profile that could not be kept: samples are counted without them.
    pub stacks: u64,
}

/// Reads [`Lost`].
pub struct Counters(PerCpuArray<MapData, u64>);

impl Counters {
    pub(super) fn new(map: Map) -> Result<Self> {
        Ok(Self(PerCpuArray::try_from(map)?))
    }

    /// The counts by now; zero where they cannot be read.
    pub fn read(&self) -> Lost {
        let sum = |slot| self.0.get(&slot, 0).map_or(0, |values| values.iter().sum());
        Lost {
            ring_full: sum(lost::RING_FULL),
            unreadable: sum(lost::UNREADABLE),
            shed: sum(lost::SHED),
            samples: sum(lost::SAMPLES),
            stacks: sum(lost::STACKS),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_reads_as_fast_as_events_come_has_no_backlog() {
        // Each event is read 10 ns after it came; one comes each nanosecond.
        let mut backlog = Backlog::default();
        let most = (1..1_000).map(|time| backlog.add(time, 100, || time + 10)).max();
        assert_eq!(most, Some(11 * 100));
    }

    #[test]
    fn what_waited_together_is_a_backlog() {
        let mut backlog = Backlog::default();
        let most = (1..=500).map(|time| backlog.add(time, 100, || 500)).max();
        assert_eq!(most, Some(500 * 100));
        assert_eq!(backlog.add(501, 100, || 501), 100);
    }
}
