//! Overlayfs, on files of a lower layer: what it copies, moves and marks on its upper layer is no operation of the
//! container's. Then the same operations right after a copy-up, of the file or of the folder that it is in.

use std::fs::{self, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use nix::libc;
use nix::sys::stat::SFlag;
use podsweep::observe::Kind;

use super::called::{create_new, tmpfile, tmpfile_linked_through_proc};
use super::nodes::{bind_path, node};
use super::prepare::{file, nothing};
use super::removing::{NO_FLAGS, rename};
use super::{Operation, Place, Step, Way};
use crate::kernel_uring::{By, openat};

const FIFO: SFlag = SFlag::S_IFIFO;

const fn of_lower(
    name: &'static str,
    prepare: Step,
    run: Step,
    expected: &'static [(Kind, u64)],
) -> Operation {
    Operation::new(name, prepare, run, expected).on(Place::Overlay)
}

pub(super) const OPERATIONS: &[Operation] = &[
    of_lower("copy-up by open", nothing, copy_up, &[]),
    of_lower("copy-up by O_TRUNC", nothing, |d| fs::File::create(d.join("lower")).map(drop), &[]),
    of_lower("copy-up by chmod", nothing, |d| chmod(&d.join("lower")), &[]),
    of_lower("copy-up of a folder", nothing, |d| chmod(&d.join("folder")), &[]),
    // Overlayfs makes whiteouts, and moves them away.
    of_lower(
        "unlink of an image's file",
        nothing,
        |d| fs::remove_file(d.join("lower")),
        &[(Kind::Unlink, 1)],
    ),
    of_lower("rmdir of an image's folder", nothing, |d| fs::remove_dir(d.join("empty")), &[(Kind::Rmdir, 1)]),
    of_lower("create over a whiteout", whiteout, |d| create_new(&d.join("lower")), &[(Kind::Create, 1)]),
    of_lower("mkdir over a whiteout", whiteout, |d| fs::create_dir(d.join("lower")), &[(Kind::Mkdir, 1)]),
    of_lower("symlink over a whiteout", whiteout, |d| symlink("x", d.join("lower")), &[(Kind::Symlink, 1)]),
    of_lower("link over a whiteout", whiteout_and_file, link_over_whiteout, &[(Kind::Link, 1)]),
    // The copy-up is part of the operation.
    of_lower("link of an image's file", nothing, link_lower, &[(Kind::Link, 1)]),
    of_lower("rename of an image's file", nothing, rename_lower, &[(Kind::Rename, 1)]),
    of_lower(
        "rename over an image's file",
        file,
        |d| rename(d, "file", "lower", NO_FLAGS),
        &[(Kind::Rename, 1), (Kind::RenameOver, 1)],
    ),
    // The file was copied up a moment ago.
    of_lower("copy-up, then unlink", nothing, |d| after_copy_up(d, unlink_lower), &[(Kind::Unlink, 1)]),
    of_lower("copy-up, then link", nothing, |d| after_copy_up(d, link_lower), &[(Kind::Link, 1)]),
    of_lower("copy-up, then rename", nothing, |d| after_copy_up(d, rename_lower), &[(Kind::Rename, 1)]),
    of_lower(
        "copy-up, then rename over it",
        file,
        |d| after_copy_up(d, |d| rename(d, "file", "lower", NO_FLAGS)),
        &[(Kind::Rename, 1), (Kind::RenameOver, 1)],
    ),
    of_lower(
        "copy-up, then unlink and create anew",
        nothing,
        |d| after_copy_up(d, recreate_lower),
        &[(Kind::Unlink, 1), (Kind::Create, 1)],
    ),
    // The folder has to be copied up first.
    of_lower(
        "create in an image's folder",
        nothing,
        |d| create_new(&d.join("folder/new")),
        &[(Kind::Create, 1)],
    ),
    of_lower(
        "O_TMPFILE in an image's folder",
        nothing,
        |d| tmpfile(&d.join("folder")).map(drop),
        &[(Kind::Tmpfile, 1)],
    )
    .may_be_refused(),
    of_lower(
        "O_TMPFILE in an image's folder, linked",
        nothing,
        |d| tmpfile_linked_through_proc(&d.join("folder")),
        &[(Kind::Tmpfile, 1), (Kind::Link, 1)],
    )
    .may_be_refused(),
    of_lower(
        "mkdir in an image's folder",
        nothing,
        |d| fs::create_dir(d.join("folder/new")),
        &[(Kind::Mkdir, 1)],
    ),
    of_lower(
        "mknod in an image's folder",
        nothing,
        |d| node(&d.join("folder"), FIFO, (0, 0)),
        &[(Kind::Mknod, 1)],
    ),
    of_lower("bind in an image's folder", nothing, |d| bind_path(&d.join("folder")), &[(Kind::SockBind, 1)]),
    of_lower(
        "symlink in an image's folder",
        nothing,
        |d| symlink("nowhere", d.join("folder/new")),
        &[(Kind::Symlink, 1)],
    ),
    of_lower(
        "link into an image's folder",
        file,
        |d| fs::hard_link(d.join("file"), d.join("folder/new")),
        &[(Kind::Link, 1)],
    ),
    of_lower(
        "unlink in an image's folder",
        nothing,
        |d| fs::remove_file(d.join("folder/file")),
        &[(Kind::Unlink, 1)],
    ),
    of_lower(
        "rename into an image's folder",
        file,
        |d| rename(d, "file", "folder/new", NO_FLAGS),
        &[(Kind::Rename, 1)],
    ),
    of_lower(
        "copy-up of a folder, then create in it",
        nothing,
        |d| chmod(&d.join("folder")).and_then(|()| create_new(&d.join("folder/new"))),
        &[(Kind::Create, 1)],
    ),
    of_lower(
        "io_uring worker openat in an image's folder",
        nothing,
        |d| openat(&d.join("folder/new"), libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY, By::Worker),
        &[(Kind::Create, 1)],
    )
    .by(Way::IoUring)
    .may_be_refused(),
];

/// Makes what these operations find in the lower layer, before it is mounted.
pub fn fill_lower(lower: &Path) -> io::Result<()> {
    for operation in OPERATIONS {
        let place = lower.join(operation.folder());
        for folder in ["folder", "empty"] {
            fs::create_dir_all(place.join(folder))?;
        }
        for file in ["lower", "folder/file"] {
            fs::write(place.join(file), "of the image")?;
        }
    }
    Ok(())
}

fn copy_up(folder: &Path) -> io::Result<()> {
    OpenOptions::new().write(true).open(folder.join("lower")).map(drop)
}

fn after_copy_up(folder: &Path, work: Step) -> io::Result<()> {
    copy_up(folder)?;
    work(folder)
}

fn chmod(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(0o700))
}

fn whiteout(folder: &Path) -> io::Result<()> {
    fs::remove_file(folder.join("lower"))
}

fn whiteout_and_file(folder: &Path) -> io::Result<()> {
    file(folder)?;
    whiteout(folder)
}

fn unlink_lower(folder: &Path) -> io::Result<()> {
    fs::remove_file(folder.join("lower"))
}

fn link_lower(folder: &Path) -> io::Result<()> {
    fs::hard_link(folder.join("lower"), folder.join("new"))
}

fn link_over_whiteout(folder: &Path) -> io::Result<()> {
    fs::hard_link(folder.join("file"), folder.join("lower"))
}

fn rename_lower(folder: &Path) -> io::Result<()> {
    rename(folder, "lower", "new", NO_FLAGS)
}

fn recreate_lower(folder: &Path) -> io::Result<()> {
    unlink_lower(folder)?;
    create_new(&folder.join("lower"))
}
