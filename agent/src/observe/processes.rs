//! Processes, the services that they belong to, and how they end.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use domain::UnixNanos;

use super::{SIGNAL_BITS, failed};
use crate::edges::{KEPT, OTHER};
use crate::identity::{Identities, Service, is_link};

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
/// Codes and signals that are told apart for each service: whatever ends in more ways puts something of its own into its code.
const MOST_WAYS: usize = 16;
/// So many failures of a program that runs in no container and as no unit, and it is no command that fails now and then.
const REPEATED: u64 = 3;
/// Bytes of `/proc/<pid>/status`, which is some 1.5 KB.
const STATUS_BYTES: u64 = 16 * 1024;

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

/// Signals from 1 on, as Linux numbers them on x86 and ARM; those of real time, which follow, have no names.
const SIGNALS: &str = "SIGHUP SIGINT SIGQUIT SIGILL SIGTRAP SIGABRT SIGBUS SIGFPE SIGKILL SIGUSR1 SIGSEGV SIGUSR2 SIGPIPE SIGALRM \
    SIGTERM SIGSTKFLT SIGCHLD SIGCONT SIGSTOP SIGTSTP SIGTTIN SIGTTOU SIGURG SIGXCPU SIGXFSZ SIGVTALRM SIGPROF SIGWINCH SIGIO SIGPWR \
    SIGSYS";

/// How a process ended that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// With this code, which is not 0.
    Code(u8),
    /// By this signal.
    Signal(u8),
    /// In one more way than are told apart.
    Other,
}

impl Failure {
    /// What a status tells that is one of failure, as `wait` gives it.
    fn of(status: u64) -> Self {
        match (status & SIGNAL_BITS) as u8 {
            0 => Self::Code((status >> 8 & 0xff) as u8),
            signal => Self::Signal(signal),
        }
    }

    /// As a label: its name and its value.
    pub fn label(self) -> (&'static str, String) {
        match self {
            Self::Code(code) => ("code", code.to_string()),
            Self::Signal(signal) => {
                let at = usize::from(signal).checked_sub(1);
                let name = at.and_then(|at| SIGNALS.split_whitespace().nth(at));
                ("signal", name.map_or_else(|| signal.to_string(), str::to_owned))
            }
            Self::Other => ("code", OTHER.to_owned()),
        }
    }
}

/// Ends that failed in one way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failed {
    /// How many.
    pub count: u64,
    /// Whether it was told of this way that there is one.
    pub told: bool,
}

/// What happened to the processes of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lives {
    /// Programs that it started, since the agent watches.
    pub started: u64,
    /// Ends with status 0.
    pub ended: u64,
    /// Ends by a signal or with another status, by what that was.
    pub failures: BTreeMap<Failure, Failed>,
    /// Killed for want of memory.
    pub out_of_memory: u64,
}

impl Lives {
    /// Whether `service` is worth telling of though it talks to nobody. Whoever only starts and ends, as every command does, is not: it
    /// would be one series for each program of the host.
    pub fn are_of_note(&self, service: &Service) -> bool {
        let failed = self.failed();
        let placed =
            service.attributes.iter().any(|(key, _)| matches!(*key, "container.id" | "systemd.unit"));
        self.out_of_memory > 0 || failed >= REPEATED || (placed && failed > 0)
    }

    /// Ends by a signal or with a code.
    pub fn failed(&self) -> u64 {
        self.failures.values().map(|failed| failed.count).sum()
    }

    fn fail(&mut self, failure: Failure) {
        let has_room = self.failures.len() < MOST_WAYS || self.failures.contains_key(&failure);
        self.failures.entry(if has_room { failure } else { Failure::Other }).or_default().count += 1;
    }
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
    /// New programs that were asked since the last tick whether they are the first of something.
    asked: usize,
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
            asked: 0,
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

    /// `pid` runs a new program. It is looked at when there is a reason to: most programs are short and of no interest. The first of a
    /// container or a unit is: where it fails as soon as it starts, again and again, there is nothing else to be seen.
    pub(super) fn started(&mut self, pid: u32, path: &[u8], at: UnixNanos) {
        let path = self.named(pid, PathBuf::from(String::from_utf8_lossy(path).into_owned()));
        self.note(pid, path, at);
        if self.table.remove(&pid).is_some() || self.is_first(pid) {
            self.look(pid);
        }
    }

    /// The path by which the program of `pid` is known, where the one that it was started with leads to it and does not name it: as the
    /// kernel has it, or as what it was before, which has started itself again.
    fn named(&self, pid: u32, path: PathBuf) -> PathBuf {
        if !is_link(&path) {
            return path;
        }
        let program = std::fs::read_link(self.identities.root().join(format!("proc/{pid}/exe")));
        program.ok().or_else(|| Some(self.executed.get(&pid)?.path.clone())).unwrap_or(path)
    }

