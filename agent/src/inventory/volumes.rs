//! A container's other mounts: which of them a policy may name, and where the host sees those.
//!
//! In: mounts of the container and of the host. Out: [`Volume`]s, each proven by opening it from both sides; and the
//! mount points of all the rest. Must never: call a mount a volume on the strength of a name alone.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

use super::mounts::{self, Mount};
use super::root::Directory;
use super::{Volume, VolumeKind};

/// Most places of the host that are tried for one mount (one filesystem mounted in many places).
const MAX_PLACES: usize = 64;

/// Where the host has its filesystems, from this process's own mountinfo.
#[derive(Debug, Default)]
pub(super) struct HostMounts {
    by_device: HashMap<String, Vec<(PathBuf, PathBuf)>>,
}

/// What is known of the container whose mounts are judged.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owner<'a> {
    pub(super) pod_uid: Option<&'a str>,
    /// Directories of the host that the node's config allows.
    pub(super) allowed: &'a [PathBuf],
}

impl HostMounts {
    /// As this process sees them. Unreadable: no mount can be placed, so none is a volume; logged.
    pub(super) fn find() -> Self {
        match mounts::read("self") {
            Ok(mounts) => Self::of(mounts),
            Err(error) => {
                tracing::warn!(%error, "cannot read the host's mounts: no volume will be recognised");
                Self::default()
            }
        }
    }

    fn of(mounts: Vec<Mount>) -> Self {
        let mut by_device: HashMap<_, Vec<_>> = HashMap::new();
        for mount in mounts {
            by_device.entry(mount.device).or_default().push((mount.root, mount.point));
        }
        Self { by_device }
    }

    /// Paths at which the host may see what is mounted: a bind mount's root, below a mount of the same filesystem.
    fn places<'a>(&'a self, mount: &'a Mount) -> impl Iterator<Item = PathBuf> + 'a {
        let known = self.by_device.get(&mount.device).into_iter().flatten();
        let places = known.filter_map(|(root, point)| {
            let rest = mount.root.strip_prefix(root).ok()?;
            Some(if rest.as_os_str().is_empty() { point.clone() } else { point.join(rest) })
        });
        places.take(MAX_PLACES)
    }
}

/// Splits all mounts but the root into volumes and the rest.
pub(super) fn split(
    mounts: &[Mount],
    root_mount: u64,
    root: &Directory,
    host: &HostMounts,
    owner: Owner<'_>,
) -> (Vec<Volume>, Vec<PathBuf>) {
    let (mut volumes, mut rest) = (Vec::new(), Vec::new());
    for mount in mounts.iter().filter(|mount| mount.id != root_mount) {
        match volume(mount, root, host, owner) {
            Some(volume) => volumes.push(volume),
            None => rest.push(mount.point.clone()),
        }
    }
    rest.sort();
    rest.dedup();
    (volumes, rest)
}

fn volume(mount: &Mount, root: &Directory, host: &HostMounts, owner: Owner<'_>) -> Option<Volume> {
    if mount.read_only {
        return None;
    }
    host.places(mount).find_map(|host_path| {
        let kind = kind(&host_path, owner)?;
        is_same_directory(mount, &host_path, root).then(|| Volume {
            kind,
            mount_point: mount.point.clone(),
            host_path,
            mount_id: mount.id,
        })
    })
}

// Also settles two mounts on one point: only the one on top has the id that opening the point shows.
fn is_same_directory(mount: &Mount, host_path: &Path, root: &Directory) -> bool {
    let (Ok(inside), Ok(outside)) = (root.below(&mount.point), Directory::open(host_path)) else {
        return false;
    };
    inside.mount_id() == Some(mount.id) && inside.inode() == outside.inode()
}

fn kind(host_path: &Path, owner: Owner<'_>) -> Option<VolumeKind> {
    if host_path.components().any(|component| component == Component::ParentDir) {
        return None;
    }
    if is_empty_dir_of(host_path, owner.pod_uid) {
        return Some(VolumeKind::EmptyDir);
    }
    let allowed = owner.allowed.iter().any(|allowed| host_path.starts_with(allowed));
    allowed.then_some(VolumeKind::HostPath)
}

