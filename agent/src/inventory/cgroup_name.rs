//! What a cgroup's path says of who made it: runtime, container id, pod uid. Pure.
//!
//! In: a path below the cgroup2 mount. Out: a [`CgroupName`], or nothing. Must never: guess an id that is not in
//! the last component; a container's inner cgroups (crun's `container`, systemd's slices) have no name of their own.
//!
//! | runtime | systemd driver | cgroupfs driver |
//! |---|---|---|
//! | containerd (CRI) | `…-podUID.slice/cri-containerd-ID.scope` | `/kubepods/…/podUID/ID`, `/k8s.io/ID` |
//! | nerdctl | `/system.slice/nerdctl-ID.scope` | `/default/ID` |
//! | Docker | `/system.slice/docker-ID.scope` | `/docker/ID` |
//! | CRI-O | `…-podUID.slice/crio-ID.scope` | `/kubepods/…/podUID/crio-ID` |
//! | Podman | `/machine.slice/libpod-ID.scope` | `/libpod_parent/libpod-ID`, `…/libpod-payload-ID` |

use super::Runtime;

/// Length of the ids that every runtime but plain runc makes: 32 random bytes in hex.
const ID_LENGTH: usize = 64;

/// Prefixes of the last component before the id, longest first where one begins with another. The monitors'
/// own cgroups (`crio-conmon-ID`, `libpod-conmon-ID`) fall out by themselves: what follows is not an id.
const PREFIXES: [(&str, Runtime); 6] = [
    ("cri-containerd-", Runtime::Containerd),
    ("nerdctl-", Runtime::Containerd),
    ("docker-", Runtime::Docker),
    ("crio-", Runtime::Crio),
    ("libpod-payload-", Runtime::Podman),
    ("libpod-", Runtime::Podman),
];

/// Parents under which the cgroupfs drivers put bare ids.
const PARENTS: [(&str, Runtime); 5] = [
    ("docker", Runtime::Docker),
    ("moby", Runtime::Docker),
    ("k8s.io", Runtime::Containerd),
    ("default", Runtime::Containerd),
    ("libpod_parent", Runtime::Podman),
];

/// A recognised container cgroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CgroupName {
    pub(crate) runtime: Runtime,
    pub(crate) id: String,
    /// With dashes, as the API writes it; static pods have 32 hex digits and no dashes.
    pub(crate) pod_uid: Option<String>,
}

/// The name, where the last component of `path` is a container's.
pub(crate) fn recognise(path: &str) -> Option<CgroupName> {
    let (parent, last) = path.rsplit_once('/')?;
    let stem = last.strip_suffix(".scope").unwrap_or(last);
    let pod_uid = parent.rsplit('/').find_map(pod_uid);
    let prefixed = PREFIXES.iter().find_map(|(prefix, runtime)| {
        let id = stem.strip_prefix(prefix).filter(|id| is_hex_id(id))?;
        Some((*runtime, id))
    });
    let (runtime, id) = match prefixed {
        Some(found) => found,
        None if is_hex_id(last) => (runtime_of_bare_id(parent, pod_uid.is_some()), last),
        None => return None,
    };
    Some(CgroupName { runtime, id: id.to_owned(), pod_uid })
}

/// The cgroups above `path`, nearest first, the root not among them.
pub(crate) fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(parent(path), |above| parent(above))
}

