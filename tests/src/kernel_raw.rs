//! System calls that no safe wrapper makes, most of them old numbers that libraries no longer use. A file of its own
//! for the `unsafe` that they need.
#![allow(unsafe_code, reason = "raw system calls")]

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::libc;

/// Permissions of what is made here.
const MODE: libc::mode_t = 0o600;

/// open(2) by its own number: libraries use openat(2).
pub fn open(path: &Path, flags: i32) -> io::Result<()> {
    let path = c_string(path)?;
    // SAFETY: a closed string that outlives the call.
    descriptor(unsafe { libc::syscall(libc::SYS_open, path.as_ptr(), flags, MODE) }).map(drop)
}

/// creat(2).
pub fn creat(path: &Path) -> io::Result<()> {
    let path = c_string(path)?;
    // SAFETY: a closed string that outlives the call.
    descriptor(unsafe { libc::syscall(libc::SYS_creat, path.as_ptr(), MODE) }).map(drop)
}

/// mknod(2) of a FIFO by its own number: libraries use mknodat(2).
pub fn mkfifo(path: &Path) -> io::Result<()> {
    let path = c_string(path)?;
    // SAFETY: a closed string that outlives the call.
    succeeded(unsafe { libc::syscall(libc::SYS_mknod, path.as_ptr(), libc::S_IFIFO | MODE, 0) })
}

/// link(2) by its own number: std uses linkat(2).
pub fn link(from: &Path, to: &Path) -> io::Result<()> {
    let (from, to) = (c_string(from)?, c_string(to)?);
    // SAFETY: closed strings that outlive the call.
    succeeded(unsafe { libc::syscall(libc::SYS_link, from.as_ptr(), to.as_ptr()) })
}

/// rename(2) by its own number.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    let (from, to) = (c_string(from)?, c_string(to)?);
    // SAFETY: closed strings that outlive the call.
    succeeded(unsafe { libc::syscall(libc::SYS_rename, from.as_ptr(), to.as_ptr()) })
}

/// Opens a file of `folder` by its handle: no path is walked.
pub fn open_by_handle(folder: &Path, name: &str) -> io::Result<()> {
    /// `struct file_handle` with room for any filesystem's (`MAX_HANDLE_SZ` of `include/linux/exportfs.h`).
    #[repr(C)]
    struct Handle {
        bytes: u32,
        kind: i32,
        opaque: [u8; MAX_HANDLE as usize],
    }
    const MAX_HANDLE: u8 = 128;

    let folder = File::open(folder)?;
    let name = CString::new(name)?;
    let mut handle = Handle { bytes: MAX_HANDLE.into(), kind: 0, opaque: [0; MAX_HANDLE as usize] };
    let mut mount = 0_i32;
    let at = folder.as_raw_fd();
    // SAFETY: everything outlives the calls; the kernel writes at most `bytes` into `handle`.
    succeeded(unsafe {
        libc::syscall(libc::SYS_name_to_handle_at, at, name.as_ptr(), &raw mut handle, &raw mut mount, 0)
    })?;
    // SAFETY: as above.
    descriptor(unsafe { libc::syscall(libc::SYS_open_by_handle_at, at, &raw mut handle, libc::O_RDWR) })
        .map(drop)
}

/// Makes a POSIX message queue, which is a file of the kernel's own filesystem, and removes its name.
pub fn message_queue(name: &str) -> io::Result<()> {
    let name = CString::new(name)?;
    let flags = libc::O_CREAT | libc::O_EXCL | libc::O_RDWR;
    // SAFETY: a closed string that outlives the calls; no attributes.
    descriptor(unsafe { libc::syscall(libc::SYS_mq_open, name.as_ptr(), flags, MODE, 0_usize) })?;
    // SAFETY: as above.
    succeeded(unsafe { libc::syscall(libc::SYS_mq_unlink, name.as_ptr()) })
}

pub(crate) fn c_string(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

fn succeeded(result: i64) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn descriptor(result: i64) -> io::Result<OwnedFd> {
    succeeded(result)?;
    let result = i32::try_from(result).map_err(io::Error::other)?;
    // SAFETY: a descriptor that the kernel just returned, owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(result) })
}
