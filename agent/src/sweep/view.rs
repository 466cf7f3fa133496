//! The two sides of a file: the host's (upper layer, or a volume's directory) and the container's own mount view.
//!
//! In: scan roots, the container. Out: handles on a directory on both sides, every path component checked.
//! Must never: follow a symlink, cross a mount, open a file for reading or writing, outlive a batch (a handle in a
//! container's mounts keeps its overlay mounted after the container is gone, and the runtime may mount the same
//! upper directory again).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, fstatfs, openat, openat2};
use rustix::io::Errno;

use super::audit::Fate;
use super::held::{Held, Lost};
use super::identity::{look_at, mount_of};
use crate::inventory::{Container, VolumeKind};
use crate::scan::{Kept, ScanRoot};

/// `OVERLAYFS_SUPER_MAGIC` of linux/magic.h. A mount id alone may have been reused.
const OVERLAYFS: u64 = 0x794c_7630;

/// Longest path of one system call, bytes, with the NUL at its end (linux/limits.h).
const PATH_MAX: usize = 4096;

/// Why the container's view cannot be trusted.
#[derive(Debug, thiserror::Error)]
pub(super) enum ViewError {
    /// The container is not the same.
    #[error(transparent)]
    Lost(#[from] Lost),
    /// A root cannot be opened.
    #[error("cannot open {path:?} ({side}): {errno}")]
    Open {
        /// Which.
        path: PathBuf,
        /// Whose view.
        side: &'static str,
        /// Why.
        errno: Errno,
    },
    /// What is mounted there is not what the inventory saw.
    #[error("{path:?} is not the mount that was looked at: {what}")]
    OtherMount {
        /// As the container sees it.
        path: PathBuf,
        /// The difference.
        what: String,
    },
    /// The plan names a root that the container does not have.
    #[error("the container has no {kind:?} at {path:?}")]
    NoSuchRoot {
        /// Kind.
        kind: VolumeKind,
        /// As the container sees it.
        path: PathBuf,
    },
}

/// Handles on all roots of a plan, good for one batch.
#[derive(Debug)]
pub(super) struct View {
    roots: Vec<Root>,
}

#[derive(Debug)]
struct Root {
    merged: OwnedFd,
    upper: OwnedFd,
    merged_mount: u64,
    lower: Vec<PathBuf>,
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
    /// Of a container. Every root's mount is compared with what the inventory saw.
    pub(super) fn of_container(
        roots: &[ScanRoot],
        container: &Container,
        held: &Held,
    ) -> Result<Self, ViewError> {
        let root = held.root()?;
        let roots = roots.iter().map(|scanned| Root::of_container(scanned, container, root.as_fd()));
        Ok(Self { roots: roots.collect::<Result<_, _>>()? })
    }

    /// Of plain directories: both sides are the same.
    pub(super) fn of_directories(roots: &[ScanRoot]) -> Result<Self, ViewError> {
        let roots = roots.iter().map(|scanned| {
            let upper = open_host(&scanned.host)?;
            Root::new(open_host(&scanned.host)?, upper, scanned)
        });
        Ok(Self { roots: roots.collect::<Result<_, _>>()? })
    }

    /// The container's side of a root.
    pub(super) fn merged_root(&self, root: u16) -> Option<BorrowedFd<'_>> {
        self.roots.get(usize::from(root)).map(|root| root.merged.as_fd())
    }

    /// A directory below a root (no leading slash; empty: the root itself), on both sides. What cannot be opened
    /// safely comes back as the fate of everything in it.
    pub(super) fn parent(&self, root: u16, directory: &[u8]) -> Result<Parent, Fate> {
        let root = self.roots.get(usize::from(root)).ok_or(Fate::Kept(Kept::ViewDiffers))?;
        let upper = open_beneath(root.upper.as_fd(), directory).map_err(fate_of)?;
        let merged = open_beneath(root.merged.as_fd(), directory).map_err(fate_of)?;
        let lower = root.lower.iter().filter_map(|layer| in_layer(layer, directory).transpose());
        let lower =
            lower.collect::<Result<_, Errno>>().map_err(|errno| Fate::Refused(errno.raw_os_error()))?;
        Ok(Parent { merged, upper, lower, mount: root.merged_mount })
    }
}

impl Root {
    fn new(merged: OwnedFd, upper: OwnedFd, scanned: &ScanRoot) -> Result<Self, ViewError> {
        let merged_mount =
            mount_of(merged.as_fd()).map_err(|errno| open_error(&scanned.seen_at, "container", errno))?;
        Ok(Self { merged, upper, merged_mount, lower: scanned.lower.clone() })
    }

