//! What `/proc` tells of a process.

use std::path::{Path, PathBuf};

use super::place;

/// Most bytes of a command line or an environment that are read.
const TEXT_BYTES: u64 = 128 * 1024;
/// The only variables that are kept: an environment is full of secrets.
const KEPT: [&str; 8] = [
    "OTEL_SERVICE_NAME",
    "OTEL_RESOURCE_ATTRIBUTES",
    "KUBERNETES_SERVICE_HOST",
    "HOSTNAME",
    "POD_NAME",
    "K8S_POD_NAME",
    "POD_NAMESPACE",
    "K8S_NAMESPACE",
];

/// A process at the moment of looking.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The program.
    pub program: PathBuf,
    /// What its first thread is called: the file that it was started as, cut to 15 bytes.
    pub thread: String,
    /// Its command line.
    pub command: Vec<String>,
    /// Path of its control group.
    pub cgroup: String,
    pub(super) variables: Vec<(&'static str, String)>,
}

impl Facts {
    /// One of the few variables that are kept.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables
            .iter()
            .find(|(key, value)| *key == name && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }

    /// One of the attributes that the process was given for its own telemetry.
    pub fn resource(&self, name: &str) -> Option<String> {
        self.variable("OTEL_RESOURCE_ATTRIBUTES")?.split(',').find_map(|pair| {
            let (key, value) = pair.split_once('=')?;
            (key.trim() == name && !value.is_empty()).then(|| value.trim().to_owned())
        })
    }
}

/// Reads what there is to know of `pid`; nothing when it is gone, or a thread of the kernel.
pub fn read_facts(root: &Path, pid: u32) -> Option<Facts> {
    let folder = root.join("proc").join(pid.to_string());
    let program = std::fs::read_link(folder.join("exe")).ok()?;
    let words = |name: &str| -> Vec<String> {
        let bytes = read(&folder.join(name)).unwrap_or_default();
        bytes
            .split(|byte| *byte == 0)
            .filter(|it| !it.is_empty())
            .map(|it| String::from_utf8_lossy(it).into_owned())
            .collect()
    };
    let variables = words("environ")
        .iter()
        .filter_map(|pair| {
            let (name, value) = pair.split_once('=')?;
            Some((*KEPT.iter().find(|kept| **kept == name)?, value.to_owned()))
        })
        .collect();
    let cgroups = String::from_utf8_lossy(&read(&folder.join("cgroup")).unwrap_or_default()).into_owned();
    let thread =
        String::from_utf8_lossy(&read(&folder.join("comm")).unwrap_or_default()).trim_end().to_owned();
    Some(Facts { program, thread, command: words("cmdline"), cgroup: control_group(&cgroups), variables })
}

/// Of the paths in each hierarchy the one that tells most: of a container, of a unit, or else the longest.
fn control_group(text: &str) -> String {
    let paths = text.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    let tells = |path: &&str| {
        let place = place(path);
        (place.container.is_some(), place.unit.is_some(), path.len())
    };
    paths.max_by_key(tells).unwrap_or_default().to_owned()
}

fn read(path: &Path) -> Option<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(path).ok()?.take(TEXT_BYTES).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process() {
        let facts = read_facts(Path::new("/"), std::process::id()).expect("we are here");
        assert_eq!(facts.program, std::env::current_exe().expect("a program"));
        assert!(read_facts(Path::new("/"), u32::MAX).is_none());
    }

    #[test]
    fn versions_of_control_groups() {
        assert_eq!(control_group("0::/system.slice/nginx.service\n"), "/system.slice/nginx.service");
        assert_eq!(control_group("12:pids:/docker/aa\n1:name=systemd:/docker/aa\n0::/\n"), "/docker/aa");
        let hybrid = "4:memory:/a/longer/path/of/something/else\n0::/system.slice/nginx.service\n";
        assert_eq!(control_group(hybrid), "/system.slice/nginx.service");
        assert_eq!(control_group(""), "");
    }

    #[test]
    fn resource_attributes() {
        let facts = Facts {
            variables: vec![("OTEL_RESOURCE_ATTRIBUTES", "service.name=cart, service.version=2".to_owned())],
            ..Facts::default()
        };
        assert_eq!(facts.resource("service.version").as_deref(), Some("2"));
        assert_eq!(facts.resource("service"), None);
    }
}
