//! The two ways to have a file in use for which nix and rustix have no safe call: a mapping, a lease.
#![allow(unsafe_code, reason = "mmap and F_SETLEASE have no safe wrapper in nix or rustix")]

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::ptr;

use nix::libc;

/// Of each file so much is mapped: the first page.
const LENGTH: usize = 4096;

/// A mapping of a file's first page; unmapped when this is dropped.
#[derive(Debug)]
pub(crate) struct Mapping(*mut libc::c_void);

/// Maps the file, shared. It stays mapped when the descriptor is closed.
pub(crate) fn map(file: BorrowedFd<'_>, writable: bool) -> io::Result<Mapping> {
    let protection = if writable { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ };
    // SAFETY: a new mapping at an address of the kernel's choice; nothing is read or written through it here.
    let at =
        unsafe { libc::mmap(ptr::null_mut(), LENGTH, protection, libc::MAP_SHARED, file.as_raw_fd(), 0) };
    if at == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(Mapping(at)) }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the address and length are those of a mapping made in `map`, which nothing else refers to.
        unsafe { libc::munmap(self.0, LENGTH) };
    }
}

/// Takes a write lease on the file.
pub(crate) fn lease(file: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the descriptor is borrowed for the length of the call; F_SETLEASE takes an int and no pointer.
    let answer = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_WRLCK) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
