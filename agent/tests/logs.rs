//! Log files as programs, rotation and container runtimes write them, followed through restarts.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agent::logs::{Entry, Settings, Tail};
use domain::UnixNanos;
use proptest::prelude::*;
use tempfile::TempDir;

/// A folder of logs, an agent that follows it, and all that the server has.
struct Bench {
    folder: TempDir,
    now: UnixNanos,
    tail: Option<Tail>,
    arrived: Vec<Entry>,
    from_start: bool,
}

impl Bench {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            now: UnixNanos::from_seconds(1_795_096_951),
            tail: None,
            arrived: Vec::new(),
            from_start: true,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        OpenOptions::new().create(true).append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// Some time later: what is there now is read, and the server takes it or not.
    fn pass(&mut self, seconds: u64, server: bool) {
        self.now = self.now.plus(Duration::from_secs(seconds));
        let settings = Settings {
            root: "/".into(),
            globs: vec![format!("{}/**/*.log", self.folder.path().display())],
            positions: self.folder.path().join("state/positions.json"),
            from_start: self.from_start,
        };
        let tail = self.tail.get_or_insert_with(|| Tail::open(settings).unwrap());
        tail.scan(self.now).unwrap();
        loop {
            let batch = tail.poll(self.now).unwrap();
            if batch.is_empty() {
                return;
            }
            if !server {
                tail.rewind();
                return;
            }
            self.arrived.extend(batch);
            tail.acknowledge(self.now).unwrap();
        }
    }

    /// The agent is killed: nothing that it holds in memory remains.
    fn kill(&mut self) {
        self.tail = None;
    }

    fn bodies(&self) -> Vec<&str> {
        self.arrived.iter().map(|entry| entry.body.as_str()).collect()
    }
}

#[test]
fn lines_arrive_once_through_restarts_of_both_sides() {
    let mut bench = Bench::new();
    bench.write("a.log", "one\ntwo\n");
    bench.pass(0, true);
    bench.pass(2, true);
    bench.write("a.log", "three\n");
    // The server is away, then the agent is killed with a batch on its way.
    bench.pass(2, false);
    bench.pass(2, false);
    bench.kill();
    bench.write("a.log", "four\nfi");
    bench.pass(2, true);
    bench.pass(2, true);
    bench.write("a.log", "ve\n");
    bench.kill();
    bench.pass(2, true);
    bench.pass(2, true);
    assert_eq!(bench.bodies(), ["one", "two", "three", "four", "five"]);
}

#[test]
fn files_of_a_host_elsewhere_go_by_their_names_there() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("var/log/shop")).unwrap();
    fs::write(root.path().join("var/log/shop/out.log"), "one\n").unwrap();
    let settings = Settings {
        root: root.path().into(),
        globs: vec!["/var/log/*/*.log".into()],
        positions: root.path().join("state/positions.json"),
        from_start: true,
    };
    let mut tail = Tail::open(settings).unwrap();
    let now = UnixNanos::from_seconds(1_795_096_951);
    tail.scan(now).unwrap();
    tail.poll(now).unwrap();
    let batch = tail.poll(now.plus(Duration::from_secs(2))).unwrap();
    assert_eq!(batch.len(), 1, "the next line of the event was waited for");
    assert_eq!(batch[0].source.path.as_deref(), Some("/var/log/shop/out.log"));
}

#[test]
fn rotation_by_renaming_loses_nothing() {
    let mut bench = Bench::new();
    bench.write("a.log", "one\n");
    bench.pass(0, true);
    bench.write("a.log", "two\n");
    fs::rename(bench.path("a.log"), bench.path("a.log.1")).unwrap();
    // Who writes has the old file open for a while.
    bench.write("a.log.1", "three\n");
    bench.write("a.log", "four\n");
    bench.pass(2, true);
    bench.write("a.log.1", "five\n");
    bench.pass(2, true);
    bench.pass(6, true);
    bench.pass(6, true);
    // Later than anyone should: it is still found beside its old name.
    bench.write("a.log.1", "six\n");
    bench.pass(2, true);
    bench.pass(6, true);
    let mut bodies = bench.bodies();
    bodies.sort_unstable();
    assert_eq!(bodies, ["five", "four", "one", "six", "three", "two"]);
}

#[test]
fn rotation_while_no_agent_runs_loses_nothing() {
    let mut bench = Bench::new();
    bench.write("a.log", "one\n");
    bench.pass(0, true);
    bench.pass(2, true);
    bench.kill();
    bench.write("a.log", "two\n");
    fs::rename(bench.path("a.log"), bench.path("a.log.1")).unwrap();
    bench.write("a.log", "three\n");
    bench.pass(2, true);
    bench.pass(6, true);
    bench.pass(6, true);
    let mut bodies = bench.bodies();
    bodies.sort_unstable();
    assert_eq!(bodies, ["one", "three", "two"]);
    assert!(bench.arrived.iter().all(|entry| entry.source.path.as_deref().unwrap().ends_with("a.log")));
}

#[test]
fn truncation_starts_anew() {
    let mut bench = Bench::new();
    bench.write("a.log", "one\ntwo\n");
    bench.pass(0, true);
    bench.pass(2, true);
    File::create(bench.path("a.log")).unwrap();
    // It has grown beyond where it was before it is looked at again: its first bytes tell.
    bench.write("a.log", "three and more\nfour\n");
    bench.pass(2, true);
    bench.pass(2, true);
    bench.kill();
    File::create(bench.path("a.log")).unwrap();
    bench.write("a.log", "five\n");
    bench.pass(2, true);
    bench.pass(2, true);
    assert_eq!(bench.bodies(), ["one", "two", "three and more", "four", "five"]);
}

