//! The kinds of operation that are counted, and the value of the counter map.

/// One kind of counted operation. Only successes count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum Kind {
    /// A regular file made by open(2) with `O_CREAT`.
    Create = 0,
    /// A file without a name (`O_TMPFILE`).
    Tmpfile = 1,
    /// A directory.
    Mkdir = 2,
    /// A node made by mknod(2): device, FIFO, socket or regular file.
    Mknod = 3,
    /// A symbolic link.
    Symlink = 4,
    /// A further name of a file (a `O_TMPFILE` file's first name included).
    Link = 5,
    /// A name removed.
    Unlink = 6,
    /// A directory removed.
    Rmdir = 7,
    /// Any successful rename; one that also removed its target is counted as [`Kind::RenameOver`] as well.
    Rename = 8,
    /// A rename that removed its target.
    RenameOver = 9,
    /// A socket node made by bind(2) of an `AF_UNIX` path.
    SockBind = 10,
}

/// Number of kinds.
pub const KINDS: usize = 11;

/// Words of one counter slot: one for each kind, and [`REMOVED`].
pub const COUNTERS: usize = 12;

/// Index of the word of a counter slot that is not a count: not 0 once the cgroup was removed, so that the reader
/// takes the last totals and frees the slot.
pub const REMOVED: usize = 11;

/// Value of the counter map, one for each cgroup and CPU. Indexed by [`Kind`].
pub type Counters = [u64; COUNTERS];

impl Kind {
    /// Every kind, in the order of the counters.
    pub const ALL: [Self; KINDS] = [
        Self::Create,
        Self::Tmpfile,
        Self::Mkdir,
        Self::Mknod,
        Self::Symlink,
        Self::Link,
        Self::Unlink,
        Self::Rmdir,
        Self::Rename,
        Self::RenameOver,
        Self::SockBind,
    ];

    /// The name used in metrics, logs and documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Tmpfile => "tmpfile",
            Self::Mkdir => "mkdir",
            Self::Mknod => "mknod",
            Self::Symlink => "symlink",
            Self::Link => "link",
            Self::Unlink => "unlink",
            Self::Rmdir => "rmdir",
            Self::Rename => "rename",
            Self::RenameOver => "rename_over",
            Self::SockBind => "sock_bind",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_own_counter() {
        for (index, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, index);
            assert_ne!(index, REMOVED);
        }
        const { assert!(KINDS < COUNTERS) };
    }
}
