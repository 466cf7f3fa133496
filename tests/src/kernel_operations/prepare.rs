//! What an operation finds in its folder.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use nix::mount::{MsFlags, mount};
use rustix::fs::{FallocateFlags, fallocate};

/// Names made on a filesystem that is to be full, before it must have said so: the tiny ones have room for some 100.
const MAX_FILL: u32 = 10_000;

#[expect(clippy::unnecessary_wraps, reason = "one of the table's functions")]
pub(super) fn nothing(_: &Path) -> io::Result<()> {
    Ok(())
}

pub(super) fn file(folder: &Path) -> io::Result<()> {
    fs::write(folder.join("file"), "content")
}

pub(super) fn two_files(folder: &Path) -> io::Result<()> {
    file(folder)?;
    fs::write(folder.join("other"), "content")
}

pub(super) fn two_names(folder: &Path) -> io::Result<()> {
    file(folder)?;
    fs::hard_link(folder.join("file"), folder.join("other"))
}

pub(super) fn folder(parent: &Path) -> io::Result<()> {
    fs::create_dir(parent.join("folder"))
}

pub(super) fn two_folders(parent: &Path) -> io::Result<()> {
    folder(parent)?;
    fs::create_dir(parent.join("other"))
}

pub(super) fn folder_and_file(parent: &Path) -> io::Result<()> {
    folder(parent)?;
    fs::write(parent.join("folder/file"), "content")
}

pub(super) fn dangling(folder: &Path) -> io::Result<()> {
    symlink("target", folder.join("link"))
}

/// A folder that any user may write to.
pub(super) fn open_to_all(folder: &Path) -> io::Result<()> {
    file(folder)?;
    fs::set_permissions(folder, Permissions::from_mode(0o777))
}

/// A folder that its owner alone may write to.
pub(super) fn closed_to_others(folder: &Path) -> io::Result<()> {
    file(folder)?;
    fs::set_permissions(folder, Permissions::from_mode(0o755))
}

/// The folder itself, with a file and a folder in it, mounted again for reading only.
pub(super) fn read_only(place: &Path) -> io::Result<()> {
    two_files(place)?;
    folder(place)?;
    let (none, bind) = (None::<&str>, MsFlags::MS_BIND);
    mount(Some(place), place, none, bind, none)?;
    mount(none, place, none, bind | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY, none)?;
    Ok(())
}

/// Takes every block, then every inode, of the filesystem that `root` is on.
pub(super) fn full(root: &Path) -> io::Result<()> {
    take_blocks(&root.join("b"))?;
    // Names no longer than those to come: else the directory could be full, and still take a shorter one.
    for number in 0..MAX_FILL {
        match fs::File::create_new(root.join(number.to_string())) {
            Err(error) if error.kind() == io::ErrorKind::StorageFull => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => drop(other?),
        }
    }
    Err(io::Error::other(format!("{}: {MAX_FILL} files, and still not full", root.display())))
}

/// As much as there is, in ever smaller pieces: 16 MiB to 4 KiB.
fn take_blocks(ballast: &Path) -> io::Result<()> {
    let ballast = match fs::File::create_new(ballast) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        other => other?,
    };
    let mut end = 0;
    for piece in (12..=24).rev().map(|power| 1_u64 << power) {
        while fallocate(&ballast, FallocateFlags::empty(), end, piece).is_ok() {
            end += piece;
        }
    }
    Ok(())
}
