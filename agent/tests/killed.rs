//! An agent that is killed at any moment leaves nothing behind, and loses no line of a log. Needs root and a kernel that takes programs;
//! elsewhere it says that it is skipped.

#![expect(
    clippy::disallowed_methods,
    reason = "processes are waited for by the real clock, in threads of their own"
)]
#![expect(clippy::print_stdout, reason = "it says how often traced programs ran")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use agent::settings::Settings;
use opentelemetry_proto::tonic::collector::logs::v1 as logs;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use tonic::{Request, Response, Status};

/// Kills, each at another moment of its life: while programs are loaded, attached, while it works.
const KILLS_AFTER_MS: [u64; 8] = [150, 2_600, 400, 3_900, 900, 1_700, 60, 3_100];
const PATIENCE: Duration = Duration::from_secs(60);

/// Lines that arrived, with how often.
type Lines = Arc<Mutex<BTreeMap<String, u32>>>;

struct Sink(Lines);

#[tonic::async_trait]
impl logs::logs_service_server::LogsService for Sink {
    async fn export(
        &self,
        request: Request<logs::ExportLogsServiceRequest>,
    ) -> Result<Response<logs::ExportLogsServiceResponse>, Status> {
        let request = request.into_inner();
        let scopes = request.resource_logs.into_iter().flat_map(|it| it.scope_logs);
        let mut lines = self.0.lock().expect("no panic");
        for record in scopes.flat_map(|it| it.log_records) {
            if let Some(Value::StringValue(text)) = record.body.and_then(|it| it.value) {
                *lines.entry(text).or_default() += 1;
            }
        }
        Ok(Response::new(logs::ExportLogsServiceResponse::default()))
    }
}

/// Whether programs can be attached here.
fn permitted() -> bool {
    let (says, works) = agent::check::check(&Settings::default());
    if !works {
        eprintln!("skipped: the kernel or the privileges here do not let programs be attached\n{says}");
    }
    works
}

fn start(settings: &Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_inquest-agent"))
        .arg("--config")
        .arg(settings)
        .stderr(Stdio::null())
        .spawn()
        .expect("the agent")
}

/// Programs that a process holds in the kernel, by number.
fn programs_of(pid: u32) -> BTreeSet<u32> {
    let folder = fs::read_dir(format!("/proc/{pid}/fdinfo"));
    let texts = folder.into_iter().flatten().flatten().filter_map(|it| fs::read_to_string(it.path()).ok());
    texts
        .filter_map(|text| text.lines().find_map(|line| line.strip_prefix("prog_id:")?.trim().parse().ok()))
        .collect()
}

fn loaded() -> BTreeSet<u32> {
    aya::programs::loaded_programs().flatten().map(|it| it.id()).collect()
}

/// What of the system an agent might have changed: files below, and settings.
fn state() -> Vec<String> {
    let mut found = Vec::new();
    for place in ["/sys/fs/bpf", "/sys/kernel/tracing/instances"] {
        found.extend(
            fs::read_dir(place).into_iter().flatten().flatten().map(|it| it.path().display().to_string()),
        );
    }
    for file in [
        "/sys/kernel/tracing/uprobe_events",
        "/sys/kernel/tracing/kprobe_events",
        "/sys/kernel/tracing/set_event",
        "/sys/kernel/tracing/tracing_on",
        "/proc/sys/kernel/perf_event_paranoid",
        "/proc/sys/kernel/kptr_restrict",
        "/proc/sys/kernel/unprivileged_bpf_disabled",
        "/proc/sys/kernel/bpf_stats_enabled",
        "/proc/sys/net/core/bpf_jit_enable",
    ] {
        // Not there is a state as well.
        found.push(format!("{file}: {:?}", fs::read_to_string(file)));
    }
    found
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let limit = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < limit, "not {what} after {} s", PATIENCE.as_secs());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Each of the tests looks at what is left of probes, and so at those of the other.
static MACHINE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// A program that ends with its test, however that ends.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_stays_and_no_line_is_lost() {
    if !permitted() {
        return;
    }
    let _alone = MACHINE.lock().await;
    let folder = tempfile::tempdir().expect("a folder");
    let lines = Lines::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let server = format!("http://{}", listener.local_addr().expect("an address"));
    let service = logs::logs_service_server::LogsServiceServer::new(Sink(Arc::clone(&lines)));
    tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming(tonic::transport::server::TcpIncoming::from(listener)),
    );
    let at = folder.path().display();
    let settings = folder.path().join("agent.toml");
    let text = format!(
        "server = \"{server}\"\ndata = \"{at}/data\"\nmetrics = \"127.0.0.1:{}\"\n[logs]\nfiles = [\"{at}/*.log\"]\njournal = false\n",
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port").port()
    );
    fs::write(&settings, text).expect("written");
    let arrived = {
        let lines = Arc::clone(&lines);
        move || lines.lock().expect("no panic").keys().cloned().collect::<BTreeSet<_>>()
    };
    let before = state();

    tokio::task::spawn_blocking(move || {
        // What was there before the first agent is not new: it notes its place first.
        let log = folder.path().join("service.log");
        fs::File::create(&log).expect("made");
        let mut agent = start(&settings);
        until("noted", || folder.path().join("data/log-positions").exists());

        let over = Arc::new(AtomicBool::new(false));
        let writer = {
            let over = Arc::clone(&over);
            std::thread::spawn(move || {
                let mut file = fs::OpenOptions::new().append(true).open(log).expect("open");
                let mut written = BTreeSet::new();
                while !over.load(Ordering::Relaxed) {
                    let line = format!("line {} of what must not be lost", written.len());
                    writeln!(file, "{line}").expect("written");
                    written.insert(line);
                    std::thread::sleep(Duration::from_millis(2));
                }
                written
            })
        };
        let mut seen = 0;
        for after in KILLS_AFTER_MS {
            std::thread::sleep(Duration::from_millis(after));
            let held = programs_of(agent.id());
            assert!(held.is_subset(&loaded()), "the list of the kernel does not have {held:?}");
            seen += held.len();
            agent.kill().expect("SIGKILL");
            agent.wait().expect("an end");
            until("all programs gone", || loaded().is_disjoint(&held));
            assert_eq!(state(), before, "the agent has changed the system");
            agent = start(&settings);
        }
        assert!(seen > 0, "no agent lived long enough to attach a program");
        over.store(true, Ordering::Relaxed);
        let written = writer.join().expect("no panic");
        until("every line arrived", || written.is_subset(&arrived()));
        let held = programs_of(agent.id());
        assert!(!held.is_empty(), "the last agent watches nothing");
        agent.kill().expect("SIGKILL");
        agent.wait().expect("an end");
        until("all programs gone", || loaded().is_disjoint(&held));
        let lines = lines.lock().expect("no panic");
        // A batch that was on its way comes again, for it may not have arrived: whole lines, never half of one.
        let strange: Vec<_> = lines.keys().filter(|line| !written.contains(*line)).collect();
        assert!(strange.is_empty(), "{strange:?}");
    })
    .await
    .expect("no panic");
}

