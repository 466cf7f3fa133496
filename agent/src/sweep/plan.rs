//! What one sweep is to do, and where its scan looks.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::readlinkat;

use super::identity::hold;
use super::view::View;
use crate::inventory::{Container, VolumeKind};
use crate::policy::{JunkRule, Mode, SweepPolicy};
use crate::scan::ScanRoot;

/// Notes kept of one sweep, and links followed for one note. A policy has few prefixes; more would drown the rest.
const MAX_NOTES: usize = 32;

/// One sweep of one container (or of one directory).
#[derive(Debug, Clone)]
pub struct Plan {
    /// The sweep's id (ULID).
    pub id: String,
    /// Which container; `None` for a plain directory (`dir:PATH`).
    pub container: Option<Arc<Container>>,
    /// By which policy.
    pub policy: Arc<SweepPolicy>,
    /// How far to go; `Observe` is refused.
    pub mode: Mode,
    /// Where to look: [`plan_roots`] or [`directory_root`].
    pub roots: Vec<ScanRoot>,
    /// Deny lists, as the container sees the paths: the node's first, then the policy's own.
    pub never: Vec<String>,
}

impl Plan {
    /// The path of something below a root as the container sees it.
    pub(super) fn seen_path(&self, root: u16, path: &[u8]) -> Vec<u8> {
        let seen_at =
            self.roots.get(usize::from(root)).map_or(&b"/"[..], |root| root.seen_at.as_os_str().as_bytes());
        let mut seen = seen_at.to_vec();
        if !seen.ends_with(b"/") {
            seen.push(b'/');
        }
        seen.extend_from_slice(path);
        seen
    }
}

/// The trees of a container in which one of the rules may look: its writable layer, and the volumes of the kinds
/// that a rule names. Whatever is mounted inside a tree is named in it, so that the scan does not enter.
pub fn plan_roots(container: &Container, rules: &[JunkRule]) -> Vec<ScanRoot> {
    let named = |kind: VolumeKind| rules.iter().any(|rule| rule.volumes.contains(&kind));
    let mounts_below = |seen_at: &Path| -> Vec<PathBuf> {
        let volumes = container.volumes.iter().map(|volume| &volume.mount_point);
        let all = volumes.chain(&container.other_mounts);
        all.filter(|mount| mount.starts_with(seen_at) && *mount != seen_at).cloned().collect()
    };
    let layer = container.layer.iter().filter(|_| named(VolumeKind::WritableLayer)).map(|layer| ScanRoot {
        kind: VolumeKind::WritableLayer,
        host: layer.upper.clone(),
        seen_at: PathBuf::from("/"),
        lower: layer.lower.clone(),
        mounts: mounts_below(Path::new("/")),
    });
    let volumes = container.volumes.iter().filter(|volume| named(volume.kind)).map(|volume| ScanRoot {
        kind: volume.kind,
        host: volume.host_path.clone(),
        seen_at: volume.mount_point.clone(),
        lower: Vec::new(),
        mounts: mounts_below(&volume.mount_point),
    });
    // The index of a root is a u16 in every candidate.
    layer.chain(volumes).take(usize::from(u16::MAX)).collect()
}

/// A plain directory, which stands for the root of a container: a rule's `/tmp/**` means `PATH/tmp/**`.
pub fn directory_root(path: &Path) -> ScanRoot {
    ScanRoot {
        kind: VolumeKind::WritableLayer,
        host: path.to_path_buf(),
        seen_at: PathBuf::from("/"),
        lower: Vec::new(),
        mounts: Vec::new(),
    }
}

/// `PrefixIsSymlink` notes: rules whose literal prefix leads through a symlink in the container match nothing there,
/// and their author should know what to write instead.
pub(super) fn prefix_notes(plan: &Plan, view: &View) -> Vec<String> {
    let layers = plan.roots.iter().zip(0..).filter(|(root, _)| root.kind == VolumeKind::WritableLayer);
    let roots: Vec<_> = layers.filter_map(|(_, index)| view.merged_root(index)).collect();
    let mut notes = Vec::new();
    for rule in &plan.policy.spec.junk {
        for prefix in rule.paths.iter().map(|pattern| literal_prefix(pattern)) {
            for root in &roots {
                notes.extend(symlink_on_the_way(*root, &prefix).map(|(at, to)| {
                    let (at, name) = (format!("/{}", at.display()), &rule.name);
                    format!(
                        "PrefixIsSymlink: {at} -> {} (rule {name}): write the path it points to",
                        to.display()
                    )
                }));
            }
        }
    }
    notes.sort_unstable();
    notes.dedup();
    notes.truncate(MAX_NOTES);
    notes
}

