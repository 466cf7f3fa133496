//! Names of cgroups, which a container's owner chooses below the container's own, and what a person writes as TARGET.

#![no_main]

use libfuzzer_sys::fuzz_target;
use podsweep::fuzzing::{cgroups_above, container_of_cgroup, is_cgroup_within};
use podsweep::inventory::{Runtime, Target};

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// What the runtimes write before the id, with systemd's suffix.
const SCOPES: [(&str, Runtime); 5] = [
    ("cri-containerd-", Runtime::Containerd),
    ("nerdctl-", Runtime::Containerd),
    ("docker-", Runtime::Docker),
    ("crio-", Runtime::Crio),
    ("libpod-", Runtime::Podman),
];

fuzz_target!(|path: &str| {
    if let Some((runtime, id, pod_uid)) = container_of_cgroup(path) {
        assert_ne!(runtime, Runtime::Unit);
        is_the_last_name(path, &id);
        pod_uid.iter().for_each(|uid| is_written_above(path, uid));
    }
    chain_ends_at_the_root(path);
    found_below_anything(path);
    if let Ok(target) = path.parse::<Target>() {
        assert_eq!(target.to_string().parse(), Ok(target), "{path:?}");
    }
});

fn is_the_last_name(path: &str, id: &str) {
    assert!(id.len() == ID.len() && id.chars().all(|digit| ID.contains(digit)), "{id:?}");
    let last = path.strip_suffix(".scope").unwrap_or(path);
    assert!(last.ends_with(id), "{id} is not at the end of {path:?}");
}

fn is_written_above(path: &str, uid: &str) {
    assert!(uid.chars().all(|digit| digit == '-' || digit.is_ascii_hexdigit()), "{uid:?}");
    let (above, _) = path.rsplit_once('/').expect("a container's cgroup is below another");
    assert!(above.replace('_', "-").contains(&format!("pod{uid}")), "{uid} is not in {above:?}");
}

fn chain_ends_at_the_root(path: &str) {
    let mut below = path;
    for above in cgroups_above(path) {
        assert!(above.len() < below.len() && is_cgroup_within(below, above), "{above:?} of {below:?}");
        below = above;
    }
}

/// Wherever a runtime puts a container (in a container, too), it is found; what lies below it is not another.
fn found_below_anything(parent: &str) {
    for (prefix, runtime) in SCOPES {
        let container = format!("{parent}/{prefix}{ID}.scope");
        let found = container_of_cgroup(&container).map(|(runtime, id, _)| (runtime, id));
        assert_eq!(found, Some((runtime, ID.to_owned())), "{container:?}");
        assert_eq!(container_of_cgroup(&format!("{container}/init.scope")), None, "below {container:?}");
    }
}
