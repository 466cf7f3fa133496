//! The door: the one function through which everything that podsweep itself removes or cuts goes. Nothing else in the
//! program changes a file of a container (`tests::sources::nothing_else_removes` and clippy's `disallowed_methods` see
//! to it), and only the deleter's process passes it. Executor `Exec` has the container's own `rm` remove what the same
//! checks ([`clear`]) let through, and that in one place, too: [`super::exec`].
//!
//! In: a directory held on both sides, a name in it, what it was when it was scanned. Out: its [`Fate`].
//! Must never: take a path, follow a symlink, act on what differs in anything from what was scanned.
//!
//! Linux cannot unlink a file, only a name, and between the last look at the name and the call a process of the
//! container may rename another file to it. So the name is first moved aside, to one that nobody can know; what came
//! along is looked at, and removed only if it is the file that was asked for. Another one is put back.
//!
//! What is left to chance: a process that finds the new name out within microseconds and renames a file to it (on
//! purpose, then); a filesystem with no room for the other name, where the old one is unlinked as it is. If the scanned
//! file lives on after that, it is seen, and ends the sweep ([`Fate::Replaced`]).
#![allow(clippy::disallowed_methods, reason = "this is the door")]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags, ftruncate, openat, renameat_with, unlinkat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::audit::Fate;
use super::identity::{Seen, file_type, hold, look, look_at, same_file};
use super::lease;
use super::view::Parent;
use crate::policy::junk::MINIMUM_AGE;
use crate::scan::{Identity, Kept};

/// How a name that was moved aside begins.
const ASIDE: &str = ".podsweep-";

/// Longest name, bytes (linux/limits.h).
const NAME_MAX: usize = 255;

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Deed {
    /// Unlink a file.
    Delete,
    /// Cut a regular file to zero length.
    Truncate,
    /// Remove a directory that is empty.
    RemoveDirectory,
}

/// How "is it open?" was answered, by the agent.
#[derive(Debug, Clone, Copy)]
pub(super) enum OpenTest<'a> {
    /// By a write lease, which this handle has. Regular files only.
    Lease(BorrowedFd<'a>),
    /// Not at all: a symlink is never open.
    None,
    /// By a walk over `/proc` that found nobody; for a directory, with what the container showed at its name then.
    Walked(Option<Identity>),
    /// Somebody has it open.
    InUse,
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
    /// Whether it is open.
    pub(super) open_test: OpenTest<'a>,
    /// Wall clock, since 1970.
    pub(super) now: Duration,
}

/// How far whoever stands at the door may go.
#[derive(Debug)]
pub(super) enum Rights {
    /// Ask only: a dry run.
    Look,
    /// Unlink and remove directories.
    Remove,
    /// Cut files, too: needs `/proc/self/fd`, to open for writing what is held by a handle.
    RemoveAndTruncate(OwnedFd),
}

/// Removes, truncates, or says why not.
pub(super) fn pass(parent: &Parent, claim: &Claim<'_>, rights: &Rights) -> Fate {
    let cleared = match clear(parent, claim) {
        Ok(cleared) => cleared,
        Err(stays) => return stays,
    };
    let done = match (claim.deed, rights) {
        (_, Rights::Look) => Ok(Fate::WouldGo),
        (Deed::Delete, _) => delete(&parent.merged, claim.name, &cleared),
        (Deed::RemoveDirectory, _) => {
            unlinkat(&parent.merged, claim.name, AtFlags::REMOVEDIR).map(|()| Fate::Removed)
        }
        (Deed::Truncate, Rights::RemoveAndTruncate(own_handles)) => truncate(&cleared, own_handles),
        // The agent starts no deleter without the right that its policy's rules need.
        (Deed::Truncate, Rights::Remove) => Err(Errno::PERM),
    };
    done.unwrap_or_else(after_failure)
}

/// What all checks leave in hand.
#[derive(Debug)]
pub(super) struct Cleared {
    /// The file, on the host's side, whatever its name leads to by now.
    pub(super) upper: OwnedFd,
    merged: OwnedFd,
    seen: Seen,
}

fn stays(why: Kept) -> Fate {
    Fate::Kept(why)
}

