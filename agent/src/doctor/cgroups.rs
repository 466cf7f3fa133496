//! cgroups: whether containers can be told apart, their pressure read, and a scan held back.

use std::fs::read_to_string;
use std::path::Path;

use super::{Check, State};
use crate::cli::pending;
use crate::kernel::{Cgroups, Psi};

/// Processes looked at for a cgroup of their own; a node with more has surely shown one by then.
const MAX_PROCESSES: usize = 65_536;

pub(super) fn checks() -> Vec<Check> {
    let cgroups = match Cgroups::find() {
        Ok(cgroups) => cgroups,
        Err(error) => {
            let remedy = "mount it: mount -t cgroup2 none /sys/fs/cgroup/unified (or boot with systemd.unified_cgroup_hierarchy=1)";
            return vec![Check::missing("cgroup2", error.to_string(), remedy).required()];
        }
    };
    let mut checks =
        vec![mount(&cgroups), per_container(Path::new("/proc")), pressure(&cgroups), controllers(&cgroups)];
    checks.extend(pending::scan_limits().into_iter().map(limit));
    checks
}

fn mount(cgroups: &Cgroups) -> Check {
    let kind = if cgroups.v1.is_empty() { "cgroup2 alone" } else { "hybrid, v1 beside it" };
    Check::ok("cgroup2", format!("{} ({kind})", cgroups.unified.display()))
}

/// Containers whose processes sit in the root of cgroup2 (a hybrid host whose runtime makes v1 cgroups only) cannot be
/// told apart by the kernel's counters.
fn per_container(proc: &Path) -> Check {
    let name = "container-cgroups";
    let Ok(entries) = proc.read_dir() else {
        return Check::missing(name, "cannot list /proc", "mount /proc, without hidepid");
    };
    let in_root = entries
        .flatten()
        .take(MAX_PROCESSES)
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(|c: char| c.is_ascii_digit()))
        .filter(|entry| is_unseen_container(&entry.path()))
        .count();
    if in_root == 0 {
        return Check::ok(name, "no container's process sits in the root cgroup of cgroup2");
    }
    let remedy = "let the runtime make cgroup2 cgroups: boot with systemd.unified_cgroup_hierarchy=1, or start it below one";
    Check::limited(
        name,
        format!("{in_root} processes with an overlay root sit in the root cgroup: not seen"),
        remedy,
    )
}

fn is_unseen_container(process: &Path) -> bool {
    let text = |file| read_to_string(process.join(file)).unwrap_or_default();
    // The unified hierarchy's line; the root cgroup is a bare slash.
    text("cgroup").lines().any(|line| line == "0::/") && text("mountinfo").lines().any(is_overlay_root)
}

// Field 5 of mountinfo is the mount point, the first after the lone hyphen the filesystem's type.
fn is_overlay_root(line: &str) -> bool {
    let Some((before, after)) = line.split_once(" - ") else { return false };
    before.split(' ').nth(4) == Some("/") && after.split(' ').next() == Some("overlay")
}

fn pressure(cgroups: &Cgroups) -> Check {
    let remedy = "run a kernel built with CONFIG_PSI=y, without cgroup_disable=pressure; without it sweeps of containers stop";
    let own = read_to_string("/proc/self/cgroup").unwrap_or_default();
    let Some(path) = own.lines().find_map(|line| line.strip_prefix("0::")).filter(|path| *path != "/") else {
        // The root cgroup has no pressure files; where the node has them, so has every other cgroup.
        let result =
            Path::new("/proc/pressure").exists().then(|| "expected: the node's can be read".to_owned());
        return Check::of("cgroup-psi", result.ok_or("no pressure files".into()), remedy);
    };
    let result =
        Psi::of_cgroup(&cgroups.directory(path)).map(|_| "containers' pressure can be read".to_owned());
    Check::of("cgroup-psi", result.map_err(|error| error.to_string()), remedy)
}

fn controllers(cgroups: &Cgroups) -> Check {
    let name = "controllers";
    let v2 = read_to_string(cgroups.unified.join("cgroup.controllers")).unwrap_or_default();
    let has = |v2_name: &str, v1_name: &str| {
        v2.split_whitespace().any(|controller| controller == v2_name) || cgroups.v1.contains_key(v1_name)
    };
    let wanted = [("cpu", "cpu"), ("io", "blkio"), ("memory", "memory"), ("pids", "pids")];
    let absent: Vec<_> = wanted.iter().filter(|(v2, v1)| !has(v2, v1)).map(|(v2, _)| *v2).collect();
    let v1: Vec<_> = cgroups.v1.keys().map(String::as_str).collect();
    let found = format!("cgroup2: {}; v1: {}", or_none(v2.trim()), or_none(&v1.join(" ")));
    if absent.is_empty() {
        return Check::ok(name, found);
    }
    let remedy = "enable them on the kernel's command line, or set scan.allowMissingLimits in the policy";
    Check::limited(name, format!("no {}; {found}", absent.join(", ")), remedy)
}

fn or_none(text: &str) -> &str {
    if text.is_empty() { "none" } else { text }
}

fn limit(support: pending::LimitSupport) -> Check {
    let remedy = "give the controller to podsweep's cgroup, or set scan.allowMissingLimits in the policy";
    let name = format!("limit-{}", support.file);
    match support.available {
        Ok(()) => Check::ok(&name, "available to scans"),
        Err(why) => Check { state: State::Limited, ..Check::missing(&name, why, remedy) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overlay_on_the_root_is_told_from_one_elsewhere() {
        assert!(is_overlay_root("66 33 0:51 / / rw,relatime master:1 - overlay overlay rw,lowerdir=/l"));
        assert!(!is_overlay_root("66 33 0:51 / /mnt rw,relatime - overlay overlay rw,lowerdir=/l"));
        assert!(!is_overlay_root("66 33 8:1 / / rw,relatime - ext4 /dev/sda1 rw"));
        assert!(!is_overlay_root("nonsense"));
    }

    #[test]
    fn a_container_in_the_root_cgroup_is_counted() {
        let proc = tempfile::tempdir().unwrap();
        for (pid, cgroup) in [("7", "1:cpu:/x\n0::/\n"), ("8", "0::/docker/abc\n")] {
            std::fs::create_dir(proc.path().join(pid)).unwrap();
            std::fs::write(proc.path().join(pid).join("cgroup"), cgroup).unwrap();
            let mountinfo = "66 33 0:51 / / rw - overlay overlay rw\n";
            std::fs::write(proc.path().join(pid).join("mountinfo"), mountinfo).unwrap();
        }
        let check = per_container(proc.path());
        assert_eq!(check.state, State::Limited);
        assert!(check.detail.starts_with("1 processes"), "{}", check.detail);
    }
}
