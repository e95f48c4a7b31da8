//! The programs: loaded, attached, and gone with this process. Nothing is pinned, so nothing stays behind.

use std::collections::BTreeMap;
use std::path::Path;

use agent_events::control;
use anyhow::{Context as _, Result, ensure};
use aya::maps::{Array, HashMap, MapData, StackTraceMap};
use aya::programs::perf_event::{PerfEventConfig, PerfEventScope, SamplePolicy, SoftwareEvent};
use aya::programs::uprobe::{UProbeLink, UProbeScope};
use aya::programs::{PerfEvent, RawTracePoint, TracePoint, UProbe};
use aya::{Ebpf, EbpfLoader};

use super::Layout;
use super::ring::{Counters, Reader};

/// Built from `agent-bpf` by `cargo xtask bpf`.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../../agent-bpf/agent-bpf.o");

/// Samples of the processor a second, for each processor: not a divisor of what timers run at, so that the profile does not beat with
/// them.
pub const SAMPLES_PER_SECOND: u64 = 99;

/// What the agent can see of a host; each may be missing alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Feature {
    /// Programs that start and end.
    Processes,
    /// Kills for want of memory.
    OutOfMemory,
    /// Connections that come and go.
    Connections,
    /// Segments sent again.
    Retransmits,
    /// Resets received.
    Resets,
    /// The heads of what is read from and written to sockets.
    Payloads,
    /// The same inside OpenSSL.
    Tls,
    /// The same inside TLS of Go.
    TlsOfGo,
    /// The same inside rustls.
    TlsOfRust,
    /// Where processor time goes.
    Profiles,
}

impl Feature {
    /// What is seen inside TLS, by library.
    pub const TLS: [Self; 3] = [Self::Tls, Self::TlsOfGo, Self::TlsOfRust];

    /// What it shows, for people.
    pub const fn says(self) -> &'static str {
        match self {
            Self::Processes => "programs that start and end",
            Self::OutOfMemory => "kills for want of memory",
            Self::Connections => "TCP connections",
            Self::Retransmits => "retransmitted segments",
            Self::Resets => "resets",
            Self::Payloads => "requests, from what is read and written",
            Self::Tls => "requests inside TLS of OpenSSL",
            Self::TlsOfGo => "requests inside TLS of Go",
            Self::TlsOfRust => "requests inside TLS of rustls",
            Self::Profiles => "processor profiles",
        }
    }
}

/// Whether a feature works here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It does.
    Active,
    /// It does not, and why.
    Unavailable(String),
}

/// Trace points: program, category, name, and what fails without it.
const TRACE_POINTS: [(&str, &str, &str, Feature); 26] = {
    use Feature::{Connections, OutOfMemory, Payloads, Processes, Resets, Retransmits};
    [
        ("process_exec", "sched", "sched_process_exec", Processes),
        ("process_exit", "sched", "sched_process_exit", Processes),
        ("oom_kill", "oom", "mark_victim", OutOfMemory),
        ("socket_state", "sock", "inet_sock_set_state", Connections),
        ("retransmit", "tcp", "tcp_retransmit_skb", Retransmits),
        ("receive_reset", "tcp", "tcp_receive_reset", Resets),
        ("enter_read", "syscalls", "sys_enter_read", Payloads),
        ("enter_write", "syscalls", "sys_enter_write", Payloads),
        ("enter_readv", "syscalls", "sys_enter_readv", Payloads),
        ("enter_writev", "syscalls", "sys_enter_writev", Payloads),
        ("enter_recvfrom", "syscalls", "sys_enter_recvfrom", Payloads),
        ("enter_sendto", "syscalls", "sys_enter_sendto", Payloads),
        ("enter_recvmsg", "syscalls", "sys_enter_recvmsg", Payloads),
        ("enter_sendmsg", "syscalls", "sys_enter_sendmsg", Payloads),
        ("enter_recvmmsg", "syscalls", "sys_enter_recvmmsg", Payloads),
        ("enter_sendmmsg", "syscalls", "sys_enter_sendmmsg", Payloads),
        ("leave_bytes", "syscalls", "sys_exit_read", Payloads),
        ("leave_bytes", "syscalls", "sys_exit_write", Payloads),
        ("leave_bytes", "syscalls", "sys_exit_readv", Payloads),
        ("leave_bytes", "syscalls", "sys_exit_writev", Payloads),
        ("leave_bytes", "syscalls", "sys_exit_recvfrom", Payloads),
        ("leave_bytes", "syscalls", "sys_exit_sendto", Payloads),
        ("leave_bytes", "syscalls", "sys_exit_recvmsg", Payloads),
        ("leave_bytes", "syscalls", "sys_exit_sendmsg", Payloads),
        ("leave_messages", "syscalls", "sys_exit_recvmmsg", Payloads),
        ("leave_messages", "syscalls", "sys_exit_sendmmsg", Payloads),
    ]
};

