//! Requests through io_uring, one at a time. A file of its own for the `unsafe` that a submission needs.
#![allow(unsafe_code, reason = "what a request points at must outlive it")]

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::Path;

use io_uring::types::{Fd, OpenHow};
use io_uring::{IoUring, Probe, opcode, squeue};
use nix::libc;
use nix::unistd::{Uid, setfsuid};

use crate::kernel_raw::c_string;
use crate::kernel_tasks::{NOBODY, in_thread};

/// Who carries a request out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The task that submits it, where the kernel does not prefer a worker.
    Submitter,
    /// One of the kernel's worker threads (`IOSQE_ASYNC`).
    Worker,
    /// The kernel's thread that polls the ring (`IORING_SETUP_SQPOLL`).
    Poller,
    /// A worker, under credentials that the task had, registered and gave up for others.
    Personality,
}

/// Entries of the ring: there is one request at a time.
const ENTRIES: u32 = 2;

/// Milliseconds for which the polling thread looks for more before it sleeps.
const POLL_MILLIS: u32 = 10;

const CWD: Fd = Fd(libc::AT_FDCWD);
const MODE: libc::mode_t = 0o700;

/// openat(2).
pub fn openat(path: &Path, flags: i32, by: By) -> io::Result<()> {
    let path = c_string(path)?;
    let request = opcode::OpenAt::new(CWD, path.as_ptr()).flags(flags).mode(MODE).build();
    // SAFETY: `path` outlives the request.
    unsafe { open(opcode::OpenAt::CODE, request, by) }
}

/// openat2(2).
pub fn openat2(path: &Path, flags: i32, by: By) -> io::Result<()> {
    let path = c_string(path)?;
    let how = OpenHow::new().flags(u64::from(flags.cast_unsigned())).mode(u64::from(MODE));
    let request = opcode::OpenAt2::new(CWD, path.as_ptr(), &raw const how).build();
    // SAFETY: `path` and `how` outlive the request.
    unsafe { open(opcode::OpenAt2::CODE, request, by) }
}

/// mkdirat(2).
pub fn mkdirat(path: &Path, by: By) -> io::Result<()> {
    let path = c_string(path)?;
    let request = opcode::MkDirAt::new(CWD, path.as_ptr()).mode(MODE).build();
    // SAFETY: `path` outlives the request.
    unsafe { done(opcode::MkDirAt::CODE, request, by) }.map(drop)
}

/// unlinkat(2).
pub fn unlinkat(path: &Path, flags: i32, by: By) -> io::Result<()> {
    let path = c_string(path)?;
    let request = opcode::UnlinkAt::new(CWD, path.as_ptr()).flags(flags).build();
    // SAFETY: `path` outlives the request.
    unsafe { done(opcode::UnlinkAt::CODE, request, by) }.map(drop)
}

/// renameat2(2).
pub fn renameat(from: &Path, to: &Path, by: By) -> io::Result<()> {
    let (from, to) = (c_string(from)?, c_string(to)?);
    let request = opcode::RenameAt::new(CWD, from.as_ptr(), CWD, to.as_ptr()).build();
    // SAFETY: both paths outlive the request.
    unsafe { done(opcode::RenameAt::CODE, request, by) }.map(drop)
}

/// symlinkat(2).
pub fn symlinkat(target: &Path, path: &Path, by: By) -> io::Result<()> {
    let (target, path) = (c_string(target)?, c_string(path)?);
    let request = opcode::SymlinkAt::new(CWD, target.as_ptr(), path.as_ptr()).build();
    // SAFETY: both paths outlive the request.
    unsafe { done(opcode::SymlinkAt::CODE, request, by) }.map(drop)
}

/// linkat(2).
pub fn linkat(from: &Path, to: &Path, by: By) -> io::Result<()> {
    let (from, to) = (c_string(from)?, c_string(to)?);
    let request = opcode::LinkAt::new(CWD, from.as_ptr(), CWD, to.as_ptr()).build();
    // SAFETY: both paths outlive the request.
    unsafe { done(opcode::LinkAt::CODE, request, by) }.map(drop)
}

/// Submits an open, waits for it and closes what it opened.
///
/// # Safety
///
/// As for [`done`].
unsafe fn open(code: u8, request: squeue::Entry, by: By) -> io::Result<()> {
    // SAFETY: the caller's; then a descriptor that the kernel just returned, owned by nobody else.
    unsafe {
        let descriptor = done(code, request, by)?;
        drop(OwnedFd::from_raw_fd(descriptor));
    }
    Ok(())
}

/// Submits a request and waits for it; its result.
///
/// # Safety
///
/// What `request` points at is valid until this returns.
unsafe fn done(code: u8, request: squeue::Entry, by: By) -> io::Result<i32> {
    let mut ring = ring(code, by)?;
    let request = match by {
        By::Submitter | By::Poller => request,
        By::Worker => request.flags(squeue::Flags::ASYNC),
        By::Personality => {
            let request = request.personality(ring.submitter().register_personality()?);
            // Credentials are a thread's: this one's stay.
            return in_thread(|| {
                setfsuid(Uid::from_raw(NOBODY));
                // SAFETY: the caller's: this thread is waited for.
                unsafe { submitted(&mut ring, &request) }
            });
        }
    };
    // SAFETY: the caller's.
    unsafe { submitted(&mut ring, &request) }
}

/// # Safety
///
/// As for [`done`].
unsafe fn submitted(ring: &mut IoUring, request: &squeue::Entry) -> io::Result<i32> {
    // SAFETY: the caller's.
    unsafe { ring.submission().push(request) }.map_err(io::Error::other)?;
    ring.submit_and_wait(1)?;
    let completion = ring.completion().next().ok_or_else(|| io::Error::other("no completion"))?;
    match completion.result() {
        result @ 0.. => Ok(result),
        error => Err(io::Error::from_raw_os_error(-error)),
    }
}

fn ring(code: u8, by: By) -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    if by == By::Poller {
        builder.setup_sqpoll(POLL_MILLIS);
    }
    let ring = builder.build(ENTRIES).map_err(|error| match error.raw_os_error() {
        Some(libc::EPERM | libc::ENOSYS) => {
            io::Error::new(io::ErrorKind::Unsupported, format!("this kernel refuses io_uring: {error}"))
        }
        _ => error,
    })?;
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe)?;
    if probe.is_supported(code) {
        Ok(ring)
    } else {
        let message = format!("this kernel's io_uring has no operation {code}");
        Err(io::Error::new(io::ErrorKind::Unsupported, message))
    }
}
