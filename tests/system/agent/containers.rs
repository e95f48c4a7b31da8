//! Programs in control groups as container runtimes make them: who they are, and what becomes of them for want of memory.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::watch_with;
use crate::programs::{Program, accepting, finish, free_address, python, start};

const CONTROL_GROUPS: &str = "/sys/fs/cgroup";

/// A control group that goes with the test.
struct Group {
    folder: PathBuf,
    /// The topmost of the folders that were made for it.
    made: PathBuf,
}

impl Group {
    /// Makes the group `path` in the hierarchy at `root`.
    fn new(root: &Path, path: &str) -> Self {
        let folder = root.join(path);
        let mut made = folder.clone();
        while let Some(above) = made.parent().filter(|above| !above.exists()) {
            made = above.to_owned();
        }
        fs::create_dir_all(&folder).expect("a control group");
        Self { folder, made }
    }

    /// Starts a program inside, without a name of its own for telemetry.
    fn start(&self, folder: &Path, program: &str, arguments: &[&str]) -> Program {
        let enter = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", self.folder.display());
        let arguments: Vec<&str> =
            ["-c", &enter, "sh", program].into_iter().chain(arguments.iter().copied()).collect();
        start(folder, "", "sh", &arguments)
    }
}

impl Drop for Group {
    #[expect(
        clippy::disallowed_methods,
        reason = "it waits for processes to end, where nothing can be awaited"
    )]
    fn drop(&mut self) {
        for _ in 0..50 {
            let mut folder = self.folder.as_path();
            while fs::remove_dir(folder).is_ok() && folder != self.made {
                folder = folder.parent().expect("below the root of the hierarchy");
            }
            if !self.made.exists() {
                return;
            }
            // What ran in it is ending.
            std::thread::sleep(Duration::from_millis(100));
        }
        eprintln!("{} could not be removed", self.made.display());
    }
}

/// The hierarchies that this machine has: of version 2 alone, of version 1, or both side by side.
fn hierarchies() -> Vec<(&'static str, PathBuf)> {
    let root = Path::new(CONTROL_GROUPS);
    let places = [("v2", root.to_owned()), ("v2", root.join("unified")), ("v1", root.join("memory"))];
    let is_one = |path: &Path| path.join("cgroup.procs").exists();
    let found: Vec<_> = places.into_iter().filter(|(_, path)| is_one(path)).collect();
    if found.is_empty() {
        eprintln!("skipped: no control groups are mounted at {CONTROL_GROUPS}");
    }
    found
}

/// A hierarchy in which memory can be limited, with the name of the file that does it.
fn memory() -> Option<(PathBuf, &'static str)> {
    let root = Path::new(CONTROL_GROUPS);
    if root.join("memory/memory.limit_in_bytes").exists() {
        return Some((root.join("memory"), "memory.limit_in_bytes"));
    }
    let controllers = fs::read_to_string(root.join("cgroup.subtree_control")).unwrap_or_default();
    if controllers.split_whitespace().any(|it| it == "memory") {
        return Some((root.to_owned(), "memory.max"));
    }
    eprintln!("skipped: memory of control groups cannot be limited here");
    None
}

/// A folder that stands for `/` of a host: its processes and groups are those of this machine, its containers are known to `runtime`.
fn host(folder: &Path, runtime: &[(String, String)]) -> PathBuf {
    let root = folder.join("host");
    for (path, text) in runtime {
        let path = root.join(path);
        fs::create_dir_all(path.parent().expect("a folder above")).expect("folders");
        fs::write(path, text).expect("written");
    }
    for name in ["proc", "sys"] {
        std::os::unix::fs::symlink(format!("/{name}"), root.join(name)).expect("a link");
    }
    root
}

fn id(digit: char) -> String {
    digit.to_string().repeat(64)
}

