//! A process's root directory, held by a handle.
//!
//! In: a pid. Out: which directory it is, on which mount, and the directories below it by path.
//! Must never: follow a symlink that a container made; open anything for more than looking (`O_PATH`).

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, Statx, StatxFlags};
use rustix::io::Errno;

/// A directory, told from every other by what the kernel says of it.
#[derive(Debug)]
pub(super) struct Directory {
    fd: OwnedFd,
    stat: Statx,
}

/// Filesystem and inode of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Inode {
    device: (u32, u32),
    number: u64,
}

/// What overlayfs hands through unchanged from the upper directory to the merged one (device and inode number it
/// does not). The times have nanoseconds: two directories that agree in all of it are one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HandedThrough {
    mode: u16,
    modified: (i64, u32),
    changed: (i64, u32),
    /// Size of the filesystem, in blocks, and of a block: overlayfs answers statfs with the upper filesystem's.
    blocks: u64,
    block_size: i64,
}

impl Directory {
    /// The root of a process, as it sees it now.
    pub(super) fn root_of(pid: i32) -> Result<Self, Errno> {
        Self::open(&Path::new("/proc").join(pid.to_string()).join("root"))
    }

    /// A directory of the host, or the root of this very process (`/`).
    pub(super) fn open(path: &Path) -> Result<Self, Errno> {
        Self::from(rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
    }

    /// The directory at `path` (absolute, as the process sees it); no symlink on the way is followed.
    pub(super) fn below(&self, path: &Path) -> Result<Self, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        Self::from(rustix::fs::openat2(&self.fd, path, flags, Mode::empty(), resolve)?)
    }

    // What tells a directory never changes, so no server is asked whether it did: that of a process's root (FUSE, NFS)
    // may never answer, and whoever waits for it holds the whole inventory.
    fn from(fd: OwnedFd) -> Result<Self, Errno> {
        let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
        let stat = rustix::fs::statx(&fd, "", flags, StatxFlags::BASIC_STATS | StatxFlags::MNT_ID)?;
        Ok(Self { fd, stat })
    }

    pub(super) fn inode(&self) -> Inode {
        Inode { device: (self.stat.stx_dev_major, self.stat.stx_dev_minor), number: self.stat.stx_ino }
    }

    /// The id that mountinfo gives the mount it lies on. `None` before Linux 5.8.
    pub(super) fn mount_id(&self) -> Option<u64> {
        (self.stat.stx_mask & StatxFlags::MNT_ID.bits() != 0).then_some(self.stat.stx_mnt_id)
    }

    pub(super) fn handed_through(&self) -> Result<HandedThrough, Errno> {
        // Fresh: the container may have made a name in its root since the handle was opened.
        let now = rustix::fs::statx(&self.fd, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?;
        let filesystem = rustix::fs::fstatfs(&self.fd)?;
        Ok(HandedThrough {
            mode: now.stx_mode,
            modified: (now.stx_mtime.tv_sec, now.stx_mtime.tv_nsec),
            changed: (now.stx_ctime.tv_sec, now.stx_ctime.tv_nsec),
            blocks: filesystem.f_blocks,
            block_size: filesystem.f_bsize,
        })
    }
}

/// The roots that the host itself uses: a process on one of them is no container.
#[derive(Debug, Clone)]
pub(super) struct HostRoots(Vec<Inode>);

impl HostRoots {
    /// Init's and our own. Where init's may not be looked at, our own is the host's as far as we can see.
    pub(super) fn find() -> Self {
        let roots = [Directory::root_of(1), Directory::open(Path::new("/"))];
        Self(roots.iter().flatten().map(Directory::inode).collect())
    }

    pub(super) fn contain(&self, root: &Directory) -> bool {
        self.0.contains(&root.inode())
    }
}

/// Inode number of a path, the last component's symlink not followed.
pub(super) fn inode_number(path: &Path) -> Option<u64> {
    let stat = rustix::fs::statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::INO).ok()?;
    Some(stat.stx_ino)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_root_is_no_container_and_another_directory_is() {
        let roots = HostRoots::find();
        assert!(roots.contain(&Directory::open(Path::new("/")).unwrap()));
        assert!(!roots.contain(&Directory::open(tempfile::tempdir().unwrap().path()).unwrap()));
    }

    #[test]
    fn below_follows_no_symlink_and_does_not_leave() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(home.path().join("a/b")).unwrap();
        std::os::unix::fs::symlink("/", home.path().join("link")).unwrap();
        let root = Directory::open(home.path()).unwrap();
        assert!(root.below(Path::new("/a/b")).is_ok());
        assert_eq!(root.below(Path::new("/link/etc")).unwrap_err(), Errno::LOOP);
        assert_eq!(root.below(Path::new("/../..")).unwrap().inode(), root.inode());
    }

    #[test]
    fn two_directories_are_told_apart() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| {
            std::fs::create_dir(home.path().join(name)).unwrap();
            Directory::open(&home.path().join(name)).unwrap()
        };
        let (a, b) = (at("a"), at("b"));
        assert_ne!(a.inode(), b.inode());
        assert_eq!(a.handed_through().unwrap(), a.handed_through().unwrap());
        assert!(a.mount_id().is_some());
    }
}