/// Every check, and nothing but the checks: good for the moment in which it returns.
pub(super) fn clear(parent: &Parent, claim: &Claim<'_>) -> Result<Cleared, Fate> {
    let upper = hold(parent.upper.as_fd(), claim.name).map_err(after_failure)?;
    must_be_scanned(upper.as_fd(), claim)?;
    must_be_removable(claim)?;
    must_not_be_in_an_image_layer(parent, claim.name)?;
    must_not_be_open(claim)?;
    let merged = hold(parent.merged.as_fd(), claim.name).map_err(after_failure)?;
    let seen = must_show_the_same(parent, &merged, claim)?;
    // Opened in the last microseconds: the opener is waiting for this lease. Let it have the file.
    if let OpenTest::Lease(handle) = claim.open_test
        && !lease::is_whole(handle)
    {
        return Err(stays(Kept::Open));
    }
    Ok(Cleared { upper, merged, seen })
}

fn must_be_scanned(upper: BorrowedFd<'_>, claim: &Claim<'_>) -> Result<(), Fate> {
    let now = look_at(upper).map_err(after_failure)?.identity;
    if now == *claim.identity {
        return Ok(());
    }
    // A new link to the same file changes its ctime: name the cause, not the effect.
    let linked = now.inode == claim.identity.inode && now.links > 1 && claim.deed != Deed::RemoveDirectory;
    Err(stays(if linked { Kept::HardLinked } else { Kept::Changed }))
}