/// Whether `path` is `above` or lies below it.
pub(crate) fn is_within(path: &str, above: &str) -> bool {
    path.strip_prefix(above.trim_end_matches('/'))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether the last component is one that systemd gives to processes (slices hold none).
pub(super) fn is_unit(path: &str) -> bool {
    [".service", ".scope"].iter().any(|suffix| path.ends_with(suffix))
}

/// The last component.
pub(super) fn last_component(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn parent(path: &str) -> Option<&str> {
    path.rsplit_once('/').map(|(above, _)| above).filter(|above| !above.is_empty())
}

// containerd's and dockershim's cgroupfs drivers look alike below a pod; the former is the one still made.
fn runtime_of_bare_id(parent: &str, in_pod: bool) -> Runtime {
    let parent = last_component(parent);
    match PARENTS.iter().find(|(name, _)| *name == parent) {
        Some((_, runtime)) => *runtime,
        None if in_pod => Runtime::Containerd,
        None => Runtime::Other,
    }
}

// `podUID` (cgroupfs) or `[kubelet-]kubepods[-burstable|-besteffort]-podUID.slice` (systemd, dashes as `_`).
fn pod_uid(component: &str) -> Option<String> {
    let uid = match component.strip_suffix(".slice") {
        Some(slice) => slice.split_once("kubepods-").and_then(|(_, rest)| {
            let rest =
                rest.strip_prefix("burstable-").or_else(|| rest.strip_prefix("besteffort-")).unwrap_or(rest);
            rest.strip_prefix("pod")
        })?,
        None => component.strip_prefix("pod")?,
    };
    let uid = uid.replace('_', "-");
    let digits = uid.bytes().filter(u8::is_ascii_hexdigit).count();
    let dashes = uid.bytes().filter(|byte| *byte == b'-').count();
    (digits == 32 && (dashes == 0 || dashes == 4) && digits + dashes == uid.len()).then_some(uid)
}

/// 64 lower-case hex digits.
fn is_hex_id(text: &str) -> bool {
    text.len() == ID_LENGTH && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const UID: &str = "2f3b8a4c-9d1e-4a77-8c55-0a1b2c3d4e5f";
    const UID_: &str = "2f3b8a4c_9d1e_4a77_8c55_0a1b2c3d4e5f";
    const STATIC_UID: &str = "70c3e6fc4f4d5f4c4f6c8c3e2b1a0d9e";

    #[test]
    fn every_runtime_and_driver_is_recognised() {
        use Runtime::{Containerd, Crio, Docker, Other, Podman};
        let table = [
            (format!("/kubepods/burstable/pod{UID}/{ID}"), Containerd, Some(UID)),
            (format!("/kubepods/pod{UID}/{ID}"), Containerd, Some(UID)),
            (
                format!(
                    "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UID_}.slice/cri-containerd-{ID}.scope"
                ),
                Containerd,
                Some(UID),
            ),
            (
                format!("/kubepods.slice/kubepods-pod{UID_}.slice/cri-containerd-{ID}.scope"),
                Containerd,
                Some(UID),
            ),
            // kind: the kubelet's own slice, inside the node's container.
            (
                format!(
                    "/system.slice/docker-{ID}.scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-pod{UID_}.slice/cri-containerd-{ID}.scope"
                ),
                Containerd,
                Some(UID),
            ),
            (format!("/docker/{ID}/kubelet/kubepods/besteffort/pod{UID}/{ID}"), Containerd, Some(UID)),
            (
                format!(
                    "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{STATIC_UID}.slice/crio-{ID}.scope"
                ),
                Crio,
                Some(STATIC_UID),
            ),
            (format!("/kubepods/besteffort/pod{UID}/crio-{ID}"), Crio, Some(UID)),
            (format!("/kubepods.slice/kubepods-pod{UID_}.slice/docker-{ID}.scope"), Docker, Some(UID)),
            (format!("/system.slice/docker-{ID}.scope"), Docker, None),
            (format!("/docker/{ID}"), Docker, None),
            (
                format!("/user.slice/user-1000.slice/user@1000.service/user.slice/docker-{ID}.scope"),
                Docker,
                None,
            ),
            (format!("/machine.slice/libpod-{ID}.scope"), Podman, None),
            (format!("/machine.slice/machine-libpod_pod_{ID}.slice/libpod-{ID}.scope"), Podman, None),
            (format!("/libpod_parent/libpod-{ID}"), Podman, None),
            (format!("/system.slice/web.service/libpod-payload-{ID}"), Podman, None),
            (format!("/system.slice/nerdctl-{ID}.scope"), Containerd, None),
            (format!("/default/{ID}"), Containerd, None),
            (format!("/ecs/task/{ID}"), Other, None),
        ];
        for (path, runtime, pod_uid) in table {
            let expected = CgroupName { runtime, id: ID.into(), pod_uid: pod_uid.map(str::to_owned) };
            assert_eq!(recognise(&path), Some(expected), "{path}");
        }
    }

    #[test]
    fn what_is_no_container_has_no_name() {
        for path in [
            "/".to_owned(),
            String::new(),
            "/system.slice/sshd.service".into(),
            format!("/machine.slice/libpod-conmon-{ID}.scope"),
            format!("/kubepods.slice/kubepods-pod{UID_}.slice/crio-conmon-{ID}.scope"),
            format!("/kubepods/burstable/pod{UID}"),
            format!("/docker/{ID}/init.scope"),
            format!("/machine.slice/libpod-{ID}.scope/container"),
            format!("/docker/{}", &ID[1..]),
            format!("/docker/{}", ID.to_uppercase()),
            format!("/machine.slice/machine-libpod_pod_{ID}.slice"),
        ] {
            assert_eq!(recognise(&path), None, "{path}");
        }
    }

    #[test]
    fn ancestors_are_nearest_first_without_the_root() {
        assert_eq!(ancestors("/a/b/c").collect::<Vec<_>>(), ["/a/b", "/a"]);
        assert_eq!(ancestors("/a").count() + ancestors("/").count() + ancestors("").count(), 0);
    }

    #[test]
    fn within_is_by_component() {
        assert!(is_within("/a/b", "/a"));
        assert!(is_within("/a", "/a"));
        assert!(is_within("/a", "/"));
        assert!(!is_within("/ab", "/a"));
        assert!(!is_within("/a", "/a/b"));
    }

    #[test]
    fn pod_uids_are_not_made_up() {
        assert_eq!(pod_uid("podman"), None);
        assert_eq!(pod_uid("kubepods-burstable.slice"), None);
        assert_eq!(pod_uid(&format!("kubepods-burstable-pod{UID_}.slice")).as_deref(), Some(UID));
        assert_eq!(pod_uid("pod../../../etc"), None);
    }
}
