//! Landlock: changes are allowed below given directories, and nothing else is, whatever a system call's path says.
//! What seccomp cannot see (flags and paths behind pointers) is decided here.
//!
//! In: handles on directories. Out: a thread that changes nothing elsewhere. Must never: be taken for granted; a
//! kernel without Landlock (before 5.13, or with it left out of `lsm=`) confines by the other means alone.

use std::os::fd::BorrowedFd;

use landlock::{
    ABI, Access, AccessFs, BitFlags, LandlockStatus, PathBeneath, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetError, make_bitflags,
};

/// The newest version whose rights are meant here: all that it knows are handled, those that the kernel knows are
/// refused. Versions after it add nothing about files (kernel doc userspace-api/landlock.rst).
const VERSION: ABI = ABI::V5;

/// What may be changed below the directories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Changes {
    /// Nothing.
    None,
    /// Files and directories may be removed.
    Removal,
    /// Files may be cut, too, for which they are opened for writing.
    RemovalAndTruncation,
}

impl Changes {
    fn rights(self) -> BitFlags<AccessFs> {
        // A name is moved aside within its directory before it is removed, which Landlock takes for making one.
        let removal = make_bitflags!(AccessFs::{
            RemoveFile | RemoveDir | MakeReg | MakeSym | MakeFifo | MakeSock
        });
        match self {
            Self::None => BitFlags::empty(),
            Self::Removal => removal,
            Self::RemovalAndTruncation => removal | make_bitflags!(AccessFs::{WriteFile | Truncate}),
        }
    }
}

/// Confines the calling thread, for good. Handles that are open stay as they are.
pub(crate) fn confine_changes<'d>(
    changes: Changes,
    below: impl Iterator<Item = BorrowedFd<'d>>,
) -> Result<(), RulesetError> {
    let mut rules = Ruleset::default().handle_access(AccessFs::from_all(VERSION))?.create()?;
    if changes != Changes::None {
        for directory in below {
            rules = rules.add_rule(PathBeneath::new(directory, changes.rights()))?;
        }
    }
    rules.restrict_self().map(drop)
}

/// Whether this kernel confines by Landlock; else why not. Asked on a thread of its own, which it confines.
pub(crate) fn is_enforced() -> Result<(), String> {
    let asked = std::thread::spawn(|| {
        Ruleset::default().handle_access(AccessFs::from_all(VERSION))?.create()?.restrict_self()
    });
    match asked.join() {
        Ok(Ok(status)) => match status.landlock {
            LandlockStatus::Available { .. } => Ok(()),
            LandlockStatus::NotEnabled => Err("not enabled: add landlock to the kernel's lsm= list".into()),
            LandlockStatus::NotImplemented => Err("this kernel has none".into()),
        },
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("asking failed".into()),
    }
}
