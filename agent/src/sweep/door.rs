//! The door: the one function through which everything that podsweep removes or cuts goes. Nothing else in the
//! program changes a file of a container (`tests::nothing_else_removes` reads the sources to see to it).
//!
//! In: a directory held on both sides, a name in it, what it was when it was scanned. Out: its [`Fate`].
//! Must never: take a path, follow a symlink, act on what differs in anything from what was scanned.
//!
//! What is left to chance: Linux cannot unlink an inode, only a name. Between the last look at the name and the
//! call (microseconds), a process of the container may rename another file over it; that file is then removed in
//! its place. It is seen at once, because the scanned inode lives on, and ends the sweep ([`Fate::Replaced`]).

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ftruncate, open, openat, unlinkat};
use rustix::io::Errno;

use super::audit::Fate;
use super::identity::{Seen, file_type, hold, look, look_at, same_file};
use super::lease::{Asked, Lease};
use super::open_files::InUse;
use super::view::Parent;
use crate::policy::junk::MINIMUM_AGE;
use crate::scan::{Identity, Kept};

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    /// Unlink a file.
    Delete,
    /// Cut a regular file to zero length.
    Truncate,
    /// Remove a directory that is empty.
    RemoveDirectory,
}

/// How "is it open?" is answered.
#[derive(Debug, Clone, Copy)]
pub(super) enum OpenTest<'a> {
    /// By a write lease, held while it is removed. Regular files only.
    Lease,
    /// Not at all: a symlink is never open.
    None,
    /// By a walk over `/proc` that was made for this batch.
    Walk(&'a InUse),
}

/// One thing to pass through the door.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claim<'a> {
    /// Name in the parent directory.
    pub(super) name: &'a [u8],
    /// What it was on the host's side.
    pub(super) identity: &'a Identity,
    /// What is to be done.
    pub(super) deed: Deed,
    /// How to learn whether it is open.
    pub(super) open_test: OpenTest<'a>,
    /// Wall clock, since 1970.
    pub(super) now: Duration,
    /// Whether to act; a dry run only asks.
    pub(super) act: bool,
}

/// This filesystem has no leases (or this process may not take them): come again with a walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoLease(pub(super) Errno);

/// Removes, truncates, or says why not.
pub(super) fn pass(parent: &Parent, claim: &Claim<'_>) -> Result<Fate, NoLease> {
    let cleared = match check(parent, claim) {
        Ok(cleared) => cleared,
        Err(No::Stays(fate)) => return Ok(fate),
        Err(No::Lease(errno)) => return Err(NoLease(errno)),
    };
    if !claim.act {
        return Ok(Fate::WouldGo);
    }
    // Opened in the last microseconds: the opener is waiting for this lease. Let it have the file.
    if cleared.lease.as_ref().is_some_and(|lease| !lease.whole()) {
        return Ok(Fate::Kept(Kept::Open));
    }
    let done = match claim.deed {
        Deed::Delete => {
            unlinkat(&parent.merged, claim.name, AtFlags::empty()).map(|()| cleared.after_unlink())
        }
        Deed::RemoveDirectory => {
            unlinkat(&parent.merged, claim.name, AtFlags::REMOVEDIR).map(|()| Fate::Removed)
        }
        Deed::Truncate => truncate(parent, claim.name, &cleared.merged),
    };
    Ok(done.unwrap_or_else(after_failure))
}

/// What all checks leave in hand.
struct Cleared {
    upper: OwnedFd,
    merged: Seen,
    lease: Option<Lease>,
}

enum No {
    Stays(Fate),
    Lease(Errno),
}

impl From<Fate> for No {
    fn from(fate: Fate) -> Self {
        Self::Stays(fate)
    }
}

fn stays(why: Kept) -> No {
    No::Stays(Fate::Kept(why))
}

