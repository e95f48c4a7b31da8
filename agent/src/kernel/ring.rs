//! The ring buffer, and the counts of what never got into it.

use std::time::Duration;

use agent_events::lost;
use anyhow::{Result, bail};
use aya::maps::{Map, MapData, PerCpuArray, RingBuf};

/// How long events wait before they are looked at: the buffer holds many times what comes in between.
const LINGER: Duration = Duration::from_millis(20);
/// The same while there are many: little at a time, or a service that waits for the processor would notice.
const BUSY_LINGER: Duration = Duration::from_millis(2);
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
    /// Bytes that were read since the buffer was last found empty.
    backlog: usize,
}

impl Reader {
    pub(super) fn new(map: Map) -> Result<Self> {
        let Map::RingBuf(data) = &map else { bail!("the map of events is no ring buffer") };
        let half = data.info()?.max_entries() as usize / 2;
        Ok(Self { ring: RingBuf::try_from(map)?, linger: LINGER, half, backlog: 0 })
    }

    /// Waits until it is time to look again. Nothing wakes the agent: a wake-up for each event would cost more than the event.
    #[expect(clippy::disallowed_methods, reason = "the thread that reads events has nothing else to do")]
    pub fn wait(&self) {
        std::thread::sleep(self.linger);
    }

    /// Hands what is there to `take`, at most a batch of it; whether half of the buffer was full.
    pub fn drain(&mut self, mut take: impl FnMut(&[u8])) -> bool {
        for taken in 0..BATCH {
            match self.ring.next() {
                Some(item) => {
                    self.backlog += item.len() + HEADER_BYTES;
                    take(&item);
                }
                None => {
                    self.linger = if taken >= MANY { BUSY_LINGER } else { LINGER };
                    return std::mem::take(&mut self.backlog) >= self.half;
                }
            }
        }
        self.linger = Duration::ZERO;
        self.backlog >= self.half
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
