//! The same operation by whatever may run in a container besides a process's first thread: it counts for the cgroup all
//! the same.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::Command;

use nix::fcntl::{OFlag, openat};
use nix::sched::CloneFlags;
use nix::sys::stat::Mode;
use nix::unistd::{Uid, setfsuid};
use podsweep::observe::Kind;

use super::Operation;
use super::called::create_new;
use super::nodes::within;
use super::prepare::{nothing, open_to_all};
use crate::kernel_tasks::{NOBODY, cloned, forked, in_thread};

const VFORK: CloneFlags = CloneFlags::CLONE_VM.union(CloneFlags::CLONE_VFORK);
/// The descriptors, too, are the parent's: a new one appears in its table.
const VFORK_WITH_FILES: CloneFlags = VFORK.union(CloneFlags::CLONE_FILES);

/// Waits until its parent is another than `$1`, then makes a file in `$2`.
const WHEN_ORPHANED: &str = r#"
    while read -r _ _ _ parent _ < /proc/$$/stat && [ "$parent" = "$1" ]; do :; done
    : > "$2/new"
"#;

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::new("create by a thread", nothing, |d| in_thread(|| create_new(&d.join("new"))), ONE_FILE),
    Operation::new("create by a thread's thread", nothing, nested_threads, ONE_FILE),
    Operation::new("create by a forked child", nothing, |d| forked(|| create_new(&d.join("new"))), ONE_FILE),
    Operation::new("create by a vforked child", nothing, |d| in_clone(d, VFORK), ONE_FILE),
    Operation::new("create by a cloned child", nothing, |d| in_clone(d, VFORK_WITH_FILES), ONE_FILE),
    Operation::new("create by another program", nothing, touched, ONE_FILE),
    Operation::new("create by an orphan", nothing, orphaned, ONE_FILE),
    Operation::new(
        "create as another user",
        open_to_all,
        |d| as_nobody(d, "new", OFlag::O_CREAT | OFlag::O_WRONLY),
        ONE_FILE,
    ),
    Operation::new(
        "O_TMPFILE as another user",
        open_to_all,
        |d| as_nobody(d, ".", OFlag::O_TMPFILE | OFlag::O_RDWR),
        &[(Kind::Tmpfile, 1)],
    )
    .may_be_refused(),
];

const ONE_FILE: &[(Kind, u64)] = &[(Kind::Create, 1)];

fn nested_threads(folder: &Path) -> io::Result<()> {
    in_thread(|| in_thread(|| create_new(&folder.join("new"))))
}

fn in_clone(folder: &Path, flags: CloneFlags) -> io::Result<()> {
    within(folder, || cloned(flags, || create_new(Path::new("new"))))
}

fn touched(folder: &Path) -> io::Result<()> {
    let status = Command::new("touch").arg(folder.join("new")).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("touch: {status}"))) }
}

/// Its parent has ended before it makes the file; a pipe tells when it has ended itself.
fn orphaned(folder: &Path) -> io::Result<()> {
    let (mut ended, held) = io::pipe()?;
    forked(|| {
        // The inner child is nobody's to wait for.
        let mut orphan = Command::new("sh");
        orphan.args(["-c", WHEN_ORPHANED, "sh", &std::process::id().to_string()]);
        orphan.arg(folder).stdout(held.try_clone()?);
        orphan.spawn().map(drop)
    })?;
    drop(held);
    io::copy(&mut ended, &mut io::sink()).map(drop)
}

/// A thread has its own user for files. Paths from a descriptor: the folders above are root's alone.
pub(super) fn as_nobody(folder: &Path, name: &str, flags: OFlag) -> io::Result<()> {
    let folder = File::open(folder)?;
    in_thread(move || {
        setfsuid(Uid::from_raw(NOBODY));
        Ok(openat(&folder, name, flags, Mode::S_IRWXU).map(drop)?)
    })
}

/// The same, for what is no open.
pub(super) fn in_folder_as_nobody(folder: &Path, work: fn() -> io::Result<()>) -> io::Result<()> {
    within(folder, || {
        in_thread(move || {
            setfsuid(Uid::from_raw(NOBODY));
            work()
        })
    })
}

/// What [`in_folder_as_nobody`] may try.
pub(super) fn remove_relative() -> io::Result<()> {
    fs::remove_file("file")
}
