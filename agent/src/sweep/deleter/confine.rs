//! What the deleter gives up, in two steps: capabilities and limits as it starts, everything else once it holds the
//! first view, whose directories are the only ones below which it may change anything from then on.
//!
//! In: how far it may go, the first view. Out: a process that can do nothing else. Must never: be undone.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rustix::fs::{CWD, Mode, OFlags, openat};

use super::super::door::Rights;
use super::super::executor::Means;
use super::super::view::View;
use super::seccomp;
use crate::confinement::{Changes, ConfinementError, Role, confine_changes, no_new_privileges};

/// Handles held at most: those of a view (two for each root, one for each layer of an image, which overlayfs limits
/// to 500), a packet's leases, and a file's own. Beyond it the kernel passes none on, and the packet counts as cut.
const MAX_HANDLES: u64 = 4096;

/// What a deleter needs in hand to go as far as it may.
pub(super) fn rights(means: Means) -> Result<Rights, ConfinementError> {
    Ok(match means {
        Means::Look => Rights::Look,
        Means::Remove => Rights::Remove,
        Means::RemoveAndTruncate => Rights::RemoveAndTruncate(own_handles()?),
    })
}

/// The first step.
pub(super) fn begin(means: Means) -> Result<Rights, ConfinementError> {
    let rights = rights(means)?;
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(limit("RLIMIT_NOFILE"))?;
    let handles = hard.min(MAX_HANDLES);
    setrlimit(Resource::RLIMIT_NOFILE, handles, handles).map_err(limit("RLIMIT_NOFILE"))?;
    // No byte is ever written to a file; cutting one to nothing is within this limit.
    setrlimit(Resource::RLIMIT_FSIZE, 0, 0).map_err(limit("RLIMIT_FSIZE"))?;
    match means {
        Means::Look => Role::DryRunDeleter.take_on()?,
        Means::Remove | Means::RemoveAndTruncate => Role::Deleter.take_on()?,
    }
    no_new_privileges()?;
    Ok(rights)
}

/// The second step.
pub(super) fn finish(socket: BorrowedFd<'_>, rights: &Rights, view: &View) -> Result<(), ConfinementError> {
    let changes = match rights {
        Rights::Look => Changes::None,
        Rights::Remove => Changes::Removal,
        Rights::RemoveAndTruncate(_) => Changes::RemovalAndTruncation,
    };
    confine_changes(changes, view.roots.iter().map(|root| root.merged.as_fd()))?;
    seccomp::filter(socket, rights)?.install()
}

fn own_handles() -> Result<OwnedFd, ConfinementError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, "/proc/self/fd", flags, Mode::empty())
        .map_err(|errno| ConfinementError::Limit("/proc/self/fd", nix::Error::from_raw(errno.raw_os_error())))
}

fn limit(what: &'static str) -> impl Fn(nix::Error) -> ConfinementError {
    move |errno| ConfinementError::Limit(what, errno)
}