    fn of_container(
        scanned: &ScanRoot,
        container: &Container,
        root: BorrowedFd<'_>,
    ) -> Result<Self, ViewError> {
        let absent = || ViewError::NoSuchRoot { kind: scanned.kind, path: scanned.seen_at.clone() };
        if scanned.kind == VolumeKind::WritableLayer {
            let layer = container.layer.as_ref().ok_or_else(absent)?;
            let merged =
                open_beneath(root, b"").map_err(|errno| open_error(Path::new("/"), "container", errno))?;
            let found = Self::new(merged, open_host(&layer.upper)?, scanned)?;
            found.must_be(layer.mount_id, &scanned.seen_at)?;
            found.must_be_overlay(&scanned.seen_at)?;
            return Ok(found);
        }
        let volume = container
            .volumes
            .iter()
            .find(|volume| volume.kind == scanned.kind && volume.mount_point == scanned.seen_at)
            .ok_or_else(absent)?;
        let merged = open_volume(root, &volume.mount_point)
            .map_err(|errno| open_error(&volume.mount_point, "container", errno))?;
        let found = Self::new(merged, open_host(&volume.host_path)?, scanned)?;
        found.must_be(volume.mount_id, &scanned.seen_at)?;
        found.must_be_one_directory(&scanned.seen_at)?;
        Ok(found)
    }

    fn must_be(&self, mount: u64, path: &Path) -> Result<(), ViewError> {
        if self.merged_mount == mount {
            return Ok(());
        }
        let what = format!("mount id {} instead of {mount}", self.merged_mount);
        Err(ViewError::OtherMount { path: path.to_path_buf(), what })
    }

    fn must_be_overlay(&self, path: &Path) -> Result<(), ViewError> {
        let found = fstatfs(&self.merged).map_err(|errno| open_error(path, "container", errno))?;
        if u64::try_from(found.f_type) == Ok(OVERLAYFS) {
            return Ok(());
        }
        let what = format!("filesystem {:#x} instead of overlayfs", found.f_type);
        Err(ViewError::OtherMount { path: path.to_path_buf(), what })
    }

    fn must_be_one_directory(&self, path: &Path) -> Result<(), ViewError> {
        let of =
            |side: &OwnedFd| look_at(side.as_fd()).map(|seen| (seen.identity.device, seen.identity.inode));
        if of(&self.merged).is_ok_and(|merged| of(&self.upper) == Ok(merged)) {
            return Ok(());
        }
        let what = "the host's directory is another one".to_owned();
        Err(ViewError::OtherMount { path: path.to_path_buf(), what })
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

/// A volume is on a mount of its own, perhaps on another volume: the way there may cross mounts, its end is compared
/// with mountinfo.
fn open_volume(root: BorrowedFd<'_>, mount_point: &Path) -> Result<OwnedFd, Errno> {
    let path = mount_point.as_os_str().as_bytes();
    resolve(root, path.strip_prefix(b"/").unwrap_or(path), ResolveFlags::empty())
}

/// A tree may be deeper than one call can say: such a path is walked piece by piece. Where a directory is moved in
/// between, what it holds is found in its new place, as with a handle held since before.
fn resolve(root: BorrowedFd<'_>, path: &[u8], more: ResolveFlags) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let how = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_SYMLINKS | more;
    let (mut piece, mut rest) = next_piece(if path.is_empty() { b"." } else { path });
    let mut here = openat2(root, piece, flags, Mode::empty(), how)?;
    while let Some(more) = rest {
        (piece, rest) = next_piece(more);
        here = openat2(&here, piece, flags, Mode::empty(), how)?;
    }
    Ok(here)
}

/// As much of a path, up to a slash, as one call takes; and what follows. A single name that is too long is left to
/// the kernel to refuse.
fn next_piece(path: &[u8]) -> (&[u8], Option<&[u8]>) {
    let slash = (path.len() >= PATH_MAX).then(|| path[..PATH_MAX].iter().rposition(|&byte| byte == b'/'));
    match slash.flatten() {
        Some(slash) => (&path[..slash], Some(&path[slash + 1..])),
        None => (path, None),
    }
}

/// The host's own paths may hold symlinks (Docker's short layer names do).
fn open_host(path: &Path) -> Result<OwnedFd, ViewError> {
    open_directory(path).map_err(|errno| open_error(path, "host", errno))
}

fn open_directory(path: &Path) -> Result<OwnedFd, Errno> {
    openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

// A symlink or a file where the upper layer has a directory is covered by that directory: nothing below it shows.
fn in_layer(layer: &Path, directory: &[u8]) -> Result<Option<OwnedFd>, Errno> {
    match open_beneath(open_directory(layer)?.as_fd(), directory) {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(errno) => Err(errno),
    }
}

fn open_error(path: &Path, side: &'static str, errno: Errno) -> ViewError {
    ViewError::Open { path: path.to_path_buf(), side, errno }
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
    fn a_path_is_cut_at_slashes_into_pieces_that_one_call_takes() {
        let component = [b'x'; 255];
        let path = [component.as_slice(); 40].join(&b'/');
        let mut pieces = Vec::new();
        let mut rest = Some(path.as_slice());
        while let Some(more) = rest {
            let (piece, next) = next_piece(more);
            pieces.push(piece);
            rest = next;
        }
        assert!(pieces.len() == 3 && pieces.iter().all(|piece| piece.len() < PATH_MAX), "{}", pieces.len());
        assert_eq!(pieces.join(&b'/'), path);
        assert_eq!(next_piece(b"a/b"), (&b"a/b"[..], None));
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
}
