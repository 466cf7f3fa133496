//! What the kernel side could not count or tell, counted.

/// Index into the loss map's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Loss {
    /// Operations of cgroups that had no counter slot (the map was full).
    Operations = 0,
    /// Cgroups that had no counter slot when they were first seen.
    Cgroups = 1,
    /// Creations in directories that had no place in the directory ring buffer, so were neither named nor counted
    /// by directory (they are counted by cgroup).
    Directories = 2,
    /// Cgroup events dropped: ring buffer full, or a path longer than [`crate::CGROUP_PATH_BYTES`].
    CgroupEvents = 3,
}

/// Number of losses.
pub const LOSSES: usize = 4;
