//! Which service a process belongs to: a stable name, and where it runs.
//!
//! In this order: a rule of the settings; the name that the process was given for OpenTelemetry; Kubernetes; a container's labels or
//! name; the systemd unit; the program, or the script that an interpreter runs.
//! Deliberately absent: asking a runtime's daemon. Its files say the same, and it need not be up.

mod cgroup;
mod container;
mod names;
mod process;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use cgroup::{Place, is_whole, place};
pub use names::{is_link, of_command, of_pod};
pub use process::{Facts, read_facts};

/// A service on this host: what its telemetry is filed under.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Service {
    /// `service.name`.
    pub name: String,
    /// Other attributes of the resource, by name.
    pub attributes: Vec<(&'static str, String)>,
}

impl Service {
    /// One of its other attributes.
    fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_str())
    }

    /// What services are counted as that came when no further one could be told apart.
    pub fn others() -> Arc<Self> {
        Arc::new(Self { name: crate::edges::OTHER.to_owned(), attributes: Vec::new() })
    }
}

/// A rule of the settings.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The path of the program must match.
    pub program: Option<globset::GlobMatcher>,
    /// The command line must match.
    pub command: Option<regex::Regex>,
    /// The name of the service.
    pub name: String,
}

/// Names processes.
#[derive(Debug)]
pub struct Identities {
    /// Where `/` of the host is: `/host` inside a container.
    root: PathBuf,
    rules: Vec<Rule>,
    services: HashMap<Service, Arc<Service>>,
    containers: Arc<Mutex<Containers>>,
}

/// By a container's id, and by its pod and its name there: a process that told its service, and that. What only knows its container, as a
/// line of a log does, is then filed under the same name as its requests.
type Containers = HashMap<String, (u32, Arc<Service>)>;

impl Identities {
    /// With rules, the first that matches counts.
    pub fn new(root: PathBuf, rules: Vec<Rule>) -> Self {
        Self { root, rules, services: HashMap::new(), containers: Arc::default() }
    }

    /// Another one, for another thread, that knows the same containers.
    pub fn beside(&self) -> Self {
        let Self { root, rules, containers, .. } = self;
        let containers = Arc::clone(containers);
        Self { root: root.clone(), rules: rules.clone(), services: HashMap::new(), containers }
    }

    /// Where `/` of the host is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The service of process `pid`; nothing when it is gone already.
    pub fn of(&mut self, pid: u32) -> Option<(Facts, Arc<Service>)> {
        let facts = read_facts(&self.root, pid)?;
        let service = self.describe(&facts);
        let service = self.shared(service);
        self.note_container(pid, &service);
        Some((facts, service))
    }

    /// Others in the container are commands that look after it: the first process that was seen speaks for it, while it lives.
    fn note_container(&self, pid: u32, service: &Arc<Service>) {
        let lives = |pid: u32| self.root.join("proc").join(pid.to_string()).exists();
        let of_pod = service.attribute("k8s.pod.uid").zip(service.attribute("k8s.container.name"));
        let names = [
            service.attribute("container.id").map(str::to_owned),
            of_pod.map(|(uid, container)| in_pod(uid, container)),
        ];
        let mut containers = self.containers();
        for name in names.into_iter().flatten() {
            if containers.get(&name).is_some_and(|(known, _)| *known != pid && lives(*known)) {
                continue;
            }
            if containers.len() >= 2 * MOST_SERVICES {
                containers.retain(|_, (known, _)| lives(*known));
            }
            if containers.len() < 2 * MOST_SERVICES {
                containers.insert(name, (pid, Arc::clone(service)));
            }
        }
    }

    fn containers(&self) -> MutexGuard<'_, Containers> {
        self.containers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The service that processes of a container were seen to belong to.
    fn seen_in(&self, container: &str) -> Option<Arc<Service>> {
        self.containers().get(container).map(|(_, service)| Arc::clone(service))
    }

    /// The service of the container of this name in a pod, by its uid, where a process of it was seen.
    pub fn of_pod_container(&self, pod_uid: &str, container: &str) -> Option<Arc<Service>> {
        self.seen_in(&in_pod(pod_uid, container))
    }

    /// The service of a process of which nothing is left but the path that it was started with.
    pub fn of_program(&mut self, path: &Path) -> Arc<Service> {
        let facts = Facts { program: path.to_owned(), ..Facts::default() };
        let service = self.describe(&facts);
        self.shared(service)
    }

    /// The service of a container, as a process of it tells, or what its runtime notes of it.
    pub fn of_container(&mut self, id: &str) -> Option<Arc<Service>> {
        if let Some(seen) = self.seen_in(id) {
            return Some(seen);
        }
        container::metadata(&self.root, id)?;
        let facts = Facts { cgroup: format!("/{id}"), ..Facts::default() };
        let service = self.describe(&facts);
        Some(self.shared(service))
    }

    /// The service that runs in a control group: as a process of its container tells, or as far as its path does.
    pub fn of_group(&mut self, path: &str) -> Arc<Service> {
        if let Some(seen) = place(path).container.and_then(|id| self.seen_in(&id)) {
            return seen;
        }
        let last = path.rsplit('/').next().unwrap_or_default();
        let facts = Facts { cgroup: path.to_owned(), program: last.into(), ..Facts::default() };
        let service = self.describe(&facts);
        self.shared(service)
    }

