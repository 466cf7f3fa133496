//! The two sides of a file: the host's (upper layer, or a volume's directory) and the container's own mount view.
//!
//! In: handles on the roots of a plan. Out: handles on a directory and its entries on both sides, every path component
//! checked. The agent opens the roots (`open`) and hands them to the deleter; both walk below them by the same code.
//! Must never: follow a symlink, cross a mount, open a file for reading or writing, outlive a batch (a handle in a
//! container's mounts keeps its overlay mounted after the container is gone, and the runtime may mount the same
//! upper directory again).

mod open;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;

use super::audit::Fate;
use super::identity::mount_of;
use crate::scan::Kept;

pub(super) use open::ViewError;

/// Longest path that one call takes: `PATH_MAX` of linux/limits.h, less the NUL. Longer ones are walked in pieces.
const MAX_PIECE: usize = 4095;

/// Handles on all roots of a plan, good for one batch.
#[derive(Debug)]
pub(super) struct View {
    pub(super) roots: Vec<Root>,
}

/// One root, seen from both sides, and in each of the image's layers.
#[derive(Debug)]
pub(super) struct Root {
    /// As the container sees it.
    pub(super) merged: OwnedFd,
    /// As the host sees it.
    pub(super) upper: OwnedFd,
    /// Roots of the image's layers; none of volumes.
    pub(super) lower: Vec<OwnedFd>,
}

/// One directory, seen from both sides.
#[derive(Debug)]
pub(super) struct Parent {
    /// As the container sees it: where things are changed.
    pub(super) merged: OwnedFd,
    /// As the host sees it: what is compared. Never changed.
    pub(super) upper: OwnedFd,
    /// The same directory in each of the image's layers that has it.
    pub(super) lower: Vec<OwnedFd>,
    /// Mount that the merged side is on.
    pub(super) mount: u64,
}

impl View {
    /// The container's side of a root.
    pub(super) fn merged_root(&self, root: u16) -> Option<BorrowedFd<'_>> {
        self.root(root).ok().map(|root| root.merged.as_fd())
    }

    /// A directory below a root (no leading slash; empty: the root itself), on both sides. What cannot be opened
    /// safely comes back as the fate of everything in it.
    pub(super) fn parent(&self, root: u16, directory: &[u8]) -> Result<Parent, Fate> {
        let root = self.root(root)?;
        let upper = open_beneath(root.upper.as_fd(), directory).map_err(fate_of)?;
        let merged = open_beneath(root.merged.as_fd(), directory).map_err(fate_of)?;
        let refused = |errno: Errno| Fate::Refused(errno.raw_os_error());
        let lower = root.lower.iter().filter_map(|layer| in_layer(layer.as_fd(), directory).transpose());
        let lower = lower.collect::<Result<_, Errno>>().map_err(refused)?;
        let mount = mount_of(root.merged.as_fd()).map_err(refused)?;
        Ok(Parent { merged, upper, lower, mount })
    }

    /// The same directory, on the host's side alone.
    pub(super) fn upper_directory(&self, root: u16, directory: &[u8]) -> Result<OwnedFd, Fate> {
        open_beneath(self.root(root)?.upper.as_fd(), directory).map_err(fate_of)
    }

    fn root(&self, root: u16) -> Result<&Root, Fate> {
        self.roots.get(usize::from(root)).ok_or(Fate::Kept(Kept::ViewDiffers))
    }
}

/// Splits a path as a scan reports it into directory and name. `None` for anything that does not go straight down:
/// the worker reads hostile names, so its word is checked.
pub(super) fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let straight = |part: &[u8]| !matches!(part, b"" | b"." | b"..") && !part.contains(&0);
    if !path.split(|&byte| byte == b'/').all(straight) {
        return None;
    }
    Some(match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    })
}

/// RESOLVE_BENEATH rather than RESOLVE_IN_ROOT: both confine, but paths here never hold `..` or a leading slash, and
/// where one does it must be an error, not be reinterpreted. With symlinks refused as well, every component is
/// exactly the directory that has that name.
fn open_beneath(root: BorrowedFd<'_>, directory: &[u8]) -> Result<OwnedFd, Errno> {
    resolve(root, directory, ResolveFlags::NO_XDEV)
}

