//! Threads, and children made in the ways that a shell, a runtime and an old program make them. A file of its own for
//! the `unsafe` that fork(2) and clone(2) need.
#![allow(unsafe_code, reason = "fork(2) and clone(2)")]

use std::io;
use std::thread;

use nix::libc;
use nix::sched::{CloneFlags, clone};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};

/// Stack of a cloned child: it opens a file, and has 64 KiB for that.
const STACK_BYTES: usize = 64 << 10;

/// `nobody` of Debian; any number but 0 does.
pub const NOBODY: u32 = 65534;

/// Does the work in a thread, and waits for it.
pub fn in_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| scope.spawn(work).join()).map_err(|_| io::Error::other("the thread panicked"))?
}

/// Does the work in a forked child, and waits for it. The caller has one thread.
pub fn forked(work: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    // SAFETY: this process has no other thread that could hold a lock.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => wait_for(child),
        ForkResult::Child => {
            let code = exit_code(work());
            // SAFETY: ends the child here: the parent's buffers and destructors are the parent's.
            unsafe { libc::_exit(code) }
        }
    }
}

/// Does the work in a child made by clone(2) with `flags` (`CLONE_VM | CLONE_VFORK` is vfork(2)), and waits for it.
pub fn cloned(flags: CloneFlags, work: fn() -> io::Result<()>) -> io::Result<()> {
    let mut stack = vec![0; STACK_BYTES];
    let child = Box::new(move || isize::try_from(exit_code(work())).unwrap_or(1));
    // SAFETY: with its memory shared, the child runs while this thread, the only one, waits for it: CLONE_VFORK.
    let child = unsafe { clone(child, &mut stack, flags, Some(Signal::SIGCHLD as i32)) }?;
    wait_for(child)
}

/// The error's number; 0 is success. What has no number of the kernel's is 255, or says that the kernel has no such
/// thing.
fn exit_code(done: io::Result<()>) -> i32 {
    match done {
        Ok(()) => 0,
        Err(error) if error.kind() == io::ErrorKind::Unsupported => libc::EOPNOTSUPP,
        Err(error) => error.raw_os_error().unwrap_or(255),
    }
}

fn wait_for(child: Pid) -> io::Result<()> {
    match waitpid(child, None)? {
        WaitStatus::Exited(_, 0) => Ok(()),
        WaitStatus::Exited(_, 255) => Err(io::Error::other("the child failed")),
        WaitStatus::Exited(_, code) => Err(io::Error::from_raw_os_error(code)),
        other => Err(io::Error::other(format!("the child ended by {other:?}"))),
    }
}