    fn shared(&mut self, service: Service) -> Arc<Service> {
        if let Some(known) = self.services.get(&service) {
            return Arc::clone(known);
        }
        // Services are few; names made of changing parts are not, and may not fill memory.
        if self.services.len() >= MOST_SERVICES {
            self.services.retain(|_, shared| Arc::strong_count(shared) > 1);
        }
        let shared = Arc::new(service.clone());
        self.services.insert(service, Arc::clone(&shared));
        shared
    }

    fn describe(&self, facts: &Facts) -> Service {
        let place = place(&facts.cgroup);
        let container =
            place.container.as_deref().and_then(|id| container::metadata(&self.root, id)).unwrap_or_default();
        let given =
            facts.variable("OTEL_SERVICE_NAME").map(str::to_owned).or_else(|| facts.resource("service.name"));
        let pod = container.pod.clone().or_else(|| {
            // Without the runtime's files: what Kubernetes itself sets in every container.
            facts.variable("KUBERNETES_SERVICE_HOST")?;
            ["POD_NAME", "K8S_POD_NAME", "HOSTNAME"]
                .iter()
                .find_map(|name| facts.variable(name))
                .map(str::to_owned)
        });
        let namespace = container.namespace.clone().or_else(|| {
            ["POD_NAMESPACE", "K8S_NAMESPACE"].iter().find_map(|it| facts.variable(it)).map(str::to_owned)
        });
        let name = self
            .rules
            .iter()
            .find(|rule| rule.matches(facts))
            .map(|rule| rule.name.clone())
            .or(given)
            .or_else(|| container.app.clone())
            .or_else(|| pod.as_deref().map(names::of_pod))
            .or_else(|| container.name.clone())
            .or_else(|| place.unit.clone())
            .unwrap_or_else(|| of_command(&facts.program, &facts.thread, &facts.command));
        let attributes = [
            ("service.namespace", facts.resource("service.namespace")),
            ("service.version", facts.resource("service.version")),
            ("k8s.pod.name", pod),
            ("k8s.pod.uid", place.pod_uid),
            ("k8s.namespace.name", namespace),
            ("k8s.container.name", container.container),
            ("container.id", place.container),
            ("container.image.name", container.image),
            ("systemd.unit", place.unit),
        ]
        .into_iter()
        .filter_map(|(key, value)| Some((key, value.filter(|it| !it.is_empty())?)))
        .collect();
        Service { name: bounded(name), attributes }
    }
}

/// A container by its pod and its name there.
fn in_pod(pod_uid: &str, container: &str) -> String {
    format!("{pod_uid}/{container}")
}

/// Services that are remembered.
const MOST_SERVICES: usize = 4096;
/// Longest name.
const NAME_BYTES: usize = 128;

impl Rule {
    fn matches(&self, facts: &Facts) -> bool {
        self.program.as_ref().is_none_or(|glob| glob.is_match(&facts.program))
            && self.command.as_ref().is_none_or(|command| command.is_match(&facts.command.join(" ")))
    }
}

fn bounded(name: String) -> String {
    let mut name: String = name.chars().filter(|c| !c.is_control()).collect();
    name.truncate(name.floor_char_boundary(NAME_BYTES));
    if name.is_empty() { "unknown".to_owned() } else { name }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Makes it look as if `pid` ran `program`, with these files in its folder of `/proc`; the folder.
    pub(crate) fn pretend(root: &Path, pid: u32, program: &str, files: &[(&str, &str)]) -> PathBuf {
        let folder = root.join(format!("proc/{pid}"));
        std::fs::create_dir_all(&folder).expect("a folder");
        std::os::unix::fs::symlink(program, folder.join("exe")).expect("a link");
        for (name, text) in files {
            std::fs::write(folder.join(name), text).expect("written");
        }
        folder
    }

    #[test]
    fn logs_and_measurements_of_a_container_bear_the_name_that_its_process_was_given() {
        let root = tempfile::tempdir().expect("a folder");
        let id = "3f4b7c1d9e8a".repeat(6)[..64].to_owned();
        let group = format!("kubepods.slice/cri-containerd-{id}.scope");
        let group_line = format!("0::/{group}\n");
        let process = |pid: u32, program: &str, environment: &str| {
            pretend(root.path(), pid, program, &[("cgroup", &group_line), ("environ", environment)])
        };
        process(7, "/app/checkout", "OTEL_SERVICE_NAME=checkout-service\0");
        process(8, "/usr/bin/curl", "");
        let mut watching = Identities::new(root.path().into(), Vec::new());
        let mut beside = watching.beside();
        assert_eq!(beside.of_container(&id), None);
        for pid in [7, 8] {
            watching.of(pid).expect("a process");
        }
        let mut check = |name: &str| {
            assert_eq!(beside.of_container(&id).expect("seen").name, name);
            assert_eq!(beside.of_group(&format!("/{group}")).name, name);
        };
        check("checkout-service");
        // It has ended, and another one took its place.
        std::fs::remove_dir_all(root.path().join("proc/7")).expect("removed");
        watching.of(8).expect("a process");
        check("curl");
    }
}
