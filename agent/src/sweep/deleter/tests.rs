//! What a deleter cannot do, tried. The filter kills the process that breaks it, so each attempt is made in a process
//! of its own: this test binary, told by its environment to run one test, and in that test to make the attempt.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, ExitStatus};

use nix::libc;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, openat, openat2, statat, unlinkat};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket, socketpair};
use tempfile::TempDir;

use super::super::executor::Means;
use super::super::plan::directory_root;
use super::super::view::View;
use super::confine;
use crate::confinement::is_enforced;

const ROOT: &str = "PODSWEEP_TEST_DELETER_ROOT";
const MEANS: &str = "PODSWEEP_TEST_DELETER_MEANS";
const ATTEMPT: &str = "PODSWEEP_TEST_DELETER_ATTEMPT";

/// A swept root with a file `junk`, and beside it, out of reach, a file `precious`.
struct Stage(TempDir);

impl Stage {
    fn new() -> Self {
        let top = tempfile::tempdir().unwrap();
        fs::create_dir(top.path().join("root")).unwrap();
        fs::write(top.path().join("root/junk"), "junk").unwrap();
        fs::write(top.path().join("precious"), "precious").unwrap();
        Self(top)
    }

    fn attempt(&self, means: Means, attempt: &str) -> ExitStatus {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "sweep::deleter::tests::attempt", "--ignored", "--nocapture"])
            .env(ROOT, self.0.path().join("root"))
            .env(MEANS, format!("{means:?}"))
            .env(ATTEMPT, attempt)
            .stdout(std::process::Stdio::null())
            .status()
            .unwrap()
    }

    fn must_be_whole(&self, attempt: &str) {
        assert_eq!(fs::read(self.0.path().join("root/junk")).unwrap(), b"junk", "{attempt}");
        assert_eq!(fs::read(self.0.path().join("precious")).unwrap(), b"precious", "{attempt}");
        let count = |directory: &Path| fs::read_dir(directory).unwrap().count();
        assert_eq!((count(self.0.path()), count(&self.0.path().join("root"))), (2, 1), "{attempt}");
    }
}

#[test]
#[ignore = "only run by the tests below, in a process of its own"]
fn attempt() {
    let (Ok(root), Ok(attempt)) = (std::env::var(ROOT), std::env::var(ATTEMPT)) else { return };
    let means = match std::env::var(MEANS).unwrap().as_str() {
        "Look" => Means::Look,
        "Remove" => Means::Remove,
        _ => Means::RemoveAndTruncate,
    };
    let outside = Path::new(&root).parent().unwrap().join("precious");
    let junk: OwnedFd = fs::File::options().write(true).open(Path::new(&root).join("junk")).unwrap().into();
    let (socket, _theirs) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::empty(), None).unwrap();
    let view = View::of_directories(&[directory_root(Path::new(&root))]).unwrap();
    let rights = confine::begin(means).unwrap();
    confine::finish(socket.as_fd(), &rights, &view).unwrap();
    let result = try_it(&attempt, view.merged_root(0).unwrap(), &junk, &outside);
    // Not back through the test harness, which would need more than the filter allows.
    std::process::exit(result.map_or_else(Errno::raw_os_error, |()| 0));
}

fn try_it(
    attempt: &str,
    root: std::os::fd::BorrowedFd<'_>,
    junk: &OwnedFd,
    outside: &Path,
) -> Result<(), Errno> {
    let free = |flags: OFlags, path: &Path| {
        let mode = if flags.contains(OFlags::CREATE) { Mode::RUSR } else { Mode::empty() };
        openat2(root, path, flags, mode, ResolveFlags::empty()).map(drop)
    };
    let up = Path::new("../precious");
    match attempt {
        // seccomp
        "open by path" => openat(CWD, outside, OFlags::RDONLY, Mode::empty()).map(drop),
        "open2 by path" => {
            openat2(CWD, outside, OFlags::PATH, Mode::empty(), ResolveFlags::empty()).map(drop)
        }
        "look by path" => statat(CWD, outside, AtFlags::empty()).map(drop),
        "unlink by path" => unlinkat(CWD, outside, AtFlags::empty()),
        "unlink" => unlinkat(root, "junk", AtFlags::empty()),
        "truncate" => rustix::fs::ftruncate(junk, 0),
        "truncate in part" => rustix::fs::ftruncate(junk, 2),
        "write" => rustix::io::write(junk, b"x").map(drop),
        "open for writing" => openat(root, "junk", OFlags::WRONLY, Mode::empty()).map(drop),
        "rename" => rustix::fs::renameat(root, "junk", root, "other"),
        "rename over" => {
            rustix::fs::renameat_with(root, "junk", root, "other", rustix::fs::RenameFlags::EXCHANGE)
        }
        "move aside" => {
            rustix::fs::renameat_with(root, "junk", root, "other", rustix::fs::RenameFlags::NOREPLACE)
        }
        "move outside" => {
            rustix::fs::renameat_with(root, "junk", root, "../other", rustix::fs::RenameFlags::NOREPLACE)
        }
        "mkdir" => rustix::fs::mkdirat(root, "other", Mode::RWXU),
        "link" => rustix::fs::linkat(root, "junk", root, "other", AtFlags::empty()),
        "symlink" => rustix::fs::symlinkat("junk", root, "other"),
        "chmod" => rustix::fs::fchmod(junk, Mode::RWXU),
        "read a directory" => rustix::fs::Dir::new(root.try_clone_to_owned().unwrap()).map(drop),
        "exec" => Err(errno_of(&Command::new("/bin/true").exec())),
        "fork" => Command::new("/bin/true").spawn().map(drop).map_err(|error| errno_of(&error)),
        "reach a network" => socket(AddressFamily::INET, SocketType::STREAM, None).map(drop),
        "enter a namespace" => {
            nix::sched::setns(root, nix::sched::CloneFlags::empty()).map_err(errno_from_nix)
        }
        "map to execute" => map_to_execute(),
        // Landlock
        "create" => free(OFlags::WRONLY | OFlags::CREATE, Path::new("new")),
        "create outside" => free(OFlags::WRONLY | OFlags::CREATE, Path::new("../new")),
        "truncate outside" => free(OFlags::WRONLY | OFlags::TRUNC, up),
        "truncate outside by path" => free(OFlags::WRONLY | OFlags::TRUNC, outside),
        "read outside" => free(OFlags::RDONLY, up),
        "read" => free(OFlags::RDONLY, Path::new("junk")),
        "unlink outside" => unlinkat(root, up, AtFlags::empty()),
        "unlink outside by path" => unlinkat(root, outside, AtFlags::empty()),
        other => panic!("no such attempt: {other}"),
    }
}