/// Where newer kernels tell of all bytes that sockets move: in place of the trace points of system calls.
const LENGTHS: [(&str, &str); 2] = [("sent", "sock_send_length"), ("received", "sock_recv_length")];

/// Programs for probes on files, and what fails without them.
const PROBES: [(&str, Feature); 19] = [
    ("tls_leave", Feature::Tls),
    ("tls_read", Feature::Tls),
    ("tls_read_ex", Feature::Tls),
    ("tls_write", Feature::Tls),
    ("tls_write_ex", Feature::Tls),
    ("go_read_leave", Feature::TlsOfGo),
    ("go_read", Feature::TlsOfGo),
    ("go_write", Feature::TlsOfGo),
    ("rustls_input_leave", Feature::TlsOfRust),
    ("rustls_output_leave", Feature::TlsOfRust),
    ("rustls_io", Feature::TlsOfRust),
    ("rustls_write_leave", Feature::TlsOfRust),
    ("rustls_write", Feature::TlsOfRust),
    ("rustls_write_vectored", Feature::TlsOfRust),
    ("rustls_read_leave", Feature::TlsOfRust),
    ("rustls_read", Feature::TlsOfRust),
    ("rustls_first_chunk_leave", Feature::TlsOfRust),
    ("rustls_first_chunk", Feature::TlsOfRust),
    ("rustls_consume", Feature::TlsOfRust),
];

/// How often each pair of stacks of a process was seen: process, user stack, kernel stack, nothing.
pub type Samples = HashMap<MapData, [u32; 4], u64>;

/// The programs in the kernel. Dropping this detaches them.
pub struct Programs {
    ebpf: Ebpf,
    states: BTreeMap<Feature, State>,
}

impl Programs {
    /// Loads the object and attaches what this kernel takes of `wanted`. An error means that nothing works here.
    pub fn attach(layout: &Layout, wanted: &[Feature]) -> Result<Self> {
        let mut ebpf = EbpfLoader::new()
            // The object has nothing to relocate, and the types of a kernel take twenty megabytes.
            .btf(None)
            .override_global("OFFSETS", layout, true)
            .load(OBJECT)
            .context("the kernel does not take the maps of the agent")?;
        let mut states = BTreeMap::new();
        let told = wanted.contains(&Feature::Payloads) && lengths(&mut ebpf);
        if told {
            states.insert(Feature::Payloads, State::Active);
        }
        for (program, category, name, feature) in TRACE_POINTS {
            if !wanted.contains(&feature) || (told && feature == Feature::Payloads) {
                continue;
            }
            let state = match trace_point(&mut ebpf, program, category, name) {
                Ok(()) => State::Active,
                Err(error) => unavailable(&error.context(format!("{category}/{name}"))),
            };
            let known = states.entry(feature).or_insert(State::Active);
            if *known == State::Active {
                *known = state;
            }
        }
        let mut programs = Self { ebpf, states };
        if wanted.contains(&Feature::Profiles) {
            let state = programs.profile();
            programs.note(Feature::Profiles, state);
        }
        for feature in Feature::TLS {
            if wanted.contains(&feature) {
                let state = programs.load_probes(feature);
                programs.note(feature, state);
            }
        }
        Ok(programs)
    }

    /// What works here, and why the rest does not.
    pub fn states(&self) -> &BTreeMap<Feature, State> {
        &self.states
    }

    /// The events. Once.
    pub fn reader(&mut self) -> Result<Reader> {
        Reader::new(self.ebpf.take_map("EVENTS").context("no map EVENTS")?)
    }

    /// What the kernel side lost. Once.
    pub fn counters(&mut self) -> Result<Counters> {
        Counters::new(self.ebpf.take_map("LOST").context("no map LOST")?)
    }

    /// Samples of the profile, and their stacks. Once.
    pub fn samples(&mut self) -> Result<(Samples, StackTraceMap<MapData>)> {
        let samples = HashMap::try_from(self.ebpf.take_map("SAMPLES").context("no map SAMPLES")?)?;
        let stacks =
            StackTraceMap::try_from(self.ebpf.take_map("STACK_TRACES").context("no map STACK_TRACES")?)?;
        Ok((samples, stacks))
    }

