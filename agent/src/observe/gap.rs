//! What a tier cannot see on a kernel.
//!
//! Comes in: which gap, and why it is one here. Goes out: a word for metrics and programs, a sentence and a remedy
//! for people. Must never: stand for a loss. What was seen and could not be kept is counted in [`super::Loss`].

use std::fmt;

/// One thing that goes unseen here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Which.
    pub id: GapId,
    /// Why it is so on this kernel, in this tier.
    pub reason: String,
}

/// Everything that can go unseen, in any tier on any kernel: the values of a metric's label, so their number is
/// bounded by this list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GapId {
    /// Whatever io_uring does.
    IoUring,
    /// Files that the kernel makes by itself, above all core dumps.
    CoreDump,
    /// Files whose descriptor is swapped as open(2) returns.
    SwappedDescriptor,
    /// Socket nodes made through socketcall(2).
    Socketcall,
    /// The names of directories in which something other than a file is made.
    DirectoriesBeyondOpen,
    /// New directories.
    Mkdir,
    /// New nodes.
    Mknod,
    /// New symbolic links.
    Symlink,
    /// New hard links.
    Link,
    /// Removed directories.
    Rmdir,
    /// Renames.
    Rename,
    /// That a rename removed its target.
    RenameOver,
    /// The same of an io_uring request under other credentials than its task's.
    RenameOverUnderOthers,
    /// Socket nodes made by bind(2).
    UnixBind,
    /// What is under way while another BPF program is attached to the same kernel function.
    CallsInFlight,
    /// The moment at which a cgroup is made.
    CgroupMkdir,
    /// The moment at which a cgroup is removed.
    CgroupRmdir,
}

/// What is told of a gap.
struct About {
    id: &'static str,
    sentence: &'static str,
    remedy: &'static str,
}

const BETTER_TIER: &str =
    "run a kernel that lets a better tier load; the checks observe-lsm and observe-fexit say what it takes";
const OTHER_KERNEL: &str = "run a kernel that docs/kernels.md lists without this gap";

impl GapId {
    /// In the order in which they are listed.
    pub const ALL: [Self; 17] = [
        Self::IoUring,
        Self::CoreDump,
        Self::SwappedDescriptor,
        Self::Socketcall,
        Self::DirectoriesBeyondOpen,
        Self::Mkdir,
        Self::Mknod,
        Self::Symlink,
        Self::Link,
        Self::Rmdir,
        Self::Rename,
        Self::RenameOver,
        Self::RenameOverUnderOthers,
        Self::UnixBind,
        Self::CallsInFlight,
        Self::CgroupMkdir,
        Self::CgroupRmdir,
    ];

    /// The word used in metrics and by `podsweep doctor`.
    pub const fn as_str(self) -> &'static str {
        self.about().id
    }

    /// What goes unseen, as a sentence.
    pub const fn sentence(self) -> &'static str {
        self.about().sentence
    }

    /// What would close it.
    pub const fn remedy(self) -> &'static str {
        self.about().remedy
    }

    const fn about(self) -> About {
        let (id, sentence, remedy) = match self {
            Self::IoUring => ("io_uring", "operations through io_uring are not counted", BETTER_TIER),
            Self::CoreDump => ("core_dump", "core dumps are not counted as files", BETTER_TIER),
            Self::SwappedDescriptor => (
                "swapped_descriptor",
                "a file whose descriptor another thread swaps as open(2) returns may be counted wrongly",
                BETTER_TIER,
            ),
            Self::Socketcall => {
                ("socketcall", "sockets bound through 32-bit socketcall(2) are not counted", BETTER_TIER)
            }
            Self::DirectoriesBeyondOpen => (
                "directories_beyond_open",
                "directories are named for files made by open(2), not for directories, nodes or links",
                "none needed: all of them are counted, and a scan finds them without the name",
            ),
            Self::Mkdir => ("mkdir", "new directories are not counted", OTHER_KERNEL),
            Self::Mknod => ("mknod", "new nodes are not counted", OTHER_KERNEL),
            Self::Symlink => ("symlink", "new symbolic links are not counted", OTHER_KERNEL),
            Self::Link => ("link", "new hard links are not counted", OTHER_KERNEL),
            Self::Rmdir => ("rmdir", "removed directories are not counted", OTHER_KERNEL),
            Self::Rename => ("rename", "renames are not counted", OTHER_KERNEL),
            Self::RenameOver => (
                "rename_over",
                "a rename that removed its target is counted as a rename alone",
                "none needed for bursts, which creates alone make; else a kernel that docs/kernels.md lists without this gap",
            ),
            Self::RenameOverUnderOthers => (
                "rename_over_under_others",
                "a rename that removed its target, by an io_uring request under other credentials than its task's, \
                 is counted as a rename alone",
                "none needed for bursts, which creates alone make",
            ),
            Self::CallsInFlight => (
                "calls_in_flight",
                "calls under way while another BPF program is attached to the same kernel function, or detached, \
                 are not counted, nor in recursion_misses",
                "none needed: it takes another tool's start or end, and then microseconds",
            ),
            Self::UnixBind => ("unix_bind", "socket nodes made by bind(2) are not counted", OTHER_KERNEL),
            Self::CgroupMkdir => {
                ("cgroup_mkdir", "new cgroups are found by the slow rescan alone", OTHER_KERNEL)
            }
            Self::CgroupRmdir => {
                ("cgroup_rmdir", "removed cgroups are found by the slow rescan alone", OTHER_KERNEL)
            }
        };
        About { id, sentence, remedy }
    }
}

impl Gap {
    pub(super) fn new(id: GapId, reason: impl Into<String>) -> Self {
        Self { id, reason: reason.into() }
    }
}

impl fmt::Display for GapId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.id.sentence(), self.reason)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_gap_has_a_word_of_its_own_that_fits_a_label() {
        let words: BTreeSet<_> = GapId::ALL.map(GapId::as_str).into();
        assert_eq!(words.len(), GapId::ALL.len());
        for word in words {
            assert!(word.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{word}");
        }
    }

    #[test]
    fn a_gap_reads_as_a_sentence_with_its_reason() {
        let gap = Gap::new(GapId::Mkdir, "this kernel's BTF has none of do_mkdirat");
        assert_eq!(
            gap.to_string(),
            "new directories are not counted: this kernel's BTF has none of do_mkdirat"
        );
    }
}
