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
const LENGTH: &str = "length";
const LENGTHS: [&str; 2] = ["sock_send_length", "sock_recv_length"];

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
    /// How often verdicts were told.
    told: u64,
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
        let mut programs = Self { ebpf, states, told: 0 };
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

    /// Tells the kernel side what the agent has settled on, as bits of [`agent_events::verdict`] for each socket. One for which there is
    /// no room leaves everything as it was: more is captured than is needed.
    pub fn settle(&mut self, verdicts: impl Iterator<Item = (u64, u8)>) -> Result<()> {
        let mut map =
            HashMap::<_, u64, u8>::try_from(self.ebpf.map_mut("VERDICTS").context("no map VERDICTS")?)?;
        let mut changed = false;
        for (socket, verdict) in verdicts {
            changed |= map.insert(socket, verdict, 0).is_ok();
        }
        if changed {
            self.told += 1;
            self.control(control::VERDICTS, self.told)?;
        }
        Ok(())
    }

    /// Captures only every 2^`bits`-th slice of time from now on.
    pub fn shed(&mut self, bits: u32) -> Result<()> {
        self.control(control::SHED_BITS, u64::from(bits))
    }

    fn control(&mut self, slot: u32, value: u64) -> Result<()> {
        let map = self.ebpf.map_mut("CONTROL").context("no map CONTROL")?;
        Ok(Array::<_, u64>::try_from(map)?.set(slot, value, 0)?)
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

/// The reason in one line. When the kernel refuses a program it tells the whole course of its checks, then what they took: the line
/// before that counts.
fn unavailable(error: &anyhow::Error) -> State {
    let text = format!("{error:#}");
    let Some((reason, checks)) = text.split_once("Verifier output:") else { return State::Unavailable(text) };
    let is_reason = |line: &&str| {
        let after = ["verification time ", "stack depth ", "processed ", ": "];
        !line.is_empty() && !after.iter().any(|it| line.starts_with(it))
    };
    let last = checks.lines().map(str::trim).rfind(is_reason).unwrap_or_default();
    State::Unavailable(format!("{} {last}", reason.trim()))
}

/// Whether this kernel tells of all bytes that sockets move, and now does. It may well not.
fn lengths(ebpf: &mut Ebpf) -> bool {
    // It reads the registers of a process, which the object that is built in knows for one machine only.
    if !cfg!(target_arch = "x86_64") {
        return false;
    }
    let Some(Ok(program)) = ebpf.program_mut(LENGTH).map(<&mut RawTracePoint>::try_from) else {
        return false;
    };
    let attached =
        program.load().and_then(|()| LENGTHS.iter().try_for_each(|point| program.attach(point).map(drop)));
    if let Err(error) = &attached {
        tracing::debug!(%error, "requests are read from system calls");
        // One of the two alone would count its half twice.
        let _ = program.unload();
    }
    attached.is_ok()
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What Linux 6.1 said.
    #[test]
    fn what_the_verifier_refused_is_told_not_what_its_checks_took() {
        let error = anyhow::anyhow!("Permission denied (os error 13)").context(
            "the BPF_PROG_LOAD syscall returned Permission denied (os error 13). Verifier output: 0: R1=ctx(off=0,imm=0)
 combined stack size of 3 calls is 544. Too large
verification time 2280619 usec
stack depth 200+288+0+160+136
processed 44514 insns (limit 1000000) max_states_per_insn 17 total_states 1164 peak_states 421 mark_read 57
",
        );
        let State::Unavailable(reason) = unavailable(&error) else { panic!("available") };
        assert_eq!(
            reason,
            "the BPF_PROG_LOAD syscall returned Permission denied (os error 13). combined stack size of 3 calls is 544. Too large"
        );
    }
}
