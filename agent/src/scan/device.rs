//! Which disks a scan reads, as the kernel's I/O limits want them named.
//!
//! In: a root's path on the host. Out: major and minor number of whole disks. Must never: guess.

use std::collections::BTreeSet;
use std::fmt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxFlags, major, minor};

use crate::kernel::{self, KernelError};

/// Filesystems that have no disk of this host under them, so that there is nothing to limit.
const WITHOUT_DISK: &[&str] = &["tmpfs", "ramfs", "nfs", "nfs4", "cifs", "smb3", "ceph", "9p", "virtiofs"];

/// A block device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Disk {
    pub(super) major: u32,
    pub(super) minor: u32,
}

impl fmt::Display for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

/// What holds one root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Holder {
    Disk(Disk),
    /// No disk of this host: the filesystem's type.
    NoDisk(String),
    /// There is one, most likely, and it cannot be told which: the filesystem's type.
    Unknown(String),
}

/// What holds a scan's roots, each once.
#[derive(Debug, Default)]
pub(super) struct Holders {
    pub(super) disks: BTreeSet<Disk>,
    /// Filesystem types.
    pub(super) without_disk: BTreeSet<String>,
    /// Filesystem types.
    pub(super) unknown: BTreeSet<String>,
}

/// What holds all of `roots`.
pub(super) fn holders<'p>(roots: impl Iterator<Item = &'p Path>) -> Result<Holders, KernelError> {
    let mut holders = Holders::default();
    for root in roots {
        match holder(root)? {
            Holder::Disk(disk) => _ = holders.disks.insert(disk),
            Holder::NoDisk(kind) => _ = holders.without_disk.insert(kind),
            Holder::Unknown(kind) => _ = holders.unknown.insert(kind),
        }
    }
    Ok(holders)
}

fn holder(root: &Path) -> Result<Holder, KernelError> {
    let stat = rustix::fs::statx(CWD, root, AtFlags::empty(), StatxFlags::MNT_ID)
        .map_err(|errno| KernelError::Read { path: root.to_path_buf(), source: errno.into() })?;
    // Major 0 is an anonymous device: tmpfs and overlayfs, but btrfs, too, whose mount names its disk.
    if stat.stx_dev_major != 0 {
        return whole_disk(stat.stx_dev_major, stat.stx_dev_minor).map(Holder::Disk);
    }
    let mountinfo = kernel::read("/proc/self/mountinfo")?;
    let Some((kind, source)) = mount(&mountinfo, stat.stx_mnt_id) else {
        return Ok(Holder::Unknown("mount not found".to_owned()));
    };
    match std::fs::metadata(source) {
        Ok(node) if node.file_type().is_block_device() => {
            whole_disk(major(node.rdev()), minor(node.rdev())).map(Holder::Disk)
        }
        _ if WITHOUT_DISK.contains(&kind) || kind.starts_with("fuse") => Ok(Holder::NoDisk(kind.to_owned())),
        _ => Ok(Holder::Unknown(kind.to_owned())),
    }
}

/// Filesystem type and source of a mount, from mountinfo (proc_pid_mountinfo(5)).
fn mount(mountinfo: &str, id: u64) -> Option<(&str, &str)> {
    mountinfo.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let line_id: u64 = before.split(' ').next()?.parse().ok()?;
        let mut after = after.split(' ');
        (line_id == id).then_some((after.next()?, after.next()?))
    })
}

/// The disk that a partition is on; the device itself where it is none. I/O limits work on request queues, and a
/// partition has none of its own.
fn whole_disk(major: u32, minor: u32) -> Result<Disk, KernelError> {
    let device = PathBuf::from(format!("/sys/dev/block/{major}:{minor}"));
    if !device.join("partition").exists() {
        return Ok(Disk { major, minor });
    }
    // The kernel follows the symlink first, so `..` is the disk's directory.
    let path = device.join("../dev");
    let text = kernel::read(&path)?;
    parse_device(&text).ok_or(KernelError::Parse { path, what: text })
}

fn parse_device(text: &str) -> Option<Disk> {
    let (major, minor) = text.trim().split_once(':')?;
    Some(Disk { major: major.parse().ok()?, minor: minor.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_partition_of_this_machine_has_its_disk() {
        for entry in std::fs::read_dir("/sys/dev/block").unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let device = parse_device(&name).unwrap();
            let disk = whole_disk(device.major, device.minor).unwrap();
            assert!(!Path::new(&format!("/sys/dev/block/{disk}/partition")).exists(), "{name} -> {disk}");
        }
    }

    #[test]
    fn tmpfs_has_no_disk_and_proc_is_not_known() {
        assert_eq!(holder(Path::new("/dev/shm")).unwrap(), Holder::NoDisk("tmpfs".into()));
        assert_eq!(holder(Path::new("/proc")).unwrap(), Holder::Unknown("proc".into()));
    }

    #[test]
    fn the_mount_with_that_id_is_found() {
        let text =
            "21 1 0:20 / / rw - tmpfs none rw\n210 1 0:31 /sub /data rw shared:1 - btrfs /dev/sda2 rw\n";
        assert_eq!(mount(text, 210), Some(("btrfs", "/dev/sda2")));
        assert_eq!(mount(text, 2), None);
    }
}
