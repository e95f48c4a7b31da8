//! Where processor time goes: stacks that the kernel side counted, with names, by service.
//!
//! Samples are taken from the kernel often, because a process that ends takes the map of its memory with it; what they add up to is
//! shipped once a minute.

mod addresses;
mod apart;
mod elf;
mod kernel;
mod naming;
mod symbols;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use aya::maps::{HashMap, MapData, StackTraceMap};
use domain::UnixNanos;

use crate::export::otlp::Host;
use crate::identity::Service;
use crate::observe::Processes;

use naming::Naming;
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
    naming: Naming,
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

/// One kind of stack of one process: whose it is, its user and kernel stacks (root first), how often.
struct Taken {
    service: Arc<Service>,
    pid: u32,
    user: Vec<u64>,
    kernel: Vec<u64>,
    count: u64,
}

impl Profiles {
    /// Over the maps of the kernel side; `root` is where the host's `/` is. What is to be shipped is handed to `ship`.
    pub fn start(
        samples: HashMap<MapData, [u32; 4], u64>,
        stacks: StackTraceMap<MapData>,
        root: PathBuf,
        host: Host,
        ship: impl Fn(Vec<u8>) + Send + 'static,
    ) -> io::Result<Self> {
        Ok(Self { samples, stacks, naming: Naming::start(Symbols::new(root), host, ship)? })
    }

    /// Takes what the kernel side has counted since the last time.
    pub fn collect(&mut self, processes: &mut Processes) {
        let found: Vec<([u32; 4], u64)> = self.samples.iter().flatten().collect();
        let mut taken = Vec::with_capacity(found.len());
        let mut used = BTreeSet::new();
        for (key, count) in found {
            let [pid, user, kernel, _] = key;
            // What is counted between reading and removing is lost: at most a tick of each processor.
            let _ = self.samples.remove(&key);
            used.extend([user, kernel].into_iter().filter(|id| id.cast_signed() >= NO_STACK));
            // Threads of the kernel have no program; they are the host's.
            let Some(service) = processes.known(pid).map(|it| Arc::clone(&it.service)) else { continue };
            taken.push(Taken { service, pid, user: self.stack(user), kernel: self.stack(kernel), count });
        }
        for id in used {
            let _ = self.stacks.remove(&id);
        }
        self.naming.add(taken);
    }

    /// Ships what was collected by `now`.
    pub fn ship(&self, now: UnixNanos) {
        self.naming.ship(now);
    }

    /// Ships the rest, and waits for it.
    pub fn finish(self, now: UnixNanos) {
        self.naming.finish(now);
    }

    /// Samples that were left out, because names could not be found as fast as they came.
    pub fn left_out(&self) -> u64 {
        self.naming.left_out
    }

    fn stack(&self, id: u32) -> Vec<u64> {
        if id.cast_signed() < NO_STACK {
            return Vec::new();
        }
        let Ok(found) = self.stacks.get(&id, 0) else { return Vec::new() };
        let mut frames: Vec<u64> = found.frames().iter().map(|frame| frame.ip).collect();
        frames.reverse();
        frames
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