    /// What the agent has settled on for each socket. Once.
    pub fn verdicts(&mut self) -> Result<HashMap<MapData, u64, u8>> {
        Ok(HashMap::try_from(self.ebpf.take_map("VERDICTS").context("no map VERDICTS")?)?)
    }

    /// Captures only every 2^`bits`-th slice of time from now on.
    pub fn shed(&mut self, bits: u32) -> Result<()> {
        let map = self.ebpf.map_mut("CONTROL").context("no map CONTROL")?;
        let mut control = Array::<_, u64>::try_from(map)?;
        control.set(control::SHED_BITS, u64::from(bits), 0)?;
        Ok(())
    }

    /// Runs `program` at a place in a file, in every process that has it mapped. The link lasts as long as it is held.
    pub fn probe(&mut self, program: &str, file: &Path, place: u64) -> Result<UProbeLink> {
        let program: &mut UProbe =
            self.ebpf.program_mut(program).with_context(|| format!("no program {program}"))?.try_into()?;
        let link = program.attach(place, file, UProbeScope::AllProcesses)?;
        Ok(program.take_link(link)?)
    }

    fn load_probes(&mut self, feature: Feature) -> Result<()> {
        // They read arguments from registers, which the object that is built in knows for one machine only.
        ensure!(cfg!(target_arch = "x86_64"), "probes of TLS libraries are built for x86-64");
        for (name, _) in PROBES.iter().filter(|(_, of)| *of == feature) {
            let program: &mut UProbe =
                self.ebpf.program_mut(name).with_context(|| format!("no program {name}"))?.try_into()?;
            program.load()?;
        }
        Ok(())
    }

    fn profile(&mut self) -> Result<()> {
        let program: &mut PerfEvent =
            self.ebpf.program_mut("profile").context("no program profile")?.try_into()?;
        program.load()?;
        for cpu in aya::util::online_cpus().map_err(|(path, error)| anyhow::anyhow!("{path}: {error}"))? {
            program.attach(
                PerfEventConfig::Software(SoftwareEvent::CpuClock),
                PerfEventScope::AllProcessesOneCpu { cpu },
                SamplePolicy::Frequency(SAMPLES_PER_SECOND),
                true,
            )?;
        }
        Ok(())
    }

    fn note(&mut self, feature: Feature, result: Result<()>) {
        let state = match result {
            Ok(()) => State::Active,
            Err(error) => unavailable(&error),
        };
        self.states.insert(feature, state);
    }
}

/// The reason in two lines at most. When the kernel refuses a program it tells the whole course of its checks: the end counts.
fn unavailable(error: &anyhow::Error) -> State {
    let text = format!("{error:#}");
    let Some((reason, checks)) = text.split_once("Verifier output:") else { return State::Unavailable(text) };
    let last = checks
        .lines()
        .rev()
        .find(|line| line.contains("invalid") || line.starts_with('R'))
        .unwrap_or_default();
    State::Unavailable(format!("{} {last}", reason.trim()))
}

/// Whether this kernel tells of all bytes that sockets move, and now does. It may well not.
fn lengths(ebpf: &mut Ebpf) -> bool {
    // They read the registers of a process, which the object that is built in knows for one machine only.
    let attached = cfg!(target_arch = "x86_64")
        .then(|| LENGTHS.iter().try_for_each(|(program, point)| raw_trace_point(ebpf, program, point)));
    match attached {
        Some(Ok(())) => return true,
        Some(Err(error)) => {
            tracing::debug!(error = format!("{error:#}"), "requests are read from system calls");
        }
        None => {}
    }
    // One of the two alone would count its half twice.
    for (program, _) in LENGTHS {
        if let Some(Ok(program)) = ebpf.program_mut(program).map(<&mut RawTracePoint>::try_from) {
            let _ = program.unload();
        }
    }
    false
}

fn raw_trace_point(ebpf: &mut Ebpf, name: &str, point: &str) -> Result<()> {
    let program: &mut RawTracePoint =
        ebpf.program_mut(name).with_context(|| format!("no program {name}"))?.try_into()?;
    program.load()?;
    program.attach(point)?;
    Ok(())
}

fn trace_point(ebpf: &mut Ebpf, name: &str, category: &str, point: &str) -> Result<()> {
    let program: &mut TracePoint =
        ebpf.program_mut(name).with_context(|| format!("no program {name}"))?.try_into()?;
    if program.fd().is_err() {
        program.load()?;
    }
    program.attach(category, point)?;
    Ok(())
}

#[expect(unsafe_code, reason = "the kernel takes plain bytes")]
// SAFETY: `Layout` is transparent over `Offsets`, which is `repr(C)` and nothing but `u32`.
unsafe impl aya::Pod for Layout {}
