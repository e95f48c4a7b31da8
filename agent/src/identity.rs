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
use std::sync::Arc;

pub use cgroup::{Place, is_whole, place};
pub use names::{of_command, of_pod};
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
}

impl Identities {
    /// With rules, the first that matches counts.
    pub fn new(root: PathBuf, rules: Vec<Rule>) -> Self {
        Self { root, rules, services: HashMap::new() }
    }

    /// Where `/` of the host is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The service of process `pid`; nothing when it is gone already.
    pub fn of(&mut self, pid: u32) -> Option<(Facts, Arc<Service>)> {
        let facts = read_facts(&self.root, pid)?;
        let service = self.describe(&facts);
        Some((facts, self.shared(service)))
    }

    /// The service of a process of which nothing is left but the path that it was started with.
    pub fn of_program(&mut self, path: &Path) -> Arc<Service> {
        let facts = Facts { program: path.to_owned(), ..Facts::default() };
        let service = self.describe(&facts);
        self.shared(service)
    }

    /// The service of a container whose runtime notes something of it.
    pub fn of_container(&mut self, id: &str) -> Option<Arc<Service>> {
        container::metadata(&self.root, id)?;
        let facts = Facts { cgroup: format!("/{id}"), ..Facts::default() };
        let service = self.describe(&facts);
        Some(self.shared(service))
    }

    /// The service that runs in a control group, as far as its path tells.
    pub fn of_group(&mut self, path: &str) -> Arc<Service> {
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
