//! Files, directories and links made by system calls, each by every number that it has.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::path::Path;

use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, OpenHow, openat2};
use nix::libc;
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{linkat, symlinkat};
use podsweep::observe::Kind;

use super::Operation;
use super::prepare::{dangling, file, nothing};
use crate::kernel_raw as raw;

const CREATE: i32 = libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY;
const MODE: Mode = Mode::S_IRWXU;

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::new("openat, new", nothing, |d| create_new(&d.join("new")), &[(Kind::Create, 1)]),
    Operation::new("open, new", nothing, |d| raw::open(&d.join("new"), CREATE), &[(Kind::Create, 1)]),
    Operation::new("creat, new", nothing, |d| raw::creat(&d.join("new")), &[(Kind::Create, 1)]),
    Operation::new("openat2, new", nothing, |d| open_how(&d.join("new")), &[(Kind::Create, 1)]),
    Operation::new(
        "open through a dangling symlink",
        dangling,
        |d| create(&d.join("link")),
        &[(Kind::Create, 1)],
    ),
    Operation::new("O_TMPFILE", nothing, |d| tmpfile(d).map(drop), &[(Kind::Tmpfile, 1)]).may_be_refused(),
    Operation::new(
        "O_TMPFILE, linked through /proc",
        nothing,
        tmpfile_linked_through_proc,
        &[(Kind::Tmpfile, 1), (Kind::Link, 1)],
    )
    .may_be_refused(),
    Operation::new(
        "O_TMPFILE, linked with AT_EMPTY_PATH",
        nothing,
        tmpfile_linked_by_descriptor,
        &[(Kind::Tmpfile, 1), (Kind::Link, 1)],
    )
    .may_be_refused(),
    Operation::new("mkdir", nothing, |d| fs::create_dir(d.join("new")), &[(Kind::Mkdir, 1)]),
    Operation::new("mkdirat", nothing, |d| Ok(mkdirat(AT_FDCWD, &d.join("new"), MODE)?), &[(Kind::Mkdir, 1)]),
    Operation::new("symlink", nothing, |d| symlink("nowhere", d.join("new")), &[(Kind::Symlink, 1)]),
    Operation::new(
        "symlinkat",
        nothing,
        |d| Ok(symlinkat("nowhere", AT_FDCWD, &d.join("new"))?),
        &[(Kind::Symlink, 1)],
    ),
    Operation::new("link", file, |d| raw::link(&d.join("file"), &d.join("new")), &[(Kind::Link, 1)]),
    Operation::new("linkat", file, |d| fs::hard_link(d.join("file"), d.join("new")), &[(Kind::Link, 1)]),
];

pub(super) fn create_new(path: &Path) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).open(path).map(drop)
}

pub(super) fn create(path: &Path) -> io::Result<()> {
    OpenOptions::new().write(true).create(true).truncate(false).open(path).map(drop)
}

pub(super) fn open_how(path: &Path) -> io::Result<()> {
    let how = OpenHow::new().flags(OFlag::O_CREAT | OFlag::O_WRONLY).mode(MODE);
    Ok(openat2(AT_FDCWD, path, how).map(drop)?)
}

pub(super) fn tmpfile(folder: &Path) -> io::Result<fs::File> {
    Ok(nix::fcntl::open(folder, OFlag::O_TMPFILE | OFlag::O_RDWR, MODE)?.into())
}

pub(super) fn tmpfile_linked_through_proc(folder: &Path) -> io::Result<()> {
    let file = tmpfile(folder)?;
    let source = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(linkat(AT_FDCWD, source.as_str(), AT_FDCWD, &folder.join("new"), AtFlags::AT_SYMLINK_FOLLOW)?)
}

fn tmpfile_linked_by_descriptor(folder: &Path) -> io::Result<()> {
    Ok(linkat(tmpfile(folder)?, "", AT_FDCWD, &folder.join("new"), AtFlags::AT_EMPTY_PATH)?)
}