/// Programs that use OpenSSL run while probes come and go in them: none fails, and the code of a library is what it was.
#[test]
fn traced_programs_live_through_attaching_and_detaching() {
    if !permitted() {
        return;
    }
    let _alone = MACHINE.blocking_lock();
    let folder = tempfile::tempdir().expect("a folder");
    let run = |line: &str| {
        let mut shell = Command::new("sh");
        shell
            .args(["-c", line])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        shell
    };
    let made = "openssl req -x509 -newkey rsa:2048 -nodes -keyout key -out cert -days 2 -subj /CN=x";
    if !run(made).status().is_ok_and(|it| it.success())
        || !run("command -v curl").status().is_ok_and(|it| it.success())
    {
        eprintln!("skipped: there is no openssl or no curl here");
        return;
    }
    let port =
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port").port();
    let listen = format!("exec openssl s_server -accept 127.0.0.1:{port} -key key -cert cert -WWW");
    let mut server = Server(run(&listen).spawn().expect("openssl"));
    until("a server", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());

    let over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = [
        format!("curl -skf --max-time 20 https://127.0.0.1:{port}/cert"),
        format!("printf 'GET /cert HTTP/1.0\\r\\n\\r\\n' | timeout 20 openssl s_client -quiet -connect 127.0.0.1:{port}"),
    ]
    .into_iter()
    .map(|line| {
        let (over, mut command) = (Arc::clone(&over), run(&line));
        std::thread::spawn(move || {
            let mut runs = 0;
            while !over.load(Ordering::Relaxed) {
                let status = command.status().expect("sh");
                assert!(status.success(), "{line}: {status}");
                runs += 1;
            }
            runs
        })
    })
    .collect();

    let code = code_of_libssl(server.0.id());
    agent::kernel::show_trace_points().expect("root");
    for round in 0..30 {
        let layout = agent::kernel::Layout::of_this_kernel().expect("known");
        let features = [agent::kernel::Feature::Payloads, agent::kernel::Feature::Tls];
        let mut programs = agent::kernel::Programs::attach(&layout, &features).expect("attached");
        let mut libraries = agent::tls::TlsLibraries::new("/".into());
        libraries.watch_system();
        libraries.watch_process(server.0.id());
        // They are read by a thread of their own.
        for _ in 0..1000 {
            libraries.settle(&mut programs);
            if !libraries.is_empty() {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(!libraries.is_empty(), "no library is watched");
        // In the midst of calls, early and late.
        std::thread::sleep(Duration::from_millis(20 + 37 * round % 400));
        drop(libraries);
        drop(programs);
    }
    over.store(true, Ordering::Relaxed);
    let runs: Vec<u32> = clients.into_iter().map(|it| it.join().expect("no client failed")).collect();
    assert!(runs.iter().all(|runs| *runs > 3), "{runs:?}");
    println!("{runs:?} runs of curl and openssl while probes came and went 30 times");
    assert!(server.0.try_wait().expect("a child").is_none(), "the server has died");
    until("the code of the library as it was", || code_of_libssl(server.0.id()) == code);
}

/// A hash of the code of libssl as a process has it in memory: a probe is an instruction in it.
fn code_of_libssl(pid: u32) -> Option<u64> {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    let line = maps.lines().find(|line| line.contains("libssl.so") && line.contains("r-xp"))?;
    let (from, to) = line.split_once(' ')?.0.split_once('-')?;
    let (from, to) = (u64::from_str_radix(from, 16).ok()?, u64::from_str_radix(to, 16).ok()?);
    let mut memory = fs::File::open(format!("/proc/{pid}/mem")).ok()?;
    memory.seek(SeekFrom::Start(from)).ok()?;
    let mut bytes = vec![0; (to - from) as usize];
    memory.read_exact(&mut bytes).ok()?;
    let mut hash = DefaultHasher::new();
    bytes.hash(&mut hash);
    Some(hash.finish())
}
