//! What the path of a control group tells: container, pod, systemd unit.

/// Where a process runs, after its control group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Id of the container: 64 hexadecimal digits.
    pub container: Option<String>,
    /// Uid of the Kubernetes pod.
    pub pod_uid: Option<String>,
    /// systemd service, without `.service`, and without the instance of a template.
    pub unit: Option<String>,
    /// Which of several such units, where there may be several: `postgresql@15-main`, or `user@1000/dbus` of a user's own manager.
    pub instance: Option<String>,
}

/// Reads a path such as `/kubepods.slice/kubepods-pod1_2.slice/cri-containerd-<id>.scope` (v1 or v2).
pub fn place(path: &str) -> Place {
    let mut place = Place::default();
    let mut units: Vec<&str> = Vec::new();
    for part in path.split('/') {
        if let Some(id) = container(part) {
            place.container = Some(id.to_owned());
        } else if let Some(uid) = pod(part) {
            place.pod_uid = Some(uid);
        } else if let Some(unit) = part.strip_suffix(".service") {
            // The deepest counts: a user's manager is itself a service.
            place.unit = Some(unit.split('@').next().unwrap_or(unit).to_owned());
            units.push(unit);
        }
    }
    if units.len() > 1 || units.iter().any(|unit| unit.contains('@')) {
        place.instance = Some(units.join("/"));
    }
    if place.container.is_some() {
        // `docker.service` above a container says nothing of what is inside.
        place.unit = None;
        place.instance = None;
    }
    place
}

/// Whether a control group is a container or a unit as a whole. What these divide themselves into (`libpod-<id>.scope/container`,
/// `user@0.service/init.scope`) is in the same place and counted in it already.
pub fn is_whole(path: &str) -> bool {
    let own = place(path);
    let above = path.rsplit_once('/').map(|(above, _)| place(above)).unwrap_or_default();
    (own.container.is_some() || own.unit.is_some()) && own != above
}

/// `<id>`, `docker-<id>.scope`, `cri-containerd-<id>.scope`, `crio-<id>.scope`, `libpod-<id>.scope`.
fn container(part: &str) -> Option<&str> {
    let id = part.strip_suffix(".scope").unwrap_or(part);
    let id = id.rsplit('-').next()?;
    (id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(id)
}

/// `pod<uid>`, `kubepods-burstable-pod<uid with underscores>.slice`.
fn pod(part: &str) -> Option<String> {
    let part = part.strip_suffix(".slice").unwrap_or(part);
    let (before, uid) = part.rsplit_once("pod")?;
    let fits = before.is_empty() || before.ends_with('-');
    let uid = uid.replace('_', "-");
    (fits && uid.len() == 36 && uid.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-'))
        .then_some(uid)
}

#[cfg(test)]
mod tests {
    use super::{is_whole, place};

    const ID: &str = "3f4b7c1d9e8a3f4b7c1d9e8a3f4b7c1d9e8a3f4b7c1d9e8a3f4b7c1d9e8a3f4b";
    const UID: &str = "0f0c1a2b-3c4d-4e5f-8a9b-0c1d2e3f4a5b";

    fn check(path: &str, container: Option<&str>, pod: Option<&str>, unit: Option<&str>) {
        let place = place(path);
        let found = (place.container.as_deref(), place.pod_uid.as_deref(), place.unit.as_deref());
        assert_eq!(found, (container, pod, unit), "{path}");
    }

    #[test]
    fn runtimes() {
        check(&format!("/docker/{ID}"), Some(ID), None, None);
        check(&format!("/system.slice/docker-{ID}.scope"), Some(ID), None, None);
        check(&format!("/machine.slice/libpod-{ID}.scope/container"), Some(ID), None, None);
        check(&format!("/kubepods/burstable/pod{UID}/{ID}"), Some(ID), Some(UID), None);
        let slice = UID.replace('-', "_");
        check(
            &format!(
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{slice}.slice/cri-containerd-{ID}.scope"
            ),
            Some(ID),
            Some(UID),
            None,
        );
        check(&format!("/system.slice/docker.service/docker/{ID}"), Some(ID), None, None);
    }

    #[test]
    fn units() {
        check("/system.slice/nginx.service", None, None, Some("nginx"));
        check(
            "/system.slice/system-postgresql.slice/postgresql@15-main.service",
            None,
            None,
            Some("postgresql"),
        );
        check("/user.slice/user-0.slice/session-1.scope", None, None, None);
        check("/", None, None, None);
        check("", None, None, None);
    }

    #[test]
    fn instances() {
        for (path, instance) in [
            ("/system.slice/nginx.service", None),
            ("/system.slice/system-postgresql.slice/postgresql@15-main.service", Some("postgresql@15-main")),
            ("/user.slice/user-1.slice/user@1.service/app.slice/dbus.service", Some("user@1/dbus")),
            (&format!("/system.slice/docker@1.service/docker/{ID}"), None),
        ] {
            assert_eq!(place(path).instance.as_deref(), instance, "{path}");
        }
    }

    #[test]
    fn groups_within_a_container_or_a_unit_are_a_part_of_it() {
        for (path, whole) in [
            ("/system.slice", false),
            ("/system.slice/nginx.service", true),
            ("/system.slice/nginx.service/workers", false),
            (&format!("/machine.slice/libpod-{ID}.scope"), true),
            (&format!("/machine.slice/libpod-{ID}.scope/container"), false),
            (&format!("/docker/{ID}/system.slice/nginx.service"), false),
            (&format!("/kubepods/pod{UID}"), false),
            (&format!("/kubepods/pod{UID}/{ID}"), true),
            ("/user.slice/user-0.slice/user@0.service", true),
            ("/user.slice/user-0.slice/user@0.service/init.scope", false),
            ("/user.slice/user-0.slice/user@0.service/app.slice/dbus.service", true),
        ] {
            assert_eq!(is_whole(path), whole, "{path}");
        }
    }
}