fn check(parent: &Parent, claim: &Claim<'_>) -> Result<Cleared, No> {
    // O_PATH: a fifo must not be waited for, and opening what has become a device could do anything.
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let upper = openat(&parent.upper, claim.name, flags, Mode::empty()).map_err(after_failure)?;
    must_be_scanned(&upper, claim)?;
    must_be_removable(claim)?;
    must_not_be_in_an_image_layer(parent, claim.name)?;
    let lease = match claim.open_test {
        OpenTest::Lease => Some(take_lease(&upper, claim)?),
        OpenTest::None if file_type(claim.identity) == FileType::Symlink => None,
        OpenTest::None => return Err(stays(Kept::Open)),
        OpenTest::Walk(in_use) => {
            must_not_be_in_use(parent, claim, in_use)?;
            None
        }
    };
    let merged = must_show_the_same(parent, claim)?;
    Ok(Cleared { upper, merged, lease })
}

fn must_be_scanned(upper: &OwnedFd, claim: &Claim<'_>) -> Result<(), No> {
    let now = look_at(upper.as_fd()).map_err(after_failure)?.identity;
    if now == *claim.identity {
        return Ok(());
    }
    // A new link to the same file changes its ctime: name the cause, not the effect.
    let linked = now.inode == claim.identity.inode && now.links > 1 && claim.deed != Deed::RemoveDirectory;
    Err(stays(if linked { Kept::HardLinked } else { Kept::Changed }))
}

fn must_be_removable(claim: &Claim<'_>) -> Result<(), No> {
    let identity = claim.identity;
    let right_type = match claim.deed {
        Deed::RemoveDirectory => file_type(identity) == FileType::Directory,
        Deed::Truncate => file_type(identity) == FileType::RegularFile,
        Deed::Delete => matches!(
            file_type(identity),
            FileType::RegularFile | FileType::Symlink | FileType::Socket | FileType::Fifo
        ),
    };
    if !right_type {
        return Err(stays(Kept::Type));
    }
    if claim.deed == Deed::RemoveDirectory {
        return Ok(()); // emptied a moment ago by this sweep, so young by nature
    }
    if identity.links != 1 {
        return Err(stays(Kept::HardLinked));
    }
    if claim.deed == Deed::Truncate && identity.size == 0 {
        return Err(Fate::Gone.into());
    }
    if is_old_enough(identity, claim.now) { Ok(()) } else { Err(stays(Kept::TooYoung)) }
}

// A time before 1970 or in the future is no age.
fn is_old_enough(identity: &Identity, now: Duration) -> bool {
    let (seconds, nanoseconds) = identity.mtime.max(identity.ctime);
    let (Ok(seconds), Ok(nanoseconds)) = (u64::try_from(seconds), u32::try_from(nanoseconds)) else {
        return false;
    };
    now.checked_sub(Duration::new(seconds, nanoseconds)).is_some_and(|age| age >= MINIMUM_AGE)
}

// Removing it would free nothing and leave a whiteout.
fn must_not_be_in_an_image_layer(parent: &Parent, name: &[u8]) -> Result<(), No> {
    for layer in &parent.lower {
        match look(layer.as_fd(), name) {
            Ok(_) => return Err(stays(Kept::LowerLayer)),
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(after_failure(errno).into()),
        }
    }
    Ok(())
}

fn take_lease(upper: &OwnedFd, claim: &Claim<'_>) -> Result<Lease, No> {
    if file_type(claim.identity) != FileType::RegularFile {
        return Err(stays(Kept::Open)); // only a walk can tell
    }
    let file = reopen(upper, OFlags::RDONLY | OFlags::NONBLOCK).map_err(after_failure)?;
    let lease = match Lease::ask(file) {
        Asked::Granted(lease) => lease,
        Asked::InUse => return Err(stays(Kept::Open)),
        Asked::Unknown(errno) => return Err(No::Lease(errno)),
    };
    // A writer may have come and gone before the lease was granted; none can from here on.
    must_be_scanned(upper, claim)?;
    Ok(lease)
}