fn must_be_removable(claim: &Claim<'_>) -> Result<(), Fate> {
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
        return Err(Fate::Gone);
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
fn must_not_be_in_an_image_layer(parent: &Parent, name: &[u8]) -> Result<(), Fate> {
    for layer in &parent.lower {
        match look(layer.as_fd(), name) {
            Ok(_) => return Err(stays(Kept::LowerLayer)),
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(after_failure(errno)),
        }
    }
    Ok(())
}

fn must_not_be_open(claim: &Claim<'_>) -> Result<(), Fate> {
    let file_type = file_type(claim.identity);
    match claim.open_test {
        // It must be this very file's lease; and a writer may have come and gone before it was granted.
        OpenTest::Lease(handle) => must_be_scanned(handle, claim),
        OpenTest::None if file_type == FileType::Symlink => Ok(()),
        OpenTest::Walked(directory) if directory.is_some() == (file_type == FileType::Directory) => Ok(()),
        OpenTest::None | OpenTest::Walked(_) | OpenTest::InUse => Err(stays(Kept::Open)),
    }
}

/// The container must see that very file, and nothing may be mounted on it. The latter matters more than it seems:
/// the kernel refuses to unlink a mount point of the caller's own mount namespace only; one of the container's it
/// would unmount (`detach_mounts`).
fn must_show_the_same(parent: &Parent, merged: &OwnedFd, claim: &Claim<'_>) -> Result<Seen, Fate> {
    let seen = look_at(merged.as_fd()).map_err(after_failure)?;
    if seen.mount != parent.mount {
        return Err(stays(Kept::MountInside));
    }
    let same = match (claim.deed, claim.open_test) {
        (Deed::RemoveDirectory, OpenTest::Walked(Some(walked))) => {
            let which = |identity: &Identity| (identity.device, identity.inode);
            which(&walked) == which(&seen.identity) && same_directory(claim.identity, &seen.identity)
        }
        (Deed::RemoveDirectory, _) => false,
        (Deed::Delete | Deed::Truncate, _) => same_file(claim.identity, &seen.identity),
    };
    if same { Ok(seen) } else { Err(stays(Kept::ViewDiffers)) }
}

// Of directories overlayfs may show an inode number and a link count of its own.
fn same_directory(upper: &Identity, merged: &Identity) -> bool {
    let blind = |identity: &Identity| Identity { inode: 0, links: 0, ..*identity };
    same_file(&blind(upper), &blind(merged))
}

/// Moves the name aside, looks at what came along, removes it.
fn delete(directory: &OwnedFd, name: &[u8], cleared: &Cleared) -> Result<Fate, Errno> {
    let aside = aside(name);
    match renameat_with(directory, name, directory, aside.as_slice(), RenameFlags::NOREPLACE) {
        Ok(()) => {}
        // No room in the directory for another name (it is a full disk that sweeps are for); no such call, or no names
        // as long, on this filesystem.
        Err(Errno::NOSPC | Errno::DQUOT | Errno::INVAL | Errno::NAMETOOLONG) => {
            return unlinkat(directory, name, AtFlags::empty()).map(|()| cleared.after_unlink());
        }
        Err(errno) => return Err(errno),
    }
    if !cleared.is_at(directory, &aside) {
        return Ok(put_back(directory, &aside, name));
    }
    match unlinkat(directory, aside.as_slice(), AtFlags::empty()) {
        Ok(()) => Ok(cleared.after_unlink()),
        Err(errno) => match put_back(directory, &aside, name) {
            Fate::Replaced => Ok(Fate::Replaced),
            _ => Err(errno),
        },
    }
}

/// Never over another file: where a third has taken the name by now, the second stays beside it.
fn put_back(directory: &OwnedFd, aside: &[u8], name: &[u8]) -> Fate {
    match renameat_with(directory, aside, directory, name, RenameFlags::NOREPLACE) {
        Ok(()) => Fate::Kept(Kept::Changed),
        Err(_) => Fate::Replaced,
    }
}

/// A name that cannot be foretold (80 random bits) and ends as the old one does, so that most patterns name it, too,
/// should a file be left under it.
fn aside(name: &[u8]) -> Vec<u8> {
    let mut aside = format!("{ASIDE}{}-", ulid::Ulid::new()).into_bytes();
    let room = NAME_MAX.saturating_sub(aside.len());
    aside.extend_from_slice(&name[name.len().saturating_sub(room)..]);
    aside
}

/// Opens exactly the inode that the handle holds, whatever its name leads to by now.
fn truncate(cleared: &Cleared, own_handles: &OwnedFd) -> Result<Fate, Errno> {
    if cleared.seen.file_type() != FileType::RegularFile {
        return Ok(Fate::Kept(Kept::Changed));
    }
    let name = cleared.merged.as_raw_fd().to_string();
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat(own_handles, name.as_str(), flags, Mode::empty())?;
    // Opening may copy a file up; then what is open is not what was seen.
    if look_at(file.as_fd())? != cleared.seen {
        return Ok(Fate::Kept(Kept::Changed));
    }
    ftruncate(&file, 0)?;
    Ok(Fate::Truncated)
}

impl Cleared {
    /// Whether the file that was cleared is what has this name, and nothing is mounted on it. The rename has changed its
    /// ctime, and nothing else.
    fn is_at(&self, directory: &OwnedFd, name: &[u8]) -> bool {
        let now = hold(directory.as_fd(), name).and_then(|entry| look_at(entry.as_fd()));
        let timeless = |seen: &Seen| Seen { identity: Identity { ctime: (0, 0), ..seen.identity }, ..*seen };
        now.is_ok_and(|now| timeless(&now) == timeless(&self.seen))
    }

    fn after_unlink(&self) -> Fate {
        match look_at(self.upper.as_fd()) {
            Ok(seen) if seen.identity.links == 0 => Fate::Removed,
            _ => Fate::Replaced,
        }
    }
}

/// What a call's failure says of the entry that it was about.
pub(super) fn after_failure(errno: Errno) -> Fate {
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
    fn a_name_aside_is_never_the_same_never_too_long_and_ends_as_the_old_one() {
        for name in [&b"a.tmp"[..], &[b'x'; 255], &[0xff; 255], b"x"] {
            let (one, other) = (aside(name), aside(name));
            assert!(one != other && one.len() <= NAME_MAX && !one.contains(&b'/'), "{}", one.escape_ascii());
            assert!(
                one.ends_with(&name[name.len().saturating_sub(200)..]) && one.starts_with(ASIDE.as_bytes())
            );
        }
    }

    #[test]
    fn another_file_that_came_along_is_put_back_and_never_over_a_third() {
        let top = tempfile::tempdir().unwrap();
        for name in ["junk", "precious", "third"] {
            std::fs::write(top.path().join(name), name).unwrap();
        }
        let directory: OwnedFd = std::fs::File::open(top.path()).unwrap().into();
        let entry = |name: &[u8]| hold(directory.as_fd(), name).unwrap();
        let (upper, merged) = (entry(b"junk"), entry(b"junk"));
        let seen = look_at(merged.as_fd()).unwrap();
        let cleared = Cleared { upper, merged, seen };
        // What an attacker does between the last look and the call.
        std::fs::rename(top.path().join("precious"), top.path().join("junk")).unwrap();
        assert_eq!(delete(&directory, b"junk", &cleared), Ok(Fate::Kept(Kept::Changed)));
        assert_eq!(std::fs::read(top.path().join("junk")).unwrap(), b"precious");
        assert_eq!(put_back(&directory, b"junk", b"third"), Fate::Replaced);
        assert_eq!(std::fs::read(top.path().join("third")).unwrap(), b"third");
        assert_eq!(std::fs::read_dir(top.path()).unwrap().count(), 2);
    }

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