fn resolve(root: BorrowedFd<'_>, path: &[u8], more: ResolveFlags) -> Result<OwnedFd, Errno> {
    let mut rest = path;
    let mut at: Option<OwnedFd> = None;
    loop {
        let (piece, next) = first_piece(rest)?;
        let piece = if piece.is_empty() { b"." } else { piece };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let from = at.as_ref().map_or(root, AsFd::as_fd);
        let reached = openat2(from, piece, flags, Mode::empty(), confined(more))?;
        if next.is_empty() {
            return Ok(reached);
        }
        at = Some(reached);
        rest = next;
    }
}

/// As many whole components as one call takes, and the others.
fn first_piece(path: &[u8]) -> Result<(&[u8], &[u8]), Errno> {
    if path.len() <= MAX_PIECE {
        return Ok((path, b""));
    }
    let end = path[..=MAX_PIECE].iter().rposition(|&byte| byte == b'/').ok_or(Errno::NAMETOOLONG)?;
    Ok((&path[..end], &path[end + 1..]))
}

fn confined(more: ResolveFlags) -> ResolveFlags {
    ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_SYMLINKS | more
}

// A symlink or a file where the upper layer has a directory is covered by that directory: nothing below it shows.
fn in_layer(layer: BorrowedFd<'_>, directory: &[u8]) -> Result<Option<OwnedFd>, Errno> {
    match open_beneath(layer, directory) {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// What a failed walk to a directory means for the files that were in it.
fn fate_of(errno: Errno) -> Fate {
    match errno {
        Errno::NOENT => Fate::Gone,
        Errno::XDEV => Fate::Kept(Kept::MountInside),
        // A component became a symlink or a file, or moved while it was walked.
        Errno::LOOP | Errno::NOTDIR | Errno::AGAIN => Fate::Kept(Kept::Changed),
        other => Fate::Refused(other.raw_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::identity::{hold, look_at};
    use super::*;

    #[test]
    fn only_paths_that_go_straight_down_are_split() {
        assert_eq!(split(b"tmp/a/b"), Some((&b"tmp/a"[..], &b"b"[..])));
        assert_eq!(split(b"a"), Some((&b""[..], &b"a"[..])));
        for path in [&b""[..], b"/etc/passwd", b"a/../b", b"..", b"a//b", b"a/", b"./a", b"a\0b"] {
            assert_eq!(split(path), None, "{path:?}");
        }
    }

    #[test]
    fn a_symlink_on_the_way_is_a_change_and_a_missing_directory_is_gone() {
        let top = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(top.path().join("real/below")).unwrap();
        std::os::unix::fs::symlink("real", top.path().join("link")).unwrap();
        let root = super::super::plan::directory_root(top.path());
        let view = View::of_directories(&[root]).unwrap();
        assert!(view.parent(0, b"real/below").is_ok());
        assert_eq!(view.parent(0, b"link/below").unwrap_err(), Fate::Kept(Kept::Changed));
        assert_eq!(view.parent(0, b"real/gone").unwrap_err(), Fate::Gone);
        assert_eq!(view.parent(1, b"real").unwrap_err(), Fate::Kept(Kept::ViewDiffers));
    }

    #[test]
    fn a_path_longer_than_one_call_takes_is_walked_in_pieces() {
        let top = tempfile::tempdir().unwrap();
        let view = View::of_directories(&[super::super::plan::directory_root(top.path())]).unwrap();
        let (mut at, mut path) = (std::fs::File::open(top.path()).unwrap().into(), Vec::new());
        for _ in 0..40 {
            let name = "d".repeat(200);
            rustix::fs::mkdirat(&at, name.as_str(), Mode::RWXU).unwrap();
            at = hold(AsFd::as_fd(&at), name.as_bytes()).unwrap();
            path.extend_from_slice(name.as_bytes());
            path.push(b'/');
        }
        path.pop();
        assert!(path.len() > MAX_PIECE);
        let found = view.parent(0, &path).unwrap();
        assert_eq!(look_at(found.upper.as_fd()).unwrap(), look_at(at.as_fd()).unwrap());
        assert_eq!(first_piece(&[b'x'; 5000]), Err(Errno::NAMETOOLONG));
    }
}
