//! Capabilities that the agent needs, one by one, and what is lost without each.

use caps::{CapSet, Capability, has_cap};

use super::{Check, State};

/// Capability, what for, whether the agent cannot run without it.
const NEEDED: &[(Capability, &str, bool)] = &[
    (Capability::CAP_BPF, "load the programs that count", true),
    (Capability::CAP_PERFMON, "attach them to kernel functions", true),
    (Capability::CAP_SYS_PTRACE, "reach a container's root through /proc/PID/root", true),
    (Capability::CAP_DAC_READ_SEARCH, "read writable layers of other users", true),
    (Capability::CAP_DAC_OVERRIDE, "remove from directories of other users", false),
    (Capability::CAP_FOWNER, "remove other users' files from sticky directories such as /tmp", false),
    (Capability::CAP_LEASE, "tell files that are open from those that are not, fast", false),
    (Capability::CAP_SETPCAP, "take capabilities away from the scan worker", false),
];

pub(super) fn checks() -> Vec<Check> {
    let lacking: Vec<_> = NEEDED.iter().filter(|(capability, ..)| !effective(*capability)).collect();
    if lacking.is_empty() {
        let names: Vec<_> = NEEDED.iter().map(|(capability, ..)| capability.to_string()).collect();
        return vec![Check::ok("capabilities", names.join(" "))];
    }
    lacking
        .into_iter()
        .map(|(capability, purpose, required)| lacks(*capability, purpose, *required))
        .collect()
}

// CAP_SYS_ADMIN contains CAP_BPF and CAP_PERFMON (capabilities(7)).
fn effective(capability: Capability) -> bool {
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
        for (capability, ..) in NEEDED {
            let bit = bits >> capability.index() & 1 == 1;
            assert_eq!(has_cap(None, CapSet::Effective, *capability).unwrap(), bit, "{capability}");
        }
    }
}
