//! Which cgroup a process is in, by its path in the mounted cgroup2 hierarchy.
//!
//! The kernel shows paths in `/proc/PID/cgroup` relative to the root of the reader's cgroup namespace: `/../../x` for
//! what lies outside (cgroup_namespaces(7)). Runtimes give each container such a namespace on cgroup2 alone, unless it is
//! privileged, and Kubernetes has no word against it; so the agent in a pod has one, and sees the host's hierarchy only
//! where that is mounted for it.
//!
//! In: a process. Out: its cgroup's path, whoever reads it. Must never: take a path for another process's view of it.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::{Cgroups, KernelError, read};

/// `PROC_CGROUP_INIT_INO` of include/linux/proc_ns.h: the first cgroup namespace, the host's.
const HOST_NAMESPACE: &str = "cgroup:[4026531835]";

/// Cgroups that are looked through for our own, once at the start. A busy Kubernetes node has some 3,000.
const MAX_CGROUPS: usize = 65_536;

/// Where this process's cgroup namespace begins, as the mounted hierarchy has it: `/` on the host. It never changes: no
/// part of podsweep enters another namespace.
pub fn namespace_root() -> &'static str {
    static ROOT: OnceLock<String> = OnceLock::new();
    ROOT.get_or_init(|| {
        find().unwrap_or_else(|error| {
            tracing::warn!(%error, "where the own cgroup namespace begins is unknown: taken for the host's");
            "/".to_owned()
        })
    })
}

/// Path in cgroup2 of the process `who` (`self`, `thread-self`, or a pid).
pub fn cgroup_of(who: &str) -> Result<String, KernelError> {
    shown_of(who).map(|shown| resolve(namespace_root(), &shown))
}

/// As the kernel shows it to us.
fn shown_of(who: &str) -> Result<String, KernelError> {
    let path = Path::new("/proc").join(who).join("cgroup");
    let text = read(&path)?;
    match unified(&text) {
        Some(shown) => Ok(shown.to_owned()),
        None => Err(KernelError::Parse { path, what: "no line for cgroup2 (`0::`)".into() }),
    }
}

fn unified(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("0::"))
}

/// What `shown` means where `root` is the namespace's.
fn resolve(root: &str, shown: &str) -> String {
    if root == "/" {
        return shown.to_owned();
    }
    let mut parts: Vec<&str> = root.split('/').filter(|part| !part.is_empty()).collect();
    for part in shown.split('/').filter(|part| !part.is_empty()) {
        match part {
            ".." => _ = parts.pop(),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

fn find() -> Result<String, KernelError> {
    let link = PathBuf::from("/proc/self/ns/cgroup");
    let namespace = std::fs::read_link(&link).map_err(|source| KernelError::Read { path: link, source })?;
    if namespace == Path::new(HOST_NAMESPACE) {
        return Ok("/".to_owned());
    }
    let mounted = Cgroups::find()?.unified;
    let own = holder(&mounted, std::process::id()).ok_or_else(|| KernelError::Parse {
        path: mounted,
        what: "this process is in none of its cgroups: mount the host's cgroup2 there".into(),
    })?;
    Ok(without_end(&own, &shown_of("self")?))
}

/// Path of the cgroup that has this process, by a walk from the hierarchy's root.
fn holder(mounted: &Path, pid: u32) -> Option<String> {
    let mut open = VecDeque::from([PathBuf::new()]);
    let mut seen = 0;
    while let Some(path) = open.pop_front() {
        let directory = mounted.join(&path);
        let processes = std::fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
        if processes.lines().any(|line| line.parse() == Ok(pid)) {
            return path.to_str().map(|path| format!("/{path}"));
        }
        let below = std::fs::read_dir(&directory).into_iter().flatten().flatten();
        let below = below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        for entry in below.take(MAX_CGROUPS.saturating_sub(seen)) {
            seen += 1;
            open.push_back(path.join(entry.file_name()));
        }
    }
    None
}

/// `own` without its last components, which are those of `shown`: where the namespace begins that shows it so.
fn without_end(own: &str, shown: &str) -> String {
    let root = own.strip_suffix(shown.trim_end_matches('/')).unwrap_or(own);
    if root.is_empty() { "/".to_owned() } else { root.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_cgroup2_is_told_from_those_of_v1() {
        assert_eq!(unified("4:memory:/a\n0::/b c\n"), Some("/b c"));
        assert_eq!(unified("4:memory:/a\n"), None);
    }

    #[test]
    fn paths_are_told_from_the_namespaces_root() {
        for (root, shown, expected) in [
            ("/", "/pods/a", "/pods/a"),
            ("/pods/agent/c", "/", "/pods/agent/c"),
            ("/pods/agent/c", "/scan-1", "/pods/agent/c/scan-1"),
            ("/pods/agent/c", "/../../shop/d", "/pods/shop/d"),
            ("/pods/agent/c", "/../../..", "/"),
            ("/pods/agent/c", "/../../../../above", "/above"),
        ] {
            assert_eq!(resolve(root, shown), expected, "{shown} seen from {root}");
        }
    }

    #[test]
    fn a_namespace_begins_above_what_it_shows() {
        assert_eq!(without_end("/pods/agent/c", "/"), "/pods/agent/c");
        assert_eq!(without_end("/pods/agent/c/leaf", "/leaf"), "/pods/agent/c");
        assert_eq!(without_end("/leaf", "/leaf"), "/");
    }

    #[test]
    fn who_holds_a_process_is_found_by_looking() {
        let mounted = tempfile::tempdir().unwrap();
        let below = mounted.path().join("pods/agent");
        std::fs::create_dir_all(&below).unwrap();
        std::fs::write(mounted.path().join("cgroup.procs"), "1\n").unwrap();
        std::fs::write(below.join("cgroup.procs"), "11\n12\n").unwrap();
        assert_eq!(holder(mounted.path(), 12).as_deref(), Some("/pods/agent"));
        assert_eq!(holder(mounted.path(), 1).as_deref(), Some("/"));
        assert_eq!(holder(mounted.path(), 2), None);
    }

    #[test]
    fn the_own_cgroup_is_where_the_hierarchy_has_this_process() {
        let own = Cgroups::find().unwrap().directory(&cgroup_of("self").unwrap());
        let processes = read(own.join("cgroup.procs")).unwrap();
        assert!(processes.lines().any(|line| line.parse() == Ok(std::process::id())), "{own:?}: {processes}");
        assert!(cgroup_of("4194305").is_err(), "past the kernel's largest pid");
    }
}