fn errno_of(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::PERM)
}

fn errno_from_nix(errno: nix::Error) -> Errno {
    Errno::from_raw_os_error(errno as i32)
}

#[allow(unsafe_code, reason = "no safe wrapper makes memory executable")]
fn map_to_execute() -> Result<(), Errno> {
    let (protection, flags) = (libc::PROT_READ | libc::PROT_EXEC, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping anywhere; no memory in use changes.
    let mapped = unsafe { libc::mmap(std::ptr::null_mut(), 4096, protection, flags, -1, 0) };
    if mapped == libc::MAP_FAILED { Err(Errno::PERM) } else { Ok(()) }
}

#[test]
fn what_no_deleter_needs_kills_it_and_changes_nothing() {
    let stage = Stage::new();
    for attempt in [
        "open by path",
        "open2 by path",
        "look by path",
        "unlink by path",
        "truncate in part",
        "write",
        "rename",
        "rename over",
        "mkdir",
        "link",
        "symlink",
        "chmod",
        "exec",
        "fork",
        "reach a network",
        "enter a namespace",
        "map to execute",
    ] {
        for means in [Means::Look, Means::Remove, Means::RemoveAndTruncate] {
            let status = stage.attempt(means, attempt);
            assert_eq!(status.signal(), Some(libc::SIGSYS), "{means:?}, {attempt}: {status:?}");
            stage.must_be_whole(attempt);
        }
    }
}

#[test]
fn a_changing_call_kills_a_dry_run() {
    let stage = Stage::new();
    for attempt in ["unlink", "unlink outside", "move aside", "truncate", "open for writing"] {
        let status = stage.attempt(Means::Look, attempt);
        assert_eq!(status.signal(), Some(libc::SIGSYS), "{attempt}: {status:?}");
        stage.must_be_whole(attempt);
    }
}

#[test]
fn a_policy_that_truncates_nothing_gets_a_deleter_that_cannot() {
    let stage = Stage::new();
    for attempt in ["truncate", "open for writing"] {
        let status = stage.attempt(Means::Remove, attempt);
        assert_eq!(status.signal(), Some(libc::SIGSYS), "{attempt}: {status:?}");
        stage.must_be_whole(attempt);
    }
}

#[test]
fn what_the_filter_cannot_see_landlock_refuses() {
    if let Err(why) = is_enforced() {
        eprintln!("not run: Landlock: {why}");
        return;
    }
    let stage = Stage::new();
    for means in [Means::Look, Means::Remove, Means::RemoveAndTruncate] {
        let reading =
            ["create outside", "truncate outside", "truncate outside by path", "read outside", "read"];
        let removing = ["unlink outside", "unlink outside by path", "move outside"];
        // A dry run is killed by the calls themselves.
        let removing = if means == Means::Look { &[][..] } else { &removing[..] };
        for attempt in reading.iter().chain(removing) {
            let status = stage.attempt(means, attempt);
            assert_eq!(status.code(), Some(libc::EACCES), "{means:?}, {attempt}: {status:?}");
            stage.must_be_whole(attempt);
        }
    }
}

#[test]
fn a_deleter_can_do_what_it_is_for() {
    let stage = Stage::new();
    assert_eq!(stage.attempt(Means::RemoveAndTruncate, "truncate").code(), Some(0));
    assert_eq!(fs::read(stage.0.path().join("root/junk")).unwrap(), b"");
    assert_eq!(stage.attempt(Means::Remove, "unlink").code(), Some(0));
    assert!(!stage.0.path().join("root/junk").exists());
}
