//! What container runtimes note of a container in their files.

use std::path::Path;

use serde_json::Value;

/// Largest file that is read.
const FILE_BYTES: u64 = 1 << 20;

/// What is known of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// What its labels call the application.
    pub app: Option<String>,
    /// Its own name.
    pub name: Option<String>,
    /// Its image.
    pub image: Option<String>,
    /// Name of the Kubernetes pod.
    pub pod: Option<String>,
    /// Namespace of the Kubernetes pod.
    pub namespace: Option<String>,
    /// Name of the container in its pod.
    pub container: Option<String>,
}

/// Labels that name the application, the first counts: Kubernetes' recommended one, its old custom, Docker Compose.
const APP: [&str; 3] = ["app.kubernetes.io/name", "app", "com.docker.compose.service"];

/// Looks where Docker, and containerd and CRI-O with their bundles, keep what they know of container `id`.
pub fn metadata(root: &Path, id: &str) -> Option<Metadata> {
    docker(root, id).or_else(|| bundle(root, id))
}

fn docker(root: &Path, id: &str) -> Option<Metadata> {
    let file = json(&root.join(format!("var/lib/docker/containers/{id}/config.v2.json")))?;
    let labels = &file["Config"]["Labels"];
    Some(Metadata {
        app: APP.iter().find_map(|name| text(&labels[name])),
        name: text(&file["Name"]).map(|name| name.trim_start_matches('/').to_owned()),
        image: text(&file["Config"]["Image"]),
        pod: text(&labels["io.kubernetes.pod.name"]),
        namespace: text(&labels["io.kubernetes.pod.namespace"]),
        container: text(&labels["io.kubernetes.container.name"]),
    })
}

fn bundle(root: &Path, id: &str) -> Option<Metadata> {
    let places = [
        format!("run/containerd/io.containerd.runtime.v2.task/k8s.io/{id}/config.json"),
        format!("run/containerd/io.containerd.runtime.v2.task/default/{id}/config.json"),
        format!("run/containers/storage/overlay-containers/{id}/userdata/config.json"),
    ];
    let file = places.iter().find_map(|place| json(&root.join(place)))?;
    let notes = &file["annotations"];
    let either = |names: [&str; 2]| names.iter().find_map(|name| text(&notes[name]));
    Some(Metadata {
        app: APP.iter().find_map(|name| text(&notes[name])),
        name: either(["io.container.manager.name", "nerdctl/name"]),
        image: either(["io.kubernetes.cri.image-name", "io.kubernetes.cri-o.ImageName"]),
        pod: either(["io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name"]),
        namespace: either(["io.kubernetes.cri.sandbox-namespace", "io.kubernetes.pod.namespace"]),
        container: either(["io.kubernetes.cri.container-name", "io.kubernetes.container.name"]),
    })
}

fn json(path: &Path) -> Option<Value> {
    if std::fs::metadata(path).ok()?.len() > FILE_BYTES {
        return None;
    }
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

fn text(value: &Value) -> Option<String> {
    value.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::metadata;

    #[test]
    fn docker_and_kubernetes() {
        let root = tempfile::tempdir().expect("a folder");
        let write = |place: &str, text: &str| {
            let path = root.path().join(place);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
            std::fs::write(path, text).expect("written");
        };
        write(
            "var/lib/docker/containers/aa/config.v2.json",
            r#"{"Name":"/shop_cart_1","Config":{"Image":"cart:2","Labels":{"com.docker.compose.service":"cart"}}}"#,
        );
        write(
            "run/containerd/io.containerd.runtime.v2.task/k8s.io/bb/config.json",
            r#"{"annotations":{"io.kubernetes.cri.sandbox-name":"cart-6d4cf56db6-x7k2p","io.kubernetes.cri.sandbox-namespace":"shop"}}"#,
        );
        let docker = metadata(root.path(), "aa").expect("known");
        assert_eq!((docker.app.as_deref(), docker.name.as_deref()), (Some("cart"), Some("shop_cart_1")));
        let pod = metadata(root.path(), "bb").expect("known");
        assert_eq!(
            (pod.pod.as_deref(), pod.namespace.as_deref()),
            (Some("cart-6d4cf56db6-x7k2p"), Some("shop"))
        );
        assert_eq!(metadata(root.path(), "cc"), None);
    }
}