fn must_not_be_in_use(parent: &Parent, claim: &Claim<'_>, in_use: &InUse) -> Result<(), No> {
    let held = match claim.deed {
        Deed::Delete => in_use.holds(claim.name, claim.identity),
        Deed::Truncate => in_use.maps_or_locks(claim.identity),
        Deed::RemoveDirectory => {
            let seen = look(parent.merged.as_fd(), claim.name).map_err(after_failure)?;
            in_use.holds(claim.name, &seen.identity)
        }
    };
    if held { Err(stays(Kept::Open)) } else { Ok(()) }
}

/// The container must see that very file, and nothing may be mounted on it. The latter matters more than it seems:
/// the kernel refuses to unlink a mount point of the caller's own mount namespace only; one of the container's it
/// would unmount (`detach_mounts`).
fn must_show_the_same(parent: &Parent, claim: &Claim<'_>) -> Result<Seen, No> {
    let seen = look(parent.merged.as_fd(), claim.name).map_err(after_failure)?;
    if seen.mount != parent.mount {
        return Err(stays(Kept::MountInside));
    }
    let same = match claim.deed {
        Deed::RemoveDirectory => same_directory(claim.identity, &seen.identity),
        Deed::Delete | Deed::Truncate => same_file(claim.identity, &seen.identity),
    };
    if same { Ok(seen) } else { Err(stays(Kept::ViewDiffers)) }
}

// Of directories overlayfs may show an inode number and a link count of its own.
fn same_directory(upper: &Identity, merged: &Identity) -> bool {
    let blind = |identity: &Identity| Identity { inode: 0, links: 0, ..*identity };
    same_file(&blind(upper), &blind(merged))
}

fn truncate(parent: &Parent, name: &[u8], expected: &Seen) -> Result<Fate, Errno> {
    let handle = hold(parent.merged.as_fd(), name)?;
    if look_at(handle.as_fd())? != *expected || expected.file_type() != FileType::RegularFile {
        return Ok(Fate::Kept(Kept::Changed));
    }
    let file = reopen(&handle, OFlags::WRONLY | OFlags::NONBLOCK)?;
    // Opening may copy a file up; then what is open is not what was seen.
    if look_at(file.as_fd())? != *expected {
        return Ok(Fate::Kept(Kept::Changed));
    }
    ftruncate(&file, 0)?;
    Ok(Fate::Truncated)
}

/// Opens exactly the inode that an `O_PATH` handle holds, whatever its name leads to by now.
fn reopen(handle: &OwnedFd, flags: OFlags) -> Result<OwnedFd, Errno> {
    open(format!("/proc/self/fd/{}", handle.as_raw_fd()), flags | OFlags::CLOEXEC, Mode::empty())
}

impl Cleared {
    fn after_unlink(&self) -> Fate {
        match look_at(self.upper.as_fd()) {
            Ok(seen) if seen.identity.links == 0 => Fate::Removed,
            _ => Fate::Replaced,
        }
    }
}

fn after_failure(errno: Errno) -> Fate {
    match errno {
        Errno::NOENT => Fate::Gone,
        Errno::XDEV => Fate::Kept(Kept::MountInside),
        // Became a directory, a symlink, or not empty again; its parent became something else.
        Errno::ISDIR | Errno::NOTDIR | Errno::LOOP | Errno::NOTEMPTY | Errno::EXIST => {
            Fate::Kept(Kept::Changed)
        }
        other => Fate::Refused(other.raw_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn age_is_that_of_the_newest_time_and_no_time_is_no_age() {
        let directory = std::fs::File::open("/").unwrap();
        let one = look_at(directory.as_fd()).unwrap().identity;
        let at = |mtime, ctime| Identity { mtime: (mtime, 0), ctime: (ctime, 0), ..one };
        let now = Duration::from_secs(1000);
        assert!(is_old_enough(&at(0, 990), now));
        assert!(!is_old_enough(&at(0, 991), now));
        assert!(!is_old_enough(&at(991, 0), now));
        assert!(!is_old_enough(&at(0, 2000), now));
        assert!(!is_old_enough(&at(-5, -5), now));
    }
}
