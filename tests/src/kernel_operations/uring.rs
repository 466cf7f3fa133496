//! The same operations as requests through io_uring: by the task itself, by the kernel's worker threads, by its polling
//! thread and under other credentials. They count for the cgroup of the task that submitted them.

use std::io;
use std::path::Path;

use nix::libc;
use podsweep::observe::Kind;

use super::prepare::{file, folder, nothing, two_files};
use super::{Operation, Way};
use crate::kernel_uring::{By, linkat, mkdirat, openat, openat2, renameat, symlinkat, unlinkat};

use By::{Personality, Poller, Submitter, Worker};

const CREATE: i32 = libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY;
const REOPEN: i32 = libc::O_CREAT | libc::O_WRONLY;
const TMPFILE: i32 = libc::O_TMPFILE | libc::O_RDWR;
const NOWHERE: &str = "nowhere";

type Step = fn(&Path) -> io::Result<()>;

const fn ring(name: &'static str, prepare: Step, run: Step, expected: &'static [(Kind, u64)]) -> Operation {
    Operation::new(name, prepare, run, expected).by(Way::IoUring).may_be_refused()
}

/// Under credentials that are not the task's own.
const fn as_another(
    name: &'static str,
    prepare: Step,
    run: Step,
    expected: &'static [(Kind, u64)],
) -> Operation {
    ring(name, prepare, run, expected).by(Way::IoUringAsAnother)
}

pub(super) const OPERATIONS: &[Operation] = &[
    ring("io_uring openat", nothing, |d| openat(&d.join("new"), CREATE, Submitter), &[(Kind::Create, 1)]),
    ring("io_uring openat2", nothing, |d| openat2(&d.join("new"), CREATE, Submitter), &[(Kind::Create, 1)]),
    ring("io_uring O_TMPFILE", nothing, |d| openat(d, TMPFILE, Submitter), &[(Kind::Tmpfile, 1)]),
    ring("io_uring mkdirat", nothing, |d| mkdirat(&d.join("new"), Submitter), &[(Kind::Mkdir, 1)]),
    ring("io_uring symlinkat", nothing, |d| symbolic(d, Submitter), &[(Kind::Symlink, 1)]),
    ring("io_uring linkat", file, |d| linkat(&d.join("file"), &d.join("new"), Submitter), &[(Kind::Link, 1)]),
    ring("io_uring unlinkat", file, |d| unlinkat(&d.join("file"), 0, Submitter), &[(Kind::Unlink, 1)]),
    ring("io_uring unlinkat of a folder", folder, |d| remove_folder(d, Submitter), &[(Kind::Rmdir, 1)]),
    ring(
        "io_uring renameat",
        file,
        |d| renameat(&d.join("file"), &d.join("new"), Submitter),
        &[(Kind::Rename, 1)],
    ),
    ring(
        "io_uring renameat over a file",
        two_files,
        |d| renameat(&d.join("file"), &d.join("other"), Submitter),
        &[(Kind::Rename, 1), (Kind::RenameOver, 1)],
    ),
    // By the kernel's workers.
    ring("io_uring worker openat", nothing, |d| openat(&d.join("new"), CREATE, Worker), &[(Kind::Create, 1)]),
    ring(
        "io_uring worker openat2",
        nothing,
        |d| openat2(&d.join("new"), CREATE, Worker),
        &[(Kind::Create, 1)],
    ),
    ring("io_uring worker O_TMPFILE", nothing, |d| openat(d, TMPFILE, Worker), &[(Kind::Tmpfile, 1)]),
    ring("io_uring worker mkdirat", nothing, |d| mkdirat(&d.join("new"), Worker), &[(Kind::Mkdir, 1)]),
    ring("io_uring worker symlinkat", nothing, |d| symbolic(d, Worker), &[(Kind::Symlink, 1)]),
    ring(
        "io_uring worker linkat",
        file,
        |d| linkat(&d.join("file"), &d.join("new"), Worker),
        &[(Kind::Link, 1)],
    ),
    ring("io_uring worker unlinkat", file, |d| unlinkat(&d.join("file"), 0, Worker), &[(Kind::Unlink, 1)]),
    ring("io_uring worker unlinkat of a folder", folder, |d| remove_folder(d, Worker), &[(Kind::Rmdir, 1)]),
    ring(
        "io_uring worker renameat",
        file,
        |d| renameat(&d.join("file"), &d.join("new"), Worker),
        &[(Kind::Rename, 1)],
    ),
    ring(
        "io_uring worker renameat over a file",
        two_files,
        |d| renameat(&d.join("file"), &d.join("other"), Worker),
        &[(Kind::Rename, 1), (Kind::RenameOver, 1)],
    ),
    // By the thread that polls the ring.
    ring("io_uring poller openat", nothing, |d| openat(&d.join("new"), CREATE, Poller), &[(Kind::Create, 1)]),
    ring("io_uring poller mkdirat", nothing, |d| mkdirat(&d.join("new"), Poller), &[(Kind::Mkdir, 1)]),
    // Under registered credentials.
    as_another(
        "io_uring personality openat",
        nothing,
        |d| openat(&d.join("new"), CREATE, Personality),
        &[(Kind::Create, 1)],
    ),
    as_another(
        "io_uring personality O_TMPFILE",
        nothing,
        |d| openat(d, TMPFILE, Personality),
        &[(Kind::Tmpfile, 1)],
    ),
    as_another(
        "io_uring personality renameat over a file",
        two_files,
        |d| renameat(&d.join("file"), &d.join("other"), Personality),
        &[(Kind::Rename, 1), (Kind::RenameOver, 1)],
    ),
    // Nothing made.
    ring("io_uring openat of an existing file", file, |d| openat(&d.join("file"), REOPEN, Worker), &[]),
    ring("io_uring mkdirat of an existing name", file, failing_mkdirat, &[]),
];

fn symbolic(folder: &Path, by: By) -> io::Result<()> {
    symlinkat(Path::new(NOWHERE), &folder.join("new"), by)
}

fn remove_folder(parent: &Path, by: By) -> io::Result<()> {
    unlinkat(&parent.join("folder"), libc::AT_REMOVEDIR, by)
}

fn failing_mkdirat(folder: &Path) -> io::Result<()> {
    match mkdirat(&folder.join("file"), Worker) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other.and(Err(io::Error::other("worked, but was meant to fail"))),
    }
}
