//! Every operation that must be counted, or must not be, and what each must count. `docs/counting.md` says the same
//! for people.
//!
//! Comes in: a filesystem's root. Goes out: the operation done there, in a folder of its own. Must never: make or
//! remove a name, while it is measured, that its row of the table does not tell of.

mod called;
mod compat;
mod copied_up;
mod failing;
mod nodes;
mod prepare;
mod removing;
mod tasks;
mod uncounted;
mod uring;

use std::fs;
use std::io;
use std::path::Path;

use podsweep::observe::{Counts, Kind, Tier};

pub use copied_up::fill_lower;

use crate::kernel_filesystems::{Filesystem, Size};

/// One operation, in a folder of its own.
#[derive(Debug, Clone, Copy)]
pub struct Operation {
    /// For people, and what a worker is asked by: no two have the same.
    pub name: &'static str,
    /// What must be there first; not measured.
    prepare: Step,
    /// What is measured.
    run: Step,
    /// What it must count, and nothing else.
    expected: &'static [(Kind, u64)],
    place: Place,
    way: Way,
    may_be_refused: bool,
}

type Step = fn(&Path) -> io::Result<()>;

/// Where an operation makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Anywhere,
    /// Needs a file of a lower layer.
    Overlay,
    /// Overlayfs has no such thing.
    NotOverlay,
    /// Needs a filesystem without room for one more inode.
    Full,
}

/// How an operation reaches the kernel: not every tier sees every way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// A system call of its own.
    Call,
    /// The one call that all socket calls of old 32-bit programs share.
    Socketcall,
    /// A request in a ring.
    IoUring,
    /// The same, under credentials that are not the task's.
    IoUringAsAnother,
}

impl Operation {
    const fn new(name: &'static str, prepare: Step, run: Step, expected: &'static [(Kind, u64)]) -> Self {
        Self { name, prepare, run, expected, place: Place::Anywhere, way: Way::Call, may_be_refused: false }
    }

    const fn on(mut self, place: Place) -> Self {
        self.place = place;
        self
    }

    const fn by(mut self, way: Way) -> Self {
        self.way = way;
        self
    }

    /// Some kernel or filesystem does not have it.
    const fn may_be_refused(mut self) -> Self {
        self.may_be_refused = true;
        self
    }

    /// Its folder's name.
    pub fn folder(&self) -> String {
        self.name.replace(|letter: char| !letter.is_ascii_alphanumeric(), "-")
    }

    /// Whether it makes sense there.
    pub fn applies_to(&self, filesystem: Filesystem) -> bool {
        match self.place {
            Place::Anywhere | Place::Full => true,
            Place::Overlay => filesystem == Filesystem::Overlay,
            Place::NotOverlay => filesystem != Filesystem::Overlay,
        }
    }

    /// How large a filesystem it needs.
    pub fn size(&self) -> Size {
        if self.place == Place::Full { Size::Tiny } else { Size::Roomy }
    }

    /// Whether it goes through io_uring, which a kernel may be without.
    pub fn needs_io_uring(&self) -> bool {
        matches!(self.way, Way::IoUring | Way::IoUringAsAnother)
    }

    /// Whether this failure says that the kernel does not have it, rather than that it went wrong.
    pub fn is_refusal(&self, error: &io::Error) -> bool {
        self.may_be_refused && error.kind() == io::ErrorKind::Unsupported
    }

    /// What a tier must have counted: what it cannot see is named in [`podsweep::observe::Observer::gaps`].
    pub fn expected(&self, tier: Tier) -> Counts {
        let unseen: fn(Kind) -> bool = match (tier, self.way) {
            (Tier::SysExit, Way::Call) => |kind| kind == Kind::RenameOver,
            (Tier::SysExit, _) => |_| true,
            (_, Way::IoUringAsAnother) => |kind| kind == Kind::RenameOver,
            _ => |_| false,
        };
        self.expected.iter().copied().filter(|(kind, _)| !unseen(*kind)).collect()
    }

    /// Makes what it needs, below the root of a filesystem.
    pub fn prepare(&self, root: &Path) -> io::Result<()> {
        if self.place == Place::Full {
            return (self.prepare)(root);
        }
        let folder = root.join(self.folder());
        fs::create_dir_all(&folder)?;
        (self.prepare)(&folder)
    }

    /// Does it.
    pub fn run(&self, root: &Path) -> io::Result<()> {
        if self.place == Place::Full { (self.run)(root) } else { (self.run)(&root.join(self.folder())) }
    }
}

/// All of them, by theme.
pub fn all() -> impl Iterator<Item = &'static Operation> {
    [
        called::OPERATIONS,
        nodes::OPERATIONS,
        removing::OPERATIONS,
        tasks::OPERATIONS,
        uring::OPERATIONS,
        compat::OPERATIONS,
        uncounted::OPERATIONS,
        failing::OPERATIONS,
        copied_up::OPERATIONS,
    ]
    .into_iter()
    .flatten()
}

/// The one of this name.
pub fn named(name: &str) -> Option<&'static Operation> {
    all().find(|operation| operation.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_operations_share_a_name_or_a_folder() {
        let names: BTreeSet<_> = all().map(|operation| operation.name).collect();
        let folders: BTreeSet<_> = all().map(Operation::folder).collect();
        assert_eq!((names.len(), folders.len()), (all().count(), all().count()));
    }
}
