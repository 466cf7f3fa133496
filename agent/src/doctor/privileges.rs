//! Capabilities that podsweep's processes need, one by one, and what is lost without each.

use caps::{CapSet, Capability, has_cap};

use super::{Check, State};
use crate::confinement::{Kept, Role};

/// Without these the agent cannot run; without the others it does less.
const REQUIRED: [Capability; 4] = [
    Capability::CAP_BPF,
    Capability::CAP_PERFMON,
    Capability::CAP_SYS_PTRACE,
    Capability::CAP_DAC_READ_SEARCH,
];

/// Each once. `CAP_SYS_RESOURCE` is left out: kernels from 5.11 on do without, and loading says so where it is missed.
fn needed() -> impl Iterator<Item = &'static Kept> {
    let all = Role::Start.keeps().chain(Role::Deleter.keeps());
    all.filter(|kept| kept.capability != Capability::CAP_SYS_RESOURCE)
}

pub(super) fn checks() -> Vec<Check> {
    let lacking: Vec<_> = needed().filter(|kept| !effective(kept.capability)).collect();
    if lacking.is_empty() {
        let names: Vec<_> = needed().map(|kept| kept.capability.to_string()).collect();
        return vec![Check::ok("capabilities", names.join(" "))];
    }
    lacking
        .into_iter()
        .map(|kept| lacks(kept.capability, kept.why, REQUIRED.contains(&kept.capability)))
        .collect()
}

// CAP_SYS_ADMIN contains CAP_BPF and CAP_PERFMON (capabilities(7)).
pub(super) fn effective(capability: Capability) -> bool {
    let has = |capability| has_cap(None, CapSet::Effective, capability).unwrap_or(false);
    let contained = matches!(capability, Capability::CAP_BPF | Capability::CAP_PERFMON);
    has(capability) || (contained && has(Capability::CAP_SYS_ADMIN))
}

fn lacks(capability: Capability, purpose: &str, required: bool) -> Check {
    let remedy = format!(
        "run as root, or add {capability} (systemd: AmbientCapabilities=; Kubernetes: securityContext.capabilities.add)"
    );
    let state = if required { State::Missing } else { State::Limited };
    let check = Check::missing(
        "capabilities",
        format!("{capability} is not effective: needed to {purpose}"),
        &remedy,
    );
    Check { state, required, ..check }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lacking_capability_is_named_with_its_purpose() {
        let check = lacks(Capability::CAP_BPF, "load", true);
        assert!(check.detail.contains("CAP_BPF") && check.detail.contains("load"), "{check:?}");
        assert!(check.forbids_running());
        assert!(!lacks(Capability::CAP_LEASE, "tell", false).forbids_running());
    }

    #[test]
    fn the_check_agrees_with_the_kernels_own_list() {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let bits = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap().trim();
        let bits = u64::from_str_radix(bits, 16).unwrap();
        for Kept { capability, .. } in needed() {
            let bit = bits >> capability.index() & 1 == 1;
            assert_eq!(has_cap(None, CapSet::Effective, *capability).unwrap(), bit, "{capability}");
        }
    }
}