#[test]
fn what_was_there_before_the_first_agent_is_not_new() {
    let mut bench = Bench { from_start: false, ..Bench::new() };
    bench.write("a.log", "old\nhalf");
    bench.pass(0, true);
    bench.kill();
    bench.write("a.log", " a line\nnew\n");
    bench.write("b.log", "another\n");
    bench.pass(2, true);
    bench.pass(2, true);
    // Two files may be read in either order.
    let mut bodies = bench.bodies();
    bodies.sort();
    assert_eq!(bodies, ["another", "new"]);
}

#[test]
fn streams_of_a_container_are_joined_apart() {
    let mut bench = Bench::new();
    let line = |stream: &str, tag: &str, text: &str| format!("2026-11-19T14:02:31Z {stream} {tag} {text}\n");
    let name = "pods/shop_cart-7d9_0f0c/cart/0.log";
    bench.write(name, &line("stdout", "P", "par"));
    bench.write(name, &line("stderr", "F", "ERROR boom"));
    bench.write(name, &line("stdout", "F", "tial"));
    bench.write(name, &line("stderr", "F", "\tat frame"));
    bench.write(name, &line("stdout", "F", "next"));
    bench.pass(0, true);
    bench.kill();
    bench.write(name, &line("stderr", "F", "\tat another"));
    bench.pass(0, true);
    bench.pass(2, true);
    let mut found: Vec<_> = bench
        .arrived
        .iter()
        .map(|entry| (entry.body.as_str(), entry.source.stderr, entry.severity, entry.source.service_hint()))
        .collect();
    found.sort();
    let cart = Some("cart".to_owned());
    assert_eq!(
        found,
        [
            ("ERROR boom\n\tat frame\n\tat another", true, Some(17), cart.clone()),
            ("next", false, None, cart.clone()),
            ("partial", false, None, cart),
        ]
    );
}

#[test]
fn a_line_that_is_too_long_is_cut_and_counted() {
    let mut bench = Bench::new();
    bench.write("a.log", &format!("{}\nnext\n", "x".repeat(300_000)));
    bench.pass(0, true);
    bench.kill();
    bench.pass(2, true);
    bench.pass(2, true);
    assert_eq!(bench.arrived.len(), 2);
    assert!(bench.arrived[0].body.len() <= 64 << 10);
    assert_eq!(bench.arrived[1].body, "next");
}

#[test]
fn many_lines_come_in_batches_and_no_file_waits_forever() {
    let mut bench = Bench::new();
    let lines = |name: &str| (0..3000).map(|number| format!("{name} {number}\n")).collect::<String>();
    for name in ["a", "b", "c"] {
        bench.write(&format!("{name}.log"), &lines(name));
    }
    bench.pass(0, true);
    bench.pass(2, true);
    assert_eq!(bench.arrived.len(), 9000);
    for name in ["a", "b", "c"] {
        let mine: String = bench
            .arrived
            .iter()
            .filter(|entry| entry.body.starts_with(name))
            .map(|it| it.body.clone() + "\n")
            .collect();
        assert_eq!(mine, lines(name));
    }
}

#[derive(Clone, Debug)]
enum Step {
    Write(u8),
    Half,
    Rotate,
    Pass(bool),
    Kill,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1_u8..20).prop_map(Step::Write),
        1 => Just(Step::Half),
        1 => Just(Step::Rotate),
        3 => any::<bool>().prop_map(Step::Pass),
        2 => Just(Step::Kill),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happens to the file, the agent and the server: each line arrives once.
    #[test]
    fn each_line_arrives_once(steps in proptest::collection::vec(step(), 1..40)) {
        let mut bench = Bench::new();
        let (mut written, mut rotated, mut half) = (0, 0, false);
        // Lines of the file at hand, while nobody has looked at it under the name that is followed.
        let (mut unseen, mut lost, mut seen) = (Vec::new(), Vec::new(), false);
        for step in steps {
            match step {
                Step::Write(lines) => {
                    for _ in 0..lines {
                        let start = if std::mem::take(&mut half) { "" } else { "line " };
                        bench.write("a.log", &format!("{start}{written}.\n"));
                        if !seen {
                            unseen.push(format!("line {written}."));
                        }
                        written += 1;
                    }
                }
                Step::Half => if !half {
                    half = true;
                    bench.write("a.log", "line ");
                },
                // Only between lines, as rotation does.
                Step::Rotate => if !half && Path::new(&bench.path("a.log")).exists() {
                    rotated += 1;
                    lost.append(&mut unseen);
                    seen = false;
                    fs::rename(bench.path("a.log"), bench.path(&format!("a.log.{rotated}"))).unwrap();
                },
                Step::Pass(server) => {
                    if bench.path("a.log").exists() {
                        unseen = Vec::new();
                        seen = true;
                    }
                    bench.pass(2, server);
                }
                Step::Kill => bench.kill(),
            }
        }
        if half {
            bench.write("a.log", "end.\n");
        }
        for _ in 0..4 {
            bench.pass(6, true);
        }
        let mut times: BTreeMap<&str, usize> = BTreeMap::new();
        for body in bench.bodies() {
            *times.entry(body).or_default() += 1;
        }
        let all = (0..written).map(|number| format!("line {number}."));
        for line in all {
            let count = times.get(line.as_str()).copied().unwrap_or(0);
            prop_assert!(count <= 1, "{line} came {count} times");
            prop_assert!(count == 1 || lost.contains(&line), "{line} was lost");
        }
    }
}
