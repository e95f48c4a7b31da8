//! Processes, the services that they belong to, and how they end.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use domain::UnixNanos;

use super::failed;
use crate::edges::KEPT;
use crate::identity::{Identities, Service};

/// How long an ended process is remembered: its last connections are heard of after it.
const AFTERLIFE: Duration = Duration::from_secs(10);
/// Processes that are known at a time.
const MOST: usize = 16 * 1024;
/// A process that has lived so long is looked at, whether or not it talks: once it is killed, nothing tells any more which container
/// it was in. Commands, which are many, are gone by then.
const SETTLED: Duration = Duration::from_secs(1);
/// Processes looked at in one tick for that reason.
const LOOKS: usize = 256;
/// Services whose lives are told apart.
const MOST_LIVES: usize = 4096;

/// One process.
#[derive(Clone, Debug)]
pub struct Process {
    /// Whose it is.
    pub service: Arc<Service>,
    /// Its program.
    pub program: PathBuf,
    /// Whether it sends OpenTelemetry data itself.
    pub instrumented: bool,
    ended: Option<UnixNanos>,
}

/// What happened to the processes of a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lives {
    /// Programs that it started, since the agent watches.
    pub started: u64,
    /// Ends with status 0.
    pub ended: u64,
    /// Ends by a signal or with another status.
    pub failed: u64,
    /// Killed for want of memory.
    pub out_of_memory: u64,
    /// The last status other than 0, as `wait` gives it.
    pub last_status: u64,
}

/// Processes by number.
#[derive(Debug)]
pub struct Processes {
    identities: Identities,
    table: HashMap<u32, Process>,
    lives: BTreeMap<Arc<Service>, Lives>,
    /// Whose lives had no room any more.
    others: Arc<Service>,
    /// The lives at the last sweep that found them changed, and when that was.
    swept: BTreeMap<Arc<Service>, (Lives, UnixNanos)>,
    /// What processes were started as: all that is left of one that is gone before it was looked at.
    executed: HashMap<u32, Executed>,
}

#[derive(Debug)]
struct Executed {
    path: PathBuf,
    at: UnixNanos,
    looked_at: bool,
    ended: Option<UnixNanos>,
}

impl Processes {
    /// Knows none yet.
    pub fn new(identities: Identities) -> Self {
        Self {
            identities,
            table: HashMap::new(),
            lives: BTreeMap::new(),
            others: Service::others(),
            swept: BTreeMap::new(),
            executed: HashMap::new(),
        }
    }

    /// The process `pid`, looked up at need; nothing when it is gone and was not known.
    pub fn known(&mut self, pid: u32) -> Option<&Process> {
        if pid == 0 {
            return None;
        }
        if !self.table.contains_key(&pid) {
            self.look(pid);
        }
        self.table.get(&pid)
    }