    /// Whether `pid` is the first process of a container or a unit, as far as there is time to ask.
    fn is_first(&mut self, pid: u32) -> bool {
        if self.asked >= LOOKS {
            return false;
        }
        self.asked += 1;
        let status = self.identities.root().join(format!("proc/{pid}/status"));
        let mut text = String::new();
        let read = File::open(status).and_then(|it| it.take(STATUS_BYTES).read_to_string(&mut text));
        read.is_ok() && leads(&text)
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
            lives.fail(Failure::of(status));
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
            let (before, changed) = swept.entry(Arc::clone(service)).or_insert_with(|| (lives.clone(), now));
            if before != lives {
                (*before, *changed) = (lives.clone(), now);
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

    /// What happened, by service. Whoever tells of it notes that there.
    pub fn lives(&mut self) -> &mut BTreeMap<Arc<Service>, Lives> {
        &mut self.lives
    }

    /// The service of a process that is known already.
    pub fn service(&self, pid: u32) -> Option<&Arc<Service>> {
        self.table.get(&pid).map(|it| &it.service)
    }

    pub(super) fn tick(&mut self, now: UnixNanos) {
        self.asked = 0;
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

/// Whether a process is a container's own first (its number there is 1), or a child of the host's first, which starts units. `status` is
/// what `/proc` says of it.
fn leads(status: &str) -> bool {
    let of = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    let mut numbers = of("NSpid:").split_whitespace();
    // The first is that on the host.
    numbers.next().is_some() && numbers.last() == Some("1") || of("PPid:").trim() == "1"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::tests::pretend;

    const KILLED: u64 = 9;

    #[test]
    fn a_program_that_starts_itself_again_keeps_its_name() {
        let root = tempfile::tempdir().expect("a folder");
        let mut processes = Processes::new(Identities::new(root.path().into(), Vec::new()));
        let mut check = |pid: u32, path: &str, name: &str| {
            processes.started(pid, path.as_bytes(), UnixNanos(0));
            // It is gone before it is looked at.
            std::fs::remove_dir_all(root.path().join(format!("proc/{pid}"))).ok();
            assert_eq!(processes.known(pid).expect("known").service.name, name, "{path}");
        };
        pretend(root.path(), 100, "/usr/bin/shop", &[]);
        check(100, "/proc/self/exe", "shop");
        check(101, "/usr/bin/shop", "shop");
        check(101, "/proc/self/exe", "shop");
        pretend(root.path(), 102, "/usr/sbin/runc", &[]);
        check(102, "/proc/self/fd/6", "runc");
    }

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
        let of_others = &processes.lives()[&others];
        assert_eq!((of_others.started, of_others.failed(), of_others.out_of_memory), (100, 100, 100));
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

    #[test]
    fn ends_are_told_apart_by_code_and_signal() {
        for (status, failure) in [
            (3 << 8, ("code", "3")),
            (137 << 8, ("code", "137")),
            (KILLED, ("signal", "SIGKILL")),
            // With a core dump.
            (0x80 | 11, ("signal", "SIGSEGV")),
            (31, ("signal", "SIGSYS")),
            (34, ("signal", "34")),
        ] {
            let (name, value) = Failure::of(status).label();
            assert_eq!((name, value.as_str()), failure, "{status:#x}");
        }
        let mut lives = Lives::default();
        for code in 1..=255 {
            lives.fail(Failure::Code(code));
            lives.fail(Failure::Code(1));
        }
        assert_eq!((lives.failures.len(), lives.failed()), (MOST_WAYS + 1, 510));
        assert_eq!(
            (lives.failures[&Failure::Code(1)].count, lives.failures[&Failure::Other].count),
            (256, 239)
        );
    }

    #[test]
    fn a_crash_loop_is_told_though_it_never_lives_long_enough_to_talk() {
        let root = tempfile::tempdir().expect("a folder");
        let mut processes = Processes::new(Identities::new(root.path().into(), Vec::new()));
        let id = "3f4b7c1d9e8a".repeat(6)[..64].to_owned();
        let mut run = |pid: u32, status: &str, group: &str, end: u64| {
            let group = format!("0::{group}\n");
            let files = [("status", status), ("cgroup", &group)];
            let folder = pretend(root.path(), pid, "/bin/program", &files);
            processes.started(pid, b"/bin/program", UnixNanos(0));
            std::fs::remove_dir_all(&folder).expect("gone");
            processes.ended(pid, end, UnixNanos(0));
        };
        run(100, "PPid:\t50\nNSpid:\t100\t1\n", &format!("/docker/{id}"), 1 << 8);
        run(101, "PPid:\t1\nNSpid:\t101\n", "/system.slice/worker.service", KILLED);
        // A command within the container, which its health check runs.
        run(102, "PPid:\t99\nNSpid:\t102\t7\n", &format!("/docker/{id}"), 1 << 8);
        let told: Vec<_> = processes
            .lives()
            .iter()
            .filter(|(service, lives)| lives.are_of_note(service))
            .map(|(service, lives)| (service.name.as_str(), lives.failures.clone()))
            .collect();
        let once = |failure| BTreeMap::from([(failure, Failed { count: 1, told: false })]);
        assert_eq!(told, [("program", once(Failure::Code(1))), ("worker", once(Failure::Signal(9)))]);
        assert!(!leads("PPid:\t0\nNSpid:\t1\n"), "the host's own first process");
    }

    #[test]
    fn a_command_that_fails_now_and_then_is_not_told() {
        let mut lives = Lives::default();
        let service = Service { name: "make".to_owned(), attributes: Vec::new() };
        for of_note in [false, false, true] {
            lives.fail(Failure::Code(2));
            assert_eq!(lives.are_of_note(&service), of_note);
        }
    }
}