/// The components before the first one with a glob character, without the leading slash.
pub(super) fn literal_prefix(pattern: &str) -> PathBuf {
    let components = pattern.split('/').filter(|component| !component.is_empty());
    components.take_while(|component| !component.contains(['*', '?', '[', ']', '{', '}', '\\'])).collect()
}

// Each step is one entry of the directory before, never another mount: it may be one that never answers. This is a
// note for people, nothing is decided by it.
fn symlink_on_the_way(root: BorrowedFd<'_>, prefix: &Path) -> Option<(PathBuf, PathBuf)> {
    let mut at = PathBuf::new();
    let mut directory: Option<OwnedFd> = None;
    for component in prefix.components() {
        at.push(component);
        let from = directory.as_ref().map_or(root, AsFd::as_fd);
        let entry = hold(from, component.as_os_str().as_bytes()).ok()?;
        if let Ok(target) = readlinkat(&entry, "", Vec::new()) {
            return Some((at, PathBuf::from(std::ffi::OsStr::from_bytes(target.as_bytes()))));
        }
        directory = Some(entry);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::test_bed::{policy, rule};
    use super::*;
    use crate::inventory::{CgroupId, Layer, Names, Process, Runtime, Volume};

    fn container() -> Container {
        let volume = |kind, at: &str, mount_id| Volume {
            kind,
            mount_point: at.into(),
            host_path: PathBuf::from("/host").join(&at[1..]),
            mount_id,
        };
        Container {
            cgroup: CgroupId(1),
            cgroup_path: "/c".into(),
            nested: Vec::new(),
            runtime: Runtime::Other,
            id: "c".into(),
            names: Names::default(),
            first: Process { pid: 1, start_time: 1 },
            layer: Some(Layer { upper: "/up".into(), lower: vec!["/low".into()], mount_id: 7 }),
            volumes: vec![
                volume(VolumeKind::EmptyDir, "/cache", 8),
                volume(VolumeKind::HostPath, "/data", 9),
            ],
            other_mounts: vec!["/proc".into(), "/cache/deep".into()],
        }
    }

    #[test]
    fn only_the_kinds_that_a_rule_names_are_looked_at() {
        let mut one = rule("scratch", "/tmp/**");
        let roots = plan_roots(&container(), std::slice::from_ref(&one));
        assert_eq!(roots.len(), 1);
        assert_eq!((&roots[0].host, &roots[0].lower), (&PathBuf::from("/up"), &vec![PathBuf::from("/low")]));
        let inside: Vec<PathBuf> =
            ["/cache", "/data", "/proc", "/cache/deep"].iter().map(PathBuf::from).collect();
        assert_eq!(roots[0].mounts, inside);
        one.volumes = vec![VolumeKind::EmptyDir];
        let roots = plan_roots(&container(), &[one]);
        assert_eq!(roots.len(), 1);
        assert_eq!(
            (&roots[0].host, &roots[0].seen_at),
            (&PathBuf::from("/host/cache"), &PathBuf::from("/cache"))
        );
        assert_eq!(roots[0].mounts, [PathBuf::from("/cache/deep")]);
    }

    #[test]
    fn a_prefix_that_is_a_symlink_is_told() {
        let top = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(top.path().join("run")).unwrap();
        std::fs::create_dir_all(top.path().join("var")).unwrap();
        std::os::unix::fs::symlink("/run", top.path().join("var/run")).unwrap();
        let rules = vec![rule("pids", "/var/run/*.pid"), rule("tmp", "/tmp/**")];
        let plan = Plan {
            id: "1".into(),
            container: None,
            policy: policy(rules),
            mode: Mode::DryRun,
            roots: vec![directory_root(top.path())],
            never: Vec::new(),
        };
        let view = View::of_directories(&plan.roots).unwrap();
        let notes = prefix_notes(&plan, &view);
        assert_eq!(notes, ["PrefixIsSymlink: /var/run -> /run (rule pids): write the path it points to"]);
    }
}