#[tokio::test(flavor = "multi_thread")]
async fn identity_from_control_groups() {
    let Some(python) = python() else { return };
    let (docker, pod) = (id('d'), id('e'));
    let runtime = [
        (
            format!("var/lib/docker/containers/{docker}/config.v2.json"),
            r#"{"Name":"/shop_cart_1","Config":{"Image":"cart:2","Labels":{"com.docker.compose.service":"cart-under-test"}}}"#
                .to_owned(),
        ),
        (
            format!("run/containerd/io.containerd.runtime.v2.task/k8s.io/{pod}/config.json"),
            r#"{"annotations":{"io.kubernetes.cri.sandbox-name":"orders-under-test-6d4cf56db6-x7k2p","io.kubernetes.cri.sandbox-namespace":"shop"}}"#
                .to_owned(),
        ),
    ];
    for (version, hierarchy) in hierarchies() {
        eprintln!("control groups {version} at {}", hierarchy.display());
        let set =
            |settings: &mut agent::settings::Settings, folder: &Path| settings.root = host(folder, &runtime);
        watch_with(set, async |watched| {
            let folder = watched.folder();
            let uid = "0f0c1a2b_3c4d_4e5f_8a9b_0c1d2e3f4a5b";
            let kubernetes = format!(
                "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{uid}.slice/cri-containerd-{pod}.scope"
            );
            let places = [
                ("cart-under-test", format!("docker/{docker}"), ("container.id", docker.clone())),
                ("orders-under-test", kubernetes, ("k8s.pod.uid", uid.replace('_', "-"))),
                (
                    "billing-under-test",
                    "system.slice/billing-under-test.service".to_owned(),
                    ("systemd.unit", "billing-under-test".to_owned()),
                ),
            ];
            for (service, path, (attribute, value)) in places {
                let group = Group::new(&hierarchy, &path);
                let port = free_address().port();
                let program = group.start(
                    folder,
                    &python,
                    &["-m", "http.server", &port.to_string(), "--bind", "127.0.0.1"],
                );
                accepting(port).await;
                let url = format!("http://127.0.0.1:{port}/{service}");
                for _ in 0..3 {
                    assert!(finish(folder, "", "curl", &["-s", &url]).await);
                }
                watched.edge("curl", service).await;
                let found = watched.resource(service, attribute).await;
                assert_eq!(found, value, "{attribute} of {service}");
                drop(program);
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_for_want_of_memory() {
    let (Some(python), Some((hierarchy, limit))) = (python(), memory()) else { return };
    let (listens, alone) = (id('a'), id('b'));
    let note = |id: &str, name: &str| {
        (
            format!("var/lib/docker/containers/{id}/config.v2.json"),
            format!(r#"{{"Name":"/{name}","Config":{{"Image":"hoard:1","Labels":{{}}}}}}"#),
        )
    };
    let runtime = [note(&listens, "listening-hoarder"), note(&alone, "silent-hoarder")];
    let set =
        |settings: &mut agent::settings::Settings, folder: &Path| settings.root = host(folder, &runtime);
    watch_with(set, async |watched| {
        let folder = watched.folder();
        let hoard = "import socket, sys, time\n\
             if sys.argv[1] != 'alone':\n    \
                 listener = socket.create_server(('127.0.0.1', int(sys.argv[1])))\n    \
                 listener.accept()\n\
             time.sleep(3)\n\
             heap = []\n\
             while True:\n    \
                 heap.append(bytearray(1 << 20))\n";
        fs::write(folder.join("hoard.py"), hoard).expect("written");
        let port = free_address().port();
        for (id, name, argument) in [
            (&listens, "listening-hoarder", port.to_string()),
            (&alone, "silent-hoarder", "alone".to_owned()),
        ] {
            let group = Group::new(&hierarchy, &format!("docker/{id}"));
            fs::write(group.folder.join(limit), (48 << 20).to_string()).expect("a limit");
            let mut program = group.start(folder, &python, &["hoard.py", &argument]);
            if argument != "alone" {
                accepting(port).await;
            }
            let status = program.child.wait().await.expect("it ends");
            assert!(!status.success(), "it is killed");
            let service = format!("service=\"{name}\"");
            assert_eq!(watched.measured("container_oom_kills_total", &[&service]).await, 1.0);
            assert_eq!(watched.measured("process_exits_total", &[&service, "outcome=\"failed\""]).await, 1.0);
            watched.stored("container_oom_kills_total", name).await;
        }
    })
    .await;
}
