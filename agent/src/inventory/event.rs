//! What the kernel tells of the cgroup tree, as far as the inventory wants to know.

use super::CgroupId;

/// A cgroup of cgroup2 came or went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CgroupEvent {
    /// Made.
    Made {
        /// Its id.
        id: CgroupId,
        /// Its path below the cgroup2 mount, all of it: a path that was cut short is not found before the next rescan.
        path: String,
    },
    /// Removed.
    Removed {
        /// Its id.
        id: CgroupId,
    },
}
