//! Names removed, and renamed.

use std::fs;
use std::io;
use std::path::Path;

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat, renameat2};
use podsweep::observe::Kind;

use super::prepare::{file, folder, folder_and_file, two_files, two_folders, two_names};
use super::{Operation, Place};
use crate::kernel_raw as raw;

pub(super) const NO_FLAGS: RenameFlags = RenameFlags::empty();

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::new("unlink", file, |d| fs::remove_file(d.join("file")), &[(Kind::Unlink, 1)]),
    Operation::new("rmdir", folder, |d| fs::remove_dir(d.join("folder")), &[(Kind::Rmdir, 1)]),
    Operation::new(
        "unlinkat, folder and file",
        folder_and_file,
        |d| fs::remove_dir_all(d.join("folder")),
        &[(Kind::Unlink, 1), (Kind::Rmdir, 1)],
    ),
    Operation::new(
        "rename to a new name",
        file,
        |d| rename(d, "file", "new", NO_FLAGS),
        &[(Kind::Rename, 1)],
    ),
    Operation::new(
        "rename by its old number",
        file,
        |d| raw::rename(&d.join("file"), &d.join("new")),
        &[(Kind::Rename, 1)],
    ),
    Operation::new(
        "renameat",
        file,
        |d| Ok(renameat(AT_FDCWD, &d.join("file"), AT_FDCWD, &d.join("new"))?),
        &[(Kind::Rename, 1)],
    ),
    Operation::new(
        "rename over a file",
        two_files,
        |d| rename(d, "file", "other", NO_FLAGS),
        &[(Kind::Rename, 1), (Kind::RenameOver, 1)],
    ),
    Operation::new(
        "rename over an empty folder",
        two_folders,
        |d| rename(d, "folder", "other", NO_FLAGS),
        &[(Kind::Rename, 1), (Kind::RenameOver, 1)],
    ),
    Operation::new(
        "rename, exchange",
        two_files,
        |d| rename(d, "file", "other", RenameFlags::RENAME_EXCHANGE),
        &[(Kind::Rename, 1)],
    ),
    // What it leaves behind is overlayfs's own mark, no file of the container's.
    Operation::new(
        "rename, leaving a whiteout",
        file,
        |d| rename(d, "file", "new", RenameFlags::RENAME_WHITEOUT),
        &[(Kind::Rename, 1)],
    )
    .on(Place::NotOverlay),
    Operation::new(
        "rename of two names of one file",
        two_names,
        |d| rename(d, "file", "other", NO_FLAGS),
        &[(Kind::Rename, 1)],
    ),
];

pub(super) fn rename(folder: &Path, from: &str, to: &str, flags: RenameFlags) -> io::Result<()> {
    Ok(renameat2(AT_FDCWD, &folder.join(from), AT_FDCWD, &folder.join(to), flags)?)
}
