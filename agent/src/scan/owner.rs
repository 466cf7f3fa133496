//! Whose a scan's cgroup is, written into its name: `scan-PID-STARTTIME-NUMBER` of the process that made it.
//!
//! So one podsweep never takes another's running scan for a leftover (an agent starts while somebody runs
//! `podsweep scan`), and a leftover is one whose owner is gone. Pids are the host's: podsweep runs in the host's pid
//! namespace, as it must for `/proc/PID/root`.

use crate::inventory::Process;
use crate::kernel::{self, KernelError};

/// The process that made a scan's cgroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owner(Process);

impl Owner {
    pub(super) fn this_process() -> Result<Self, KernelError> {
        // The kernel's pids are positive and fit.
        kernel::process(std::process::id().cast_signed()).map(Self)
    }

    /// Name of this owner's scan number `number`.
    pub(super) fn cgroup_name(self, number: u32) -> String {
        format!("scan-{}-{}-{number}", self.0.pid, self.0.start_time)
    }

    /// The owner in a cgroup's name; `None`: not a scan's cgroup.
    pub(super) fn from_cgroup_name(name: &str) -> Option<Self> {
        let mut parts = name.strip_prefix("scan-")?.split('-');
        let owner = Process { pid: parts.next()?.parse().ok()?, start_time: parts.next()?.parse().ok()? };
        let _number: u32 = parts.next()?.parse().ok()?;
        parts.next().is_none().then_some(Self(owner))
    }

    /// Whether that very process still runs.
    pub(super) fn is_alive(self) -> bool {
        kernel::start_time(self.0.pid).is_ok_and(|start_time| start_time == self.0.start_time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_tells_the_owner() {
        let owner = Owner::this_process().unwrap();
        assert_eq!(Owner::from_cgroup_name(&owner.cgroup_name(7)), Some(owner));
        assert!(owner.is_alive());
        let other = Process { start_time: owner.0.start_time + 1, ..owner.0 };
        assert!(!Owner(other).is_alive(), "a pid used again is somebody else");
    }

    #[test]
    fn other_names_are_nobodys() {
        for name in ["scan-", "scan-1-2", "scan-1-2-3-4", "scan-x-2-3", "user.slice"] {
            assert_eq!(Owner::from_cgroup_name(name), None, "{name}");
        }
    }
}
