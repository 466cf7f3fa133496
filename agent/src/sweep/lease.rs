//! The open test: a write lease on the file is refused while anyone else has it open, mapped or locked, also through
//! overlayfs (whose files hold the upper file open; measured on 6.18 for readers, writers, mappings that outlive
//! their descriptor, and flock). fcntl(2), `F_SETLEASE`; needs `CAP_LEASE` for files of other users.
//!
//! The only file of this stage with unsafe code: no crate at hand wraps `F_SETLEASE`.
#![allow(unsafe_code, reason = "nix and rustix have no safe F_SETLEASE, F_GETLEASE and F_SETSIG")]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::libc;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// `F_SETSIG` of linux/asm-generic/fcntl.h, the same on x86-64 and arm64. The libc crate does not have it.
const F_SETSIG: libc::c_int = 10;

/// What asking for a lease came to.
#[derive(Debug)]
pub(super) enum Asked {
    /// Nobody has the file open. Whoever opens it now waits until the lease is dropped (or, with `O_NONBLOCK`, gets
    /// `EWOULDBLOCK`): hold it for the length of one removal, no longer.
    Granted(Lease),
    /// Somebody has it open.
    InUse,
    /// This filesystem has no leases, or this process may not take them: nothing is known.
    Unknown(Errno),
}

/// A write lease. Given back when dropped.
#[derive(Debug)]
pub(super) struct Lease(OwnedFd);

impl Lease {
    /// Asks for one on a regular file opened `O_RDONLY`.
    pub(super) fn ask(file: OwnedFd) -> Asked {
        // A broken lease sends SIGIO, which kills. SIGURG is ignored unless a program says otherwise, and says the
        // same: whether the lease was broken is read back by `whole`, not by a signal.
        if let Err(errno) = control(file.as_fd(), F_SETSIG, libc::SIGURG) {
            return Asked::Unknown(errno);
        }
        match control(file.as_fd(), libc::F_SETLEASE, libc::F_WRLCK) {
            Ok(_) => Asked::Granted(Self(file)),
            Err(Errno::AGAIN) => Asked::InUse,
            Err(errno) => Asked::Unknown(errno),
        }
    }

    /// The leased file. Whoever is given this handle may ask [`is_whole`] of it: a lease belongs to the open file.
    pub(super) fn handle(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Whether the lease is there and nobody has tried to open the file since it was granted.
pub(super) fn is_whole(leased: BorrowedFd<'_>) -> bool {
    control(leased, libc::F_GETLEASE, 0) == Ok(libc::F_WRLCK)
}

/// Gives a lease back early: whoever waits to open the file goes on.
pub(super) fn give_up(leased: BorrowedFd<'_>) {
    // An error means that it is given back already.
    let _ = control(leased, libc::F_SETLEASE, libc::F_UNLCK);
}

/// Whether the filesystem of `directory` grants leases, tried on an unnamed file.
pub fn try_lease(directory: &Path) -> std::io::Result<()> {
    let file = rustix::fs::open(directory, OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, Mode::RUSR)?;
    match Lease::ask(file) {
        Asked::Granted(_) => Ok(()),
        Asked::InUse => Err(Errno::AGAIN.into()),
        Asked::Unknown(errno) => Err(errno.into()),
    }
}

impl Drop for Lease {
    // Closing would do, were it not for a child of this process between fork and exec, which has the descriptor too.
    fn drop(&mut self) {
        let _ = control(self.handle(), libc::F_SETLEASE, libc::F_UNLCK);
    }
}

fn control(file: BorrowedFd<'_>, command: libc::c_int, argument: libc::c_int) -> Result<libc::c_int, Errno> {
    // SAFETY: the descriptor is open for the length of the call (it is borrowed), and the commands used here take an
    // int and no pointer.
    let answer = unsafe { libc::fcntl(file.as_raw_fd(), command, argument) };
    if answer < 0 { Err(last_error()) } else { Ok(answer) }
}

fn last_error() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL)
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn granted_on_an_idle_file_and_refused_on_an_open_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        std::fs::write(&path, "x").unwrap();
        assert!(matches!(Lease::ask(File::open(&path).unwrap().into()), Asked::Granted(_)));
        let reader = File::open(&path).unwrap();
        assert!(matches!(Lease::ask(File::open(&path).unwrap().into()), Asked::InUse));
        drop(reader);
        assert!(matches!(Lease::ask(File::open(&path).unwrap().into()), Asked::Granted(_)));
    }

    #[test]
    fn an_opener_breaks_it_and_this_process_lives() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        std::fs::write(&path, "x").unwrap();
        let Asked::Granted(lease) = Lease::ask(File::open(&path).unwrap().into()) else { panic!("no lease") };
        assert!(is_whole(lease.handle()));
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::NONBLOCK;
        let opened = rustix::fs::open(&path, flags, rustix::fs::Mode::empty());
        assert_eq!(opened.unwrap_err(), Errno::AGAIN);
        assert!(!is_whole(lease.handle()));
    }

    #[test]
    fn a_directory_has_none() {
        let directory = tempfile::tempdir().unwrap();
        assert!(matches!(Lease::ask(File::open(directory.path()).unwrap().into()), Asked::Unknown(_)));
    }
}
