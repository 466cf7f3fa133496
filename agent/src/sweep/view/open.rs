//! Opens the roots of a view, by the agent.
//!
//! In: scan roots, the container as the inventory saw it, its held process. Out: a [`View`], or why the container's
//! mounts cannot be trusted. Must never: take a mount for the one that the inventory saw because it has its path.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, fstatfs, openat};
use rustix::io::Errno;

use super::super::held::{Held, Lost};
use super::super::identity::{look_at, mount_of};
use super::{Root, View, open_beneath, resolve};
use crate::inventory::{Container, VolumeKind};
use crate::scan::ScanRoot;

/// `OVERLAYFS_SUPER_MAGIC` of linux/magic.h. A mount id alone may have been reused.
const OVERLAYFS: u64 = 0x794c_7630;

/// Why the container's view cannot be trusted.
#[derive(Debug, thiserror::Error)]
pub(in super::super) enum ViewError {
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

impl View {
    /// Of a container. Every root's mount is compared with what the inventory saw.
    pub(in super::super) fn of_container(
        roots: &[ScanRoot],
        container: &Container,
        held: &Held,
    ) -> Result<Self, ViewError> {
        let root = held.root()?;
        let roots = roots.iter().map(|scanned| of_container(scanned, container, root.as_fd()));
        Ok(Self { roots: roots.collect::<Result<_, _>>()? })
    }

    /// Of plain directories: both sides are the same.
    pub(in super::super) fn of_directories(roots: &[ScanRoot]) -> Result<Self, ViewError> {
        let roots = roots.iter().map(|scanned| Root::open(open_host(&scanned.host)?, &scanned.host, scanned));
        Ok(Self { roots: roots.collect::<Result<_, _>>()? })
    }
}

fn of_container(scanned: &ScanRoot, container: &Container, root: BorrowedFd<'_>) -> Result<Root, ViewError> {
    let absent = || ViewError::NoSuchRoot { kind: scanned.kind, path: scanned.seen_at.clone() };
    if scanned.kind == VolumeKind::WritableLayer {
        let layer = container.layer.as_ref().ok_or_else(absent)?;
        let merged =
            open_beneath(root, b"").map_err(|errno| open_error(Path::new("/"), "container", errno))?;
        let found = Root::open(merged, &layer.upper, scanned)?;
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
    let found = Root::open(merged, &volume.host_path, scanned)?;
    found.must_be(volume.mount_id, &scanned.seen_at)?;
    found.must_be_one_directory(&scanned.seen_at)?;
    Ok(found)
}

impl Root {
    fn open(merged: OwnedFd, upper: &Path, scanned: &ScanRoot) -> Result<Self, ViewError> {
        let lower = scanned.lower.iter().map(|layer| open_host(layer)).collect::<Result<_, _>>()?;
        Ok(Self { merged, upper: open_host(upper)?, lower })
    }

    fn must_be(&self, mount: u64, path: &Path) -> Result<(), ViewError> {
        let now = mount_of(self.merged.as_fd()).map_err(|errno| open_error(path, "container", errno))?;
        if now == mount {
            return Ok(());
        }
        let what = format!("mount id {now} instead of {mount}");
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

/// A volume is on a mount of its own, perhaps on another volume: the way there may cross mounts, its end is compared
/// with mountinfo.
fn open_volume(root: BorrowedFd<'_>, mount_point: &Path) -> Result<OwnedFd, Errno> {
    let path = mount_point.as_os_str().as_bytes();
    resolve(root, path.strip_prefix(b"/").unwrap_or(path), ResolveFlags::empty())
}

/// The host's own paths may hold symlinks (Docker's short layer names do).
fn open_host(path: &Path) -> Result<OwnedFd, ViewError> {
    openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| open_error(path, "host", errno))
}

fn open_error(path: &Path, side: &'static str, errno: Errno) -> ViewError {
    ViewError::Open { path: path.to_path_buf(), side, errno }
}