    /// Notes the processes that run already, below `root`: each is looked at in its turn.
    pub fn read(&mut self, root: &Path) {
        for entry in std::fs::read_dir(root.join("proc")).into_iter().flatten().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            // Threads of the kernel have no program.
            if let Ok(path) = std::fs::read_link(entry.path().join("exe")) {
                self.note(pid, path, UnixNanos(0));
            }
        }
    }

    fn note(&mut self, pid: u32, path: PathBuf, at: UnixNanos) {
        if self.executed.len() < 2 * MOST {
            self.executed.insert(pid, Executed { path, at, looked_at: false, ended: None });
        }
    }

    /// `pid` runs a new program. It is looked at when there is a reason to: most programs are short and of no interest.
    pub(super) fn started(&mut self, pid: u32, path: &[u8], at: UnixNanos) {
        self.note(pid, PathBuf::from(String::from_utf8_lossy(path).into_owned()), at);
        if self.table.remove(&pid).is_some() {
            self.look(pid);
        }
    }

    pub(super) fn ended(&mut self, pid: u32, status: u64, at: UnixNanos) {
        if let Some(executed) = self.executed.get_mut(&pid) {
            executed.ended = Some(at);
        }
        let Some(process) = self.table.get_mut(&pid) else { return };
        process.ended = Some(at);
        let service = Arc::clone(&process.service);
        let lives = self.lives_of(&service);
        if failed(status) {
            lives.failed += 1;
            lives.last_status = status;
        } else {
            lives.ended += 1;
        }
    }

    pub(super) fn out_of_memory(&mut self, pid: u32) {
        if let Some(process) = self.known(pid) {
            let service = Arc::clone(&process.service);
            self.lives_of(&service).out_of_memory += 1;
        }
    }

    /// The counts of a service; those of all others where there is no room for its own.
    fn lives_of(&mut self, service: &Arc<Service>) -> &mut Lives {
        let has_room = self.lives.len() < MOST_LIVES || self.lives.contains_key(service);
        self.lives.entry(Arc::clone(if has_room { service } else { &self.others })).or_default()
    }

    /// The services of which a process is left.
    pub(super) fn living(&self) -> HashSet<Arc<Service>> {
        self.table.values().filter(|it| it.ended.is_none()).map(|it| Arc::clone(&it.service)).collect()
    }

    /// Lets counts go that have not changed for [`KEPT`], but for those of services that are `living`.
    pub(super) fn sweep(&mut self, now: UnixNanos, living: &HashSet<Arc<Service>>) {
        let (swept, others) = (&mut self.swept, &self.others);
        self.lives.retain(|service, lives| {
            let (before, changed) = swept.entry(Arc::clone(service)).or_insert((*lives, now));
            if before != lives {
                (*before, *changed) = (*lives, now);
            }
            changed.plus(KEPT) > now || service == others || living.contains(service)
        });
        let lives = &self.lives;
        self.swept.retain(|service, _| lives.contains_key(service));
    }

    pub(super) fn instruments_itself(&mut self, pid: u32) {
        if let Some(process) = self.table.get_mut(&pid) {
            process.instrumented = true;
        }
    }

    /// What happened, by service.
    pub fn lives(&self) -> &BTreeMap<Arc<Service>, Lives> {
        &self.lives
    }

    /// The service of a process that is known already.
    pub fn service(&self, pid: u32) -> Option<&Arc<Service>> {
        self.table.get(&pid).map(|it| &it.service)
    }

    pub(super) fn tick(&mut self, now: UnixNanos) {
        let remembered = |ended: Option<UnixNanos>| ended.is_none_or(|at| at.plus(AFTERLIFE) > now);
        self.table.retain(|_, process| remembered(process.ended));
        self.executed.retain(|_, executed| remembered(executed.ended));
        let settled = |it: &Executed| !it.looked_at && it.ended.is_none() && it.at.plus(SETTLED) <= now;
        let due: Vec<u32> =
            self.executed.iter().filter(|(_, it)| settled(it)).map(|(pid, _)| *pid).take(LOOKS).collect();
        for pid in due {
            if let Some(executed) = self.executed.get_mut(&pid) {
                executed.looked_at = true;
            }
            self.known(pid);
        }
        if self.table.len() > MOST {
            // Ends that were missed.
            let proc = self.identities.root().join("proc");
            self.table.retain(|pid, _| proc.join(pid.to_string()).exists());
        }
    }

    fn look(&mut self, pid: u32) {
        let found = match self.identities.of(pid) {
            Some((facts, service)) => Some((facts.program, service, None)),
            None => self.executed.get(&pid).map(|gone| {
                let service = self.identities.of_program(&gone.path);
                (gone.path.clone(), service, gone.ended)
            }),
        };
        let Some((program, service, ended)) = found else { return };
        if self.table.len() < 2 * MOST {
            self.lives_of(&service).started += 1;
            self.table.insert(pid, Process { service, program, instrumented: false, ended });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KILLED: u64 = 9;

    #[test]
    fn ends_that_were_missed_are_looked_for_on_the_host() {
        let root = tempfile::tempdir().expect("a folder");
        let (first, last) = (1 << 30, (1 << 30) + MOST as u32);
        std::fs::create_dir_all(root.path().join(format!("proc/{last}"))).expect("folders");
        let mut processes = Processes::new(Identities::new(root.path().into(), Vec::new()));
        for pid in first..=last {
            processes.started(pid, b"/bin/program", UnixNanos(0));
            assert!(processes.known(pid).is_some());
        }
        processes.tick(UnixNanos(0));
        assert_eq!(processes.table.keys().collect::<Vec<_>>(), [&last]);
    }

    #[test]
    fn lives_beyond_the_bound_are_counted_together_and_old_ones_go() {
        let mut processes = Processes::new(Identities::new("/".into(), Vec::new()));
        let at = |seconds: i64| UnixNanos::from_seconds(1_000_000 + seconds);
        // Numbers that no process has: each is known by the program that it was started as.
        let first = 1 << 30;
        let many = MOST_LIVES as u32 + 100;
        for number in 0..many {
            let pid = first + number;
            processes.started(pid, format!("/bin/program-{number}").as_bytes(), at(0));
            processes.out_of_memory(pid);
            processes.ended(pid, KILLED, at(0));
        }
        let others = Service::others();
        assert_eq!(processes.lives().len(), MOST_LIVES + 1);
        let of_others = processes.lives()[&others];
        assert_eq!((of_others.started, of_others.failed, of_others.out_of_memory), (100, 100, 100));
        processes.tick(at(60));
        let (own, living) = (std::process::id(), processes.living());
        assert!(living.is_empty());
        let service = Arc::clone(&processes.known(own).expect("we are here").service);
        // One that was no other's before: there is no room for this process either.
        assert!(!processes.lives().contains_key(&service));
        processes.sweep(at(60), &living);
        assert_eq!(processes.lives().len(), MOST_LIVES + 1);
        processes.sweep(at(700), &living);
        assert_eq!((processes.lives().len(), processes.swept.len()), (1, 1), "the others' are left");
        processes.started(own, b"/bin/program", at(700));
        assert!(processes.lives().contains_key(&service));
        let living = processes.living();
        processes.sweep(at(700), &living);
        processes.sweep(at(7000), &living);
        assert!(processes.lives().contains_key(&service), "it lives");
        processes.sweep(at(7000), &HashSet::new());
        assert!(!processes.lives().contains_key(&service));
    }
}
