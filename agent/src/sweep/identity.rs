//! What a name is right now, and whether that is still what was scanned. One statx per question, and never one of
//! what somebody has mounted on the name.
//!
//! What overlayfs shows of a file that exists in the upper layer alone (measured on 6.18; upper and lower on one
//! filesystem, on two, on two with `xino=on`, upper on ext4 and on tmpfs): mode, links, size, mtime, ctime and the
//! inode number are the upper file's own in every one of them; the device number is overlayfs's. The one exception
//! is a file of the image that was renamed: overlayfs shows the inode number it had in the image. Such a file stays
//! (`ViewDiffers`), because what tells it apart, the `trusted.overlay.origin` attribute, is for `CAP_SYS_ADMIN`.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Statx, StatxFlags, makedev, openat2, statx};
use rustix::io::Errno;

use crate::scan::Identity;

/// A name as the kernel shows it through one mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    /// What it is.
    pub(super) identity: Identity,
    /// Mount id, as in mountinfo (`STATX_MNT_ID`, Linux 5.8).
    pub(super) mount: u64,
}

impl Seen {
    /// Type of the file.
    pub(super) fn file_type(&self) -> FileType {
        file_type(&self.identity)
    }
}

/// Type of a scanned file.
pub(super) fn file_type(identity: &Identity) -> FileType {
    FileType::from_raw_mode(identity.mode)
}

/// What `name` in `directory` is; the symlink itself where it is one. `EXDEV` where something is mounted on it.
pub(super) fn look(directory: BorrowedFd<'_>, name: &[u8]) -> Result<Seen, Errno> {
    look_at(hold(directory, name)?.as_fd())
}

/// An `O_PATH` handle on `name` in `directory`; on the symlink itself where it is one. `EXDEV` where something is
/// mounted on it: the server of what is mounted (FUSE, NFS) is not asked, because it may never answer.
pub(super) fn hold(directory: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let how = ResolveFlags::BENEATH
        | ResolveFlags::NO_XDEV
        | ResolveFlags::NO_SYMLINKS
        | ResolveFlags::NO_MAGICLINKS;
    openat2(directory, name, flags, Mode::empty(), how)
}

/// The mount that a handle is on. Nothing else is asked for, so that no server is.
pub(super) fn mount_of(handle: BorrowedFd<'_>) -> Result<u64, Errno> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    statx(handle, "", flags, StatxFlags::MNT_ID).map(|stat| stat.stx_mnt_id)
}

/// What an open handle (`O_PATH` will do) refers to.
pub(super) fn look_at(handle: BorrowedFd<'_>) -> Result<Seen, Errno> {
    statx(handle, "", AtFlags::EMPTY_PATH, wanted()).map(|stat| seen(&stat))
}

/// As [`look_at`], through `/proc/PID/fd/N` and the like: follows the link, never asks a server of a network
/// filesystem (which may be dead).
pub(super) fn look_behind(directory: BorrowedFd<'_>, link: &[u8]) -> Result<Seen, Errno> {
    statx(directory, link, AtFlags::NO_AUTOMOUNT | AtFlags::STATX_DONT_SYNC, wanted()).map(|stat| seen(&stat))
}

/// Whether two looks, perhaps through different mounts, show the same file. The device is left out because overlayfs
/// shows its own; the owners, because an idmapped mount (pods with user namespaces) shows mapped ones: a change of
/// owner shows in ctime.
pub(super) fn same_file(one: &Identity, other: &Identity) -> bool {
    let blind = |identity: &Identity| Identity { device: 0, uid: 0, gid: 0, ..*identity };
    blind(one) == blind(other)
}

fn wanted() -> StatxFlags {
    StatxFlags::BASIC_STATS | StatxFlags::MNT_ID
}

fn seen(stat: &Statx) -> Seen {
    Seen {
        identity: Identity {
            device: makedev(stat.stx_dev_major, stat.stx_dev_minor),
            inode: stat.stx_ino,
            mode: u32::from(stat.stx_mode),
            uid: stat.stx_uid,
            gid: stat.stx_gid,
            links: u64::from(stat.stx_nlink),
            size: stat.stx_size,
            mtime: (stat.stx_mtime.tv_sec, i64::from(stat.stx_mtime.tv_nsec)),
            ctime: (stat.stx_ctime.tv_sec, i64::from(stat.stx_ctime.tv_nsec)),
        },
        mount: stat.stx_mnt_id,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn agrees_with_stat_field_by_field() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("a"), "hello").unwrap();
        let handle = std::fs::File::open(directory.path()).unwrap();
        let identity = look(handle.as_fd(), b"a").unwrap().identity;
        let stat = std::fs::metadata(directory.path().join("a")).unwrap();
        assert_eq!((identity.device, identity.inode), (stat.dev(), stat.ino()));
        assert_eq!((identity.mode, identity.links, identity.size), (stat.mode(), stat.nlink(), 5));
        assert_eq!(identity.mtime, (stat.mtime(), stat.mtime_nsec()));
        assert_eq!(identity.ctime, (stat.ctime(), stat.ctime_nsec()));
    }

    #[test]
    fn device_and_owner_are_the_only_fields_that_a_mount_may_change() {
        let handle = std::fs::File::open("/").unwrap();
        let one = look_at(handle.as_fd()).unwrap().identity;
        assert!(same_file(&one, &Identity { device: 1, uid: 7, gid: 7, ..one }));
        assert!(!same_file(&one, &Identity { ctime: (one.ctime.0, one.ctime.1 ^ 1), ..one }));
        assert!(!same_file(&one, &Identity { inode: one.inode + 1, ..one }));
    }
}
