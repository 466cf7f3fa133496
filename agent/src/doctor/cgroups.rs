//! cgroups: whether containers can be told apart, their pressure read, and a scan held back.

use std::fs::read_to_string;
use std::path::Path;

use super::Check;
use crate::inventory::containers_without_cgroup;
use crate::kernel::{Cgroups, Psi, cgroup_of};
use crate::scan::{LimitSupport, available_limits};

/// `scan_cgroup`: where scans would run.
pub(super) fn checks(scan_cgroup: &str) -> Vec<Check> {
    let cgroups = match Cgroups::find() {
        Ok(cgroups) => cgroups,
        Err(error) => {
            let remedy = "mount it: mount -t cgroup2 none /sys/fs/cgroup/unified (or boot with systemd.unified_cgroup_hierarchy=1)";
            return vec![Check::missing("cgroup2", error.to_string(), remedy).required()];
        }
    };
    let mut checks =
        vec![mount(&cgroups), per_container(&cgroups), pressure(&cgroups), controllers(&cgroups)];
    checks.extend(available_limits(scan_cgroup).into_iter().map(limit));
    checks
}

fn mount(cgroups: &Cgroups) -> Check {
    let kind = if cgroups.v1.is_empty() { "cgroup2 alone" } else { "hybrid, v1 beside it" };
    Check::ok("cgroup2", format!("{} ({kind})", cgroups.unified.display()))
}

/// Containers whose processes sit in the root of cgroup2 (a hybrid host whose runtime makes v1 cgroups only) cannot be
/// told apart by the kernel's counters.
fn per_container(cgroups: &Cgroups) -> Check {
    let (name, unseen) = ("container-cgroups", containers_without_cgroup(cgroups));
    if unseen == 0 {
        return Check::ok(name, "no container's process sits in the root cgroup of cgroup2");
    }
    let remedy = "let the runtime make cgroup2 cgroups: boot with systemd.unified_cgroup_hierarchy=1, or start it below one";
    Check::limited(name, format!("{unseen} processes of containers sit in the root cgroup: not seen"), remedy)
}

fn pressure(cgroups: &Cgroups) -> Check {
    let remedy = "run a kernel built with CONFIG_PSI=y, without cgroup_disable=pressure; without it sweeps of containers stop";
    let Some(path) = cgroup_of("self").ok().filter(|path| path != "/") else {
        // The root cgroup has no pressure files; where the node has them, so has every other cgroup.
        let result =
            Path::new("/proc/pressure").exists().then(|| "expected: the node's can be read".to_owned());
        return Check::of("cgroup-psi", result.ok_or("no pressure files".into()), remedy);
    };
    let result =
        Psi::of_cgroup(&cgroups.directory(&path)).map(|_| "containers' pressure can be read".to_owned());
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

fn limit(support: LimitSupport) -> Check {
    let remedy = "give the controller to podsweep's cgroup, or set scan.allowMissingLimits in the policy";
    let name = format!("limit-{}", support.limit);
    if let Some(problem) = support.problem {
        return Check::limited(&name, problem, remedy);
    }
    // A disk that needs no limit (tmpfs) has no file, and no problem either.
    let files: Vec<_> = support.files.iter().map(|(file, value)| format!("{file}={value}")).collect();
    Check::ok(&name, if files.is_empty() { "not needed for this disk".into() } else { files.join(", ") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;

    #[test]
    fn a_limit_that_cannot_be_had_says_why_and_what_would_help() {
        let support = |problem: Option<&str>| LimitSupport {
            limit: "io",
            files: vec![("io.max".into(), "8:0 rbps=1".into())],
            v2: true,
            problem: problem.map(Into::into),
        };
        assert_eq!(limit(support(None)).detail, "io.max=8:0 rbps=1");
        let check = limit(support(Some("controller io is not enabled")));
        assert_eq!(check.state, State::Limited);
        assert!(check.remedy.is_some_and(|remedy| remedy.contains("allowMissingLimits")));
    }
}
