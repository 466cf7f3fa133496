//! The ways to count, best first.

use std::fmt;
use std::path::Path;

/// One way to count. All have the same counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tier {
    /// Creations by the BPF LSM, which misses nothing; the rest by fexit.
    Lsm,
    /// Everything by fexit, which may miss operations on preemptible kernels (counted as recursion misses).
    Fexit,
    /// Everything by the return of system calls; needs no trampoline.
    SysExit,
}

impl Tier {
    /// In the order in which they are tried.
    pub const ALL: [Self; 3] = [Self::Lsm, Self::Fexit, Self::SysExit];

    /// The name used in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lsm => "lsm",
            Self::Fexit => "fexit",
            Self::SysExit => "sys_exit",
        }
    }

    /// Why there is no point in trying, where that is known beforehand.
    pub(super) fn excluded(self) -> Option<String> {
        let list = Path::new("/sys/kernel/security/lsm");
        match std::fs::read_to_string(list) {
            Ok(active) if self == Self::Lsm && !active.trim().split(',').any(|name| name == "bpf") => {
                Some(format!("{} does not name bpf: boot with lsm={},bpf", list.display(), active.trim()))
            }
            // Where securityfs is not mounted, trying tells.
            _ => None,
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
