//! Where processor time goes: stacks that the kernel side counted, with names, by service.
//!
//! Samples are taken from the kernel often, because a process that ends takes the map of its memory with it; what they add up to is
//! shipped once a minute.

mod addresses;
mod apart;
mod elf;
mod kernel;
mod symbols;
mod wire;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use aya::maps::{HashMap, MapData, StackTraceMap};
use domain::UnixNanos;

use crate::export::otlp::Host;
use crate::identity::Service;
use crate::kernel::SAMPLES_PER_SECOND;
use crate::observe::Processes;

use symbols::Symbols;

/// Different stacks of a minute that are kept; further ones are counted as one.
const MOST_STACKS: usize = 20_000;
const OTHERS: &str = "[others]";
/// Frames of a stack, as the kernel bounds them.
const NO_STACK: i32 = 0;

/// Collects profiles.
pub struct Profiles {
    samples: HashMap<MapData, [u32; 4], u64>,
    stacks: StackTraceMap<MapData>,
    symbols: Symbols,
    minute: Minute,
}

/// What a minute adds up to: how often each stack of a service was seen. A stack is its functions by number, root first, for there are
/// thousands of them with dozens of functions each.
#[derive(Debug, Default)]
struct Minute {
    stacks: BTreeMap<Arc<Service>, BTreeMap<Box<[u32]>, u64>>,
    kept: usize,
    names: Vec<Arc<str>>,
    numbers: std::collections::HashMap<Arc<str>, u32>,
}

impl Minute {
    /// Counts a stack; beyond the bound, as one of the others.
    fn add(&mut self, service: Arc<Service>, frames: &[Arc<str>], count: u64) {
        let mut stack: Box<[u32]> = frames.iter().map(|name| self.number(name)).collect();
        let known = self.stacks.get(&service).is_some_and(|stacks| stacks.contains_key(&stack));
        if !known && self.kept >= MOST_STACKS {
            stack = [self.number(&Arc::from(OTHERS))].into();
        }
        let stacks = self.stacks.entry(service).or_default();
        let before = stacks.len();
        *stacks.entry(stack).or_default() += count;
        self.kept += stacks.len() - before;
    }

    fn number(&mut self, name: &Arc<str>) -> u32 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = self.names.len() as u32;
        self.names.push(Arc::clone(name));
        self.numbers.insert(Arc::clone(name), number);
        number
    }
}

/// One kind of stack of one process: its number, its user and kernel stacks (root first), how often.
struct Taken {
    pid: u32,
    user: Vec<u64>,
    kernel: Vec<u64>,
    count: u64,
}

impl Profiles {
    /// Over the maps of the kernel side; `root` is where the host's `/` is.
    pub fn new(
        samples: HashMap<MapData, [u32; 4], u64>,
        stacks: StackTraceMap<MapData>,
        root: PathBuf,
    ) -> Self {
        Self { samples, stacks, symbols: Symbols::new(root), minute: Minute::default() }
    }

    /// Takes what the kernel side has counted since the last time, and names it.
    pub fn collect(&mut self, processes: &mut Processes) {
        let taken = self.take();
        let mut services = Vec::new();
        for one in &taken {
            // Threads of the kernel have no program; they are the host's.
            services.push(processes.known(one.pid).map(|it| Arc::clone(&it.service)));
        }
        self.symbols.learn(taken.iter().map(|one| (one.pid, one.user.as_slice(), one.kernel.as_slice())));
        for (one, service) in taken.iter().zip(services) {
            let Some(service) = service else { continue };
            let frames = self.symbols.stack(one.pid, &one.user, &one.kernel);
            if frames.is_empty() {
                continue;
            }
            self.minute.add(service, &frames, one.count);
        }
    }

    /// The messages of a minute, and a new start; none when nothing ran.
    pub fn messages(&mut self, host: &Host, now: UnixNanos) -> Vec<Vec<u8>> {
        let minute = std::mem::take(&mut self.minute);
        wire::encode(host, &minute, 1_000_000_000 / SAMPLES_PER_SECOND, now)
    }

    fn take(&mut self) -> Vec<Taken> {
        let found: Vec<([u32; 4], u64)> = self.samples.iter().flatten().collect();
        let mut taken = Vec::with_capacity(found.len());
        let mut used = std::collections::BTreeSet::new();
        for (key, count) in found {
            let [pid, user, kernel, _] = key;
            // What is counted between reading and removing is lost: at most a tick of each processor.
            let _ = self.samples.remove(&key);
            let mut stack = |id: u32| {
                if id.cast_signed() < NO_STACK {
                    return Vec::new();
                }
                used.insert(id);
                let mut frames: Vec<u64> = self
                    .stacks
                    .get(&id, 0)
                    .map(|it| it.frames().iter().map(|frame| frame.ip).collect())
                    .unwrap_or_default();
                frames.reverse();
                frames
            };
            taken.push(Taken { pid, user: stack(user), kernel: stack(kernel), count });
        }
        for id in used {
            let _ = self.stacks.remove(&id);
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stacks_are_counted_and_bounded() {
        let service = Arc::new(Service { name: "shop".into(), attributes: Vec::new() });
        let mut minute = Minute::default();
        let stack = |leaf: usize| [Arc::from("main"), Arc::from(format!("leaf{leaf}"))];
        for leaf in 0..MOST_STACKS + 5 {
            minute.add(Arc::clone(&service), &stack(leaf), 2);
        }
        minute.add(Arc::clone(&service), &stack(0), 3);
        let stacks = &minute.stacks[&service];
        let named = |names: &[&str]| -> u64 {
            let number = |name: &&str| minute.numbers[*name];
            stacks[&names.iter().map(number).collect::<Box<[u32]>>()]
        };
        assert_eq!((named(&["main", "leaf0"]), named(&["main", "leaf1"]), named(&[OTHERS])), (5, 2, 10));
        assert_eq!(stacks.len(), MOST_STACKS + 1);
    }
}
