//! Where the cgroup hierarchies are mounted, and a container's signs of life in them. Works on cgroup2 alone and on
//! a hybrid host (controllers on v1, cgroup2 beside them).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{KernelError, read};

/// The mounted hierarchies, from `/proc/self/mountinfo`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cgroups {
    /// Mount point of cgroup2.
    pub unified: PathBuf,
    /// Mount point of each v1 controller (`memory`, `cpu`, `blkio`, `pids`, `freezer`, …).
    pub v1: BTreeMap<String, PathBuf>,
}

/// What a container's cgroups say of it. `None`: no such file on this host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CgroupSigns {
    /// Processes killed by the OOM killer since the cgroup was made (`memory.events`, or v1 `memory.oom_control`).
    pub oom_kills: Option<u64>,
    /// Frozen now (`cgroup.events`, or v1 `freezer.state`).
    pub frozen: Option<bool>,
    /// Has processes (`cgroup.events`).
    pub populated: Option<bool>,
}

impl Cgroups {
    /// As this process sees them.
    pub fn find() -> Result<Self, KernelError> {
        let path = PathBuf::from("/proc/self/mountinfo");
        let text = read(&path)?;
        parse_mounts(&text).ok_or(KernelError::Parse { path, what: "no cgroup2 mount".into() })
    }

    /// Directory of a cgroup in cgroup2, from its path in `/proc/PID/cgroup`.
    pub fn directory(&self, cgroup_path: &str) -> PathBuf {
        self.unified.join(cgroup_path.trim_start_matches('/'))
    }

    /// Signs of the container whose first process is `pid`, in whichever hierarchy has them.
    pub fn signs(&self, cgroup_path: &str, pid: i32) -> CgroupSigns {
        let directory = self.directory(cgroup_path);
        let events = read(directory.join("cgroup.events")).ok();
        let event = |key: &str| events.as_deref().and_then(|text| field(text, key));
        let v1_paths = read(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let v1 = |controller: &str| self.v1_directory(&v1_paths, controller);
        let v1_frozen = || Some(read(v1("freezer")?.join("freezer.state")).ok()?.trim() != "THAWED");
        CgroupSigns {
            oom_kills: read(directory.join("memory.events"))
                .ok()
                .or_else(|| read(v1("memory")?.join("memory.oom_control")).ok())
                .and_then(|text| field(&text, "oom_kill")),
            // On a hybrid host either freezer can hold the container still.
            frozen: match (event("frozen").map(|value| value == 1), v1_frozen()) {
                (None, None) => None,
                (v2, v1) => Some(v2 == Some(true) || v1 == Some(true)),
            },
            populated: event("populated").map(|value| value == 1),
        }
    }

    fn v1_directory(&self, proc_cgroup: &str, controller: &str) -> Option<PathBuf> {
        let mount = self.v1.get(controller)?;
        proc_cgroup.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':');
            let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
            controllers
                .split(',')
                .any(|name| name == controller)
                .then(|| mount.join(path.trim_start_matches('/')))
        })
    }
}

fn field(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

fn parse_mounts(mountinfo: &str) -> Option<Cgroups> {
    let mut unified = None;
    let mut v1 = BTreeMap::new();
    for line in mountinfo.lines() {
        let Some((before, after)) = line.split_once(" - ") else { continue };
        let Some(mount_point) = before.split(' ').nth(4).map(Path::new) else { continue };
        let mut after = after.split(' ');
        match after.next() {
            Some("cgroup2") => unified = unified.or(Some(mount_point.to_path_buf())),
            Some("cgroup") => {
                for option in after.nth(1).unwrap_or_default().split(',') {
                    v1.entry(option.to_owned()).or_insert_with(|| mount_point.to_path_buf());
                }
            }
            _ => {}
        }
    }
    v1.retain(|option, _| !matches!(option.as_str(), "rw" | "ro"));
    Some(Cgroups { unified: unified?, v1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hybrid_mounts_are_told_apart() {
        let text = "33 31 0:30 / /sys/fs/cgroup/cpuacct rw,relatime - cgroup cgroup rw,cpuacct\n\
                    41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
        let found = parse_mounts(text).unwrap();
        assert_eq!(found.unified, Path::new("/sys/fs/cgroup/unified"));
        assert_eq!(found.v1.keys().collect::<Vec<_>>(), ["cpuacct"]);
        assert_eq!(parse_mounts("22 27 0:21 / /proc rw - proc proc rw\n"), None);
    }

    #[test]
    fn a_key_is_matched_whole() {
        let text = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n";
        assert_eq!(field(text, "oom_kill"), Some(3));
    }
}
