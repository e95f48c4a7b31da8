//! Where a log is written, after its path.

use std::path::Path;

/// Where an entry comes from. What is not known is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// The file.
    pub path: Option<String>,
    /// Id of the container: 64 hexadecimal digits.
    pub container_id: Option<String>,
    /// Kubernetes namespace.
    pub namespace: Option<String>,
    /// Kubernetes pod.
    pub pod: Option<String>,
    /// Uid of the Kubernetes pod.
    pub pod_uid: Option<String>,
    /// Name of the container in its pod.
    pub container: Option<String>,
    /// systemd unit, without `.service`.
    pub unit: Option<String>,
    /// Process that wrote it.
    pub pid: Option<u32>,
    /// Whether it was written to the standard error.
    pub stderr: bool,
}

impl Source {
    /// What the path of a log file tells:
    /// `/var/lib/docker/containers/<id>/<id>-json.log`,
    /// `/var/log/pods/<namespace>_<pod>_<uid>/<container>/<n>.log`,
    /// `/var/log/containers/<pod>_<namespace>_<container>-<id>.log`; otherwise the path is all.
    pub fn of_path(path: &Path) -> Self {
        let text = path.to_string_lossy().into_owned();
        let parts: Vec<&str> = text.rsplit('/').collect();
        let mut source = Self::default();
        if let Some(id) = parts[0].split("-json.log").next().filter(|id| is_id(id)) {
            source.container_id = Some(id.to_owned());
        } else if let [_, container, pod, "pods", ..] = parts[..] {
            if let [namespace, pod, uid] = pod.split('_').collect::<Vec<_>>()[..] {
                source.namespace = Some(namespace.to_owned());
                source.pod = Some(pod.to_owned());
                source.pod_uid = Some(uid.to_owned());
                source.container = Some(container.to_owned());
            }
        } else if let [name, "containers", ..] = parts[..]
            && let Some((front, id)) =
                name.trim_end_matches(".log").rsplit_once('-').filter(|(_, id)| is_id(id))
        {
            source.container_id = Some(id.to_owned());
            if let [pod, namespace, container] = front.split('_').collect::<Vec<_>>()[..] {
                source.namespace = Some(namespace.to_owned());
                source.pod = Some(pod.to_owned());
                source.container = Some(container.to_owned());
            }
        }
        source.path = Some(text);
        source
    }

    /// A name for what writes here: the container in its pod, the unit; of a plain file the folder below `log` that it is in, or else
    /// the name of the file up to its first `.`. `None` for a container that only its runtime can name.
    pub fn service_hint(&self) -> Option<String> {
        if let Some(name) = self.container.as_ref().or(self.unit.as_ref()) {
            return Some(name.clone());
        }
        if self.container_id.is_some() {
            return None;
        }
        let path = Path::new(self.path.as_deref()?);
        let parent = path.parent()?.file_name()?.to_string_lossy().into_owned();
        if !matches!(parent.as_str(), "log" | "logs") {
            return Some(parent);
        }
        let file = path.file_name()?.to_string_lossy().into_owned();
        // `/srv/shop/logs/out.log` is the shop's.
        match path.parent()?.parent().and_then(Path::file_name) {
            Some(above) if above != "var" && parent == "logs" => Some(above.to_string_lossy().into_owned()),
            _ => file.split('.').next().map(str::to_owned),
        }
    }
}

fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::Source;

    const ID: &str = "3f4b7c1d9e8a3f4b7c1d9e8a3f4b7c1d9e8a3f4b7c1d9e8a3f4b7c1d9e8a3f4b";

    fn check(path: &str, expected: [Option<&str>; 5]) {
        let source = Source::of_path(Path::new(path));
        let hint = source.service_hint();
        let found = [&source.container_id, &source.namespace, &source.pod, &source.container, &hint];
        assert_eq!(found.map(|it| it.as_deref()), expected, "{path}");
    }

    #[test]
    fn paths() {
        check(&format!("/var/lib/docker/containers/{ID}/{ID}-json.log"), [Some(ID), None, None, None, None]);
        check(
            &format!("/var/lib/docker/containers/{ID}/{ID}-json.log.1"),
            [Some(ID), None, None, None, None],
        );
        check(
            "/var/log/pods/shop_cart-7d9_0f0c1a2b-3c4d/cart/0.log",
            [None, Some("shop"), Some("cart-7d9"), Some("cart"), Some("cart")],
        );
        check(
            &format!("/var/log/containers/cart-7d9_shop_cart-{ID}.log"),
            [Some(ID), Some("shop"), Some("cart-7d9"), Some("cart"), Some("cart")],
        );
        check("/var/log/nginx/access.log", [None, None, None, None, Some("nginx")]);
        check("/var/log/syslog", [None, None, None, None, Some("syslog")]);
        check("/srv/shop/logs/out.log", [None, None, None, None, Some("shop")]);
    }
}