// …/pods/UID/volumes/kubernetes.io~empty-dir/NAME (kubelet), or a subPath below it; the pod must be this one.
fn is_empty_dir_of(host_path: &Path, pod_uid: Option<&str>) -> bool {
    let Some(pod_uid) = pod_uid else { return false };
    let parts: Vec<_> = host_path.components().filter_map(|part| part.as_os_str().to_str()).collect();
    parts.windows(5).any(|at| at[..4] == ["pods", pod_uid, "volumes", "kubernetes.io~empty-dir"])
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "2f3b8a4c-9d1e-4a77-8c55-0a1b2c3d4e5f";

    fn mount(device: &str, root: &str, point: &str) -> Mount {
        Mount {
            id: 1,
            device: device.into(),
            root: root.into(),
            point: point.into(),
            fs_type: "ext4".into(),
            read_only: false,
            options: String::new(),
        }
    }

    fn kind_for(path: &str, pod_uid: Option<&str>) -> Option<VolumeKind> {
        let allowed = [PathBuf::from("/srv/scratch")];
        kind(Path::new(path), Owner { pod_uid, allowed: &allowed })
    }

    #[test]
    fn only_this_pods_empty_dirs_are_its_own() {
        let path = format!("/var/lib/kubelet/pods/{UID}/volumes/kubernetes.io~empty-dir/cache");
        let empty_dir = |path: &str, uid| kind_for(path, uid);
        assert_eq!(empty_dir(&path, Some(UID)), Some(VolumeKind::EmptyDir));
        assert_eq!(empty_dir(&format!("{path}/sub"), Some(UID)), Some(VolumeKind::EmptyDir));
        assert_eq!(empty_dir(&path, None), None);
        assert_eq!(empty_dir(&path, Some("2f3b8a4c-9d1e-4a77-8c55-000000000000")), None);
        let directory_of_them_all = format!("/var/lib/kubelet/pods/{UID}/volumes/kubernetes.io~empty-dir");
        assert_eq!(empty_dir(&directory_of_them_all, Some(UID)), None);
        let secret = format!("/var/lib/kubelet/pods/{UID}/volumes/kubernetes.io~secret/cache");
        assert_eq!(empty_dir(&secret, Some(UID)), None);
    }

    // Also one without a name: an image's VOLUME is where databases keep what they store, and containers share it.
    #[test]
    fn a_docker_volume_is_someones_data() {
        let anonymous = format!("/var/lib/docker/volumes/{}/_data", "ab".repeat(32));
        assert_eq!(kind_for(&anonymous, None), None);
        assert_eq!(kind_for("/var/lib/docker/volumes/database/_data", None), None);
    }

    #[test]
    fn host_paths_are_allowed_by_component() {
        assert_eq!(kind_for("/srv/scratch/a", None), Some(VolumeKind::HostPath));
        assert_eq!(kind_for("/srv/scratchy", None), None);
        assert_eq!(kind_for("/srv", None), None);
        assert_eq!(kind_for("/srv/scratch/../data", None), None);
    }

    #[test]
    fn a_bind_mount_is_placed_below_each_mount_of_its_filesystem() {
        let host = HostMounts::of(vec![
            mount("8:1", "/", "/"),
            mount("8:1", "/srv/data", "/data"),
            mount("8:1", "/srv/da", "/no"),
            mount("0:50", "/", "/var/lib/kubelet/pods/x/volumes/kubernetes.io~empty-dir/mem"),
        ]);
        let places =
            |mount: &Mount| host.places(mount).map(|path| path.display().to_string()).collect::<Vec<_>>();
        assert_eq!(places(&mount("8:1", "/srv/data/x", "/in")), ["/srv/data/x", "/data/x"]);
        assert_eq!(places(&mount("8:1", "/srv/data", "/in")), ["/srv/data", "/data"]);
        assert_eq!(
            places(&mount("0:50", "/", "/in")),
            ["/var/lib/kubelet/pods/x/volumes/kubernetes.io~empty-dir/mem"]
        );
        assert!(places(&mount("9:9", "/", "/in")).is_empty());
    }

    #[test]
    fn a_mount_is_a_volume_only_where_both_sides_show_the_same_directory() {
        // This process's own root and mounts stand for the container's: / is seen at / from both sides.
        let root = Directory::open(Path::new("/")).unwrap();
        let own = mounts::read("self").unwrap();
        let slash = own.iter().find(|mount| Some(mount.id) == root.mount_id()).unwrap();
        assert!(is_same_directory(slash, Path::new("/"), &root));
        assert!(!is_same_directory(slash, Path::new("/proc"), &root));
        let covered = Mount { id: slash.id + 1_000_000, ..slash.clone() };
        assert!(!is_same_directory(&covered, Path::new("/"), &root));
    }
}
