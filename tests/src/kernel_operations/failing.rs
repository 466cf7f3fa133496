//! What the kernel refuses: each must fail with the error of its row, had it worked or failed otherwise its counts
//! would prove nothing.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::libc;
use nix::sys::stat::SFlag;

use super::called::{create, create_new, tmpfile};
use super::nodes::{bind_path, node};
use super::prepare::{closed_to_others, file, folder, folder_and_file, full, nothing, read_only, two_files};
use super::removing::{NO_FLAGS, rename};
use super::tasks::{as_nobody, in_folder_as_nobody, remove_relative};
use super::{Operation, Place, Step};

use libc::{EACCES, EADDRINUSE, EEXIST, ENAMETOOLONG, ENOENT, ENOSPC, ENOTEMPTY, EROFS};

const FIFO: SFlag = SFlag::S_IFIFO;

const fn fails(name: &'static str, prepare: Step, run: Step) -> Operation {
    Operation::new(name, prepare, run, &[])
}

pub(super) const OPERATIONS: &[Operation] = &[
    fails("EEXIST: exclusive open", file, |d| with(EEXIST, create_new(&d.join("file")))),
    fails("EEXIST: mkdir", folder, |d| with(EEXIST, fs::create_dir(d.join("folder")))),
    fails("EEXIST: symlink", file, |d| with(EEXIST, symlink("nowhere", d.join("file")))),
    fails("EEXIST: mknod", new_file, |d| with(EEXIST, node(d, FIFO, (0, 0)))),
    fails("EEXIST: link", two_files, |d| with(EEXIST, fs::hard_link(d.join("file"), d.join("other")))),
    fails("EADDRINUSE: bind", new_file, |d| with(EADDRINUSE, bind_path(d))),
    fails("ENAMETOOLONG: open", nothing, |d| with(ENAMETOOLONG, create(&too_long(d)))),
    fails("ENAMETOOLONG: mkdir", nothing, |d| with(ENAMETOOLONG, fs::create_dir(too_long(d)))),
    fails("ENAMETOOLONG: symlink", nothing, |d| with(ENAMETOOLONG, symlink("nowhere", too_long(d)))),
    fails("ENAMETOOLONG: link", file, |d| with(ENAMETOOLONG, fs::hard_link(d.join("file"), too_long(d)))),
    fails("ENOENT: open in a missing folder", nothing, |d| with(ENOENT, create(&d.join("missing/new")))),
    fails("ENOENT: unlink", nothing, |d| with(ENOENT, fs::remove_file(d.join("missing")))),
    fails("ENOENT: rename", nothing, |d| with(ENOENT, rename(d, "missing", "new", NO_FLAGS))),
    fails("ENOTEMPTY: rmdir", folder_and_file, |d| with(ENOTEMPTY, fs::remove_dir(d.join("folder")))),
    // As another user, in a folder that is root's.
    fails("EACCES: open", closed_to_others, |d| {
        with(EACCES, as_nobody(d, "new", OFlag::O_CREAT | OFlag::O_WRONLY))
    }),
    fails("EACCES: O_TMPFILE", closed_to_others, |d| {
        with(EACCES, as_nobody(d, ".", OFlag::O_TMPFILE | OFlag::O_RDWR))
    })
    .may_be_refused(),
    fails("EACCES: mkdir", closed_to_others, |d| {
        with(EACCES, in_folder_as_nobody(d, || fs::create_dir("new")))
    }),
    fails("EACCES: unlink", closed_to_others, |d| with(EACCES, in_folder_as_nobody(d, remove_relative))),
    fails("EROFS: open", read_only, |d| with(EROFS, create(&d.join("new")))),
    fails("EROFS: O_TMPFILE", read_only, |d| with(EROFS, tmpfile(d).map(drop))).may_be_refused(),
    fails("EROFS: mkdir", read_only, |d| with(EROFS, fs::create_dir(d.join("new")))),
    fails("EROFS: mknod", read_only, |d| with(EROFS, node(d, FIFO, (0, 0)))),
    fails("EROFS: symlink", read_only, |d| with(EROFS, symlink("nowhere", d.join("new")))),
    fails("EROFS: link", read_only, |d| with(EROFS, fs::hard_link(d.join("file"), d.join("new")))),
    fails("EROFS: bind", read_only, |d| with(EROFS, bind_path(d))),
    fails("EROFS: unlink", read_only, |d| with(EROFS, fs::remove_file(d.join("file")))),
    fails("EROFS: rmdir", read_only, |d| with(EROFS, fs::remove_dir(d.join("folder")))),
    fails("EROFS: rename", read_only, |d| with(EROFS, rename(d, "file", "other", NO_FLAGS))),
    // On a filesystem whose inodes are all taken.
    fails("ENOSPC: open", full, |d| with(ENOSPC, create_new(&d.join("new")))).on(Place::Full),
    fails("ENOSPC: O_TMPFILE", full, |d| with(ENOSPC, tmpfile(d).map(drop))).on(Place::Full).may_be_refused(),
    fails("ENOSPC: mkdir", full, |d| with(ENOSPC, fs::create_dir(d.join("new")))).on(Place::Full),
    fails("ENOSPC: mknod", full, |d| with(ENOSPC, node(d, FIFO, (0, 0)))).on(Place::Full),
    fails("ENOSPC: symlink", full, |d| with(ENOSPC, symlink("nowhere", d.join("new")))).on(Place::Full),
    fails("ENOSPC: bind", full, |d| with(ENOSPC, bind_path(d))).on(Place::Full),
];

/// What mknod and bind would make is there already.
fn new_file(folder: &Path) -> io::Result<()> {
    fs::write(folder.join("new"), "content")
}

/// Every filesystem here takes 255 bytes.
fn too_long(folder: &Path) -> PathBuf {
    folder.join("x".repeat(256))
}

fn with(expected: i32, result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.raw_os_error() == Some(expected) => Ok(()),
        // So that a kernel without the call is told from one that fails otherwise.
        Err(error) => Err(error),
        Ok(()) => Err(io::Error::other("worked, but was meant to fail")),
    }
}
