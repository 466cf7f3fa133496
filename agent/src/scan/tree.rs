//! Opening directories so that nothing leads out of the tree: from a handle, one name at a time, never through a
//! symlink, never onto another mount.
//!
//! In: a root's path, or a directory handle and a name in it. Out: directory handles and mount ids. Must never:
//! open anything but a directory, or for anything but reading.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, StatxFlags};
use rustix::io::Errno;

const READ: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC)
    .union(OFlags::NONBLOCK);

/// What one directory handle is on: the mount, and the device as a second witness (and the only one before
/// Linux 5.8, which has no mount id to show).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MountOf {
    mount: Option<u64>,
    device: (u32, u32),
}

/// A tree's root for reading. Symlinks on the way are the host's own (`/var/lib/docker` often is one); the last
/// name must be a directory itself, and `/proc`'s magic links are refused anywhere.
pub(super) fn open_root(path: &Path) -> Result<OwnedFd, Errno> {
    rustix::fs::openat2(CWD, path, READ, Mode::empty(), ResolveFlags::NO_MAGICLINKS)
}

/// A lower layer's root, as a handle to look names up in.
pub(super) fn open_lower_root(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS)
}

/// A directory in `parent`.
///
/// `openat`, not `openat2`: its flags are an argument that the seccomp filter can see, `openat2`'s are behind a
/// pointer that it cannot. `name` comes from getdents, so it is one component, and with `O_NOFOLLOW` there is
/// nothing left for `RESOLVE_BENEATH` and `RESOLVE_NO_SYMLINKS` to refuse. The caller compares [`mount_of`] in
/// place of `RESOLVE_NO_XDEV`.
pub(super) fn open_child(parent: impl AsFd, name: &CStr) -> Result<OwnedFd, Errno> {
    // O_NOATIME is for the directory's owner (and CAP_FOWNER, which the worker gives up): where it is refused,
    // the access time moves as it would for anyone who reads the directory.
    match rustix::fs::openat(&parent, name, READ | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => rustix::fs::openat(&parent, name, READ, Mode::empty()),
        opened => opened,
    }
}

/// Which mount a handle is on.
pub(super) fn mount_of(directory: impl AsFd) -> Result<MountOf, Errno> {
    let stat = rustix::fs::statx(directory, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?;
    let known = StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::MNT_ID);
    Ok(MountOf { mount: known.then_some(stat.stx_mnt_id), device: (stat.stx_dev_major, stat.stx_dev_minor) })
}
