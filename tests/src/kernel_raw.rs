//! System calls that no safe wrapper makes: the old numbers that libraries no longer use, and 32-bit ones. A file of
//! its own for the `unsafe` that they need.
#![allow(unsafe_code, reason = "raw and 32-bit system calls")]

use std::arch::asm;
use std::ffi::CString;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::libc;

/// open(2) by its own number: libraries use openat(2).
pub fn open(path: &Path, flags: i32) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: a closed string that outlives the call.
    descriptor(unsafe { libc::syscall(libc::SYS_open, path.as_ptr(), flags, 0o600) })
}

/// creat(2).
pub fn creat(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: a closed string that outlives the call.
    descriptor(unsafe { libc::syscall(libc::SYS_creat, path.as_ptr(), 0o600) })
}

fn descriptor(result: i64) -> io::Result<OwnedFd> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let result = i32::try_from(result).map_err(io::Error::other)?;
    // SAFETY: a descriptor that the kernel just returned, owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(result) })
}

/// A system call by a 32-bit program: `int 0x80`, i386's numbers, pointers below 4 GiB.
pub mod compat {
    use super::{CString, OsStrExt, Path, asm, io, libc};

    const OPEN: u32 = 5;
    const UNLINK: u32 = 10;
    const MKDIR: u32 = 39;
    const SYMLINK: u32 = 83;
    const PAGE: usize = 4096;

    /// Makes a file.
    pub fn create(path: &Path) -> io::Result<()> {
        let flags = u32::try_from(libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY).map_err(io::Error::other)?;
        call(OPEN, Low::new(path)?.address, flags, 0o600).map(drop)
    }

    /// Removes a name.
    pub fn unlink(path: &Path) -> io::Result<()> {
        call(UNLINK, Low::new(path)?.address, 0, 0).map(drop)
    }

    /// Makes a directory.
    pub fn mkdir(path: &Path) -> io::Result<()> {
        call(MKDIR, Low::new(path)?.address, 0o700, 0).map(drop)
    }

    /// Makes a symbolic link; its number is mkdir's of 64-bit programs.
    pub fn symlink(target: &Path, path: &Path) -> io::Result<()> {
        let (target, path) = (Low::new(target)?, Low::new(path)?);
        call(SYMLINK, target.address, path.address, 0).map(drop)
    }

    /// A string below 4 GiB. Its page stays mapped: the process is short-lived.
    struct Low {
        address: u32,
    }

    impl Low {
        fn new(path: &Path) -> io::Result<Self> {
            let text = CString::new(path.as_os_str().as_bytes())?;
            let bytes = text.as_bytes_with_nul();
            if bytes.len() > PAGE {
                return Err(io::Error::other("path longer than a page"));
            }
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT;
            // SAFETY: a new mapping, at an address of the kernel's choice.
            let page = unsafe { libc::mmap(std::ptr::null_mut(), PAGE, protection, flags, -1, 0) };
            if page == libc::MAP_FAILED {
                return Err(io::Error::last_os_error());
            }
            // SAFETY: the page is ours, writable and long enough.
            unsafe { page.cast::<u8>().copy_from_nonoverlapping(bytes.as_ptr().cast(), bytes.len()) };
            Ok(Self { address: u32::try_from(page as usize).map_err(io::Error::other)? })
        }
    }

    fn call(number: u32, first: u32, second: u32, third: u32) -> io::Result<i32> {
        let result: i32;
        // SAFETY: the calls above take pointers to closed strings, or numbers. rbx is the compiler's: it is kept.
        unsafe {
            asm!(
                "push rbx",
                "mov ebx, {first:e}",
                "int 0x80",
                "pop rbx",
                first = in(reg) first,
                inlateout("eax") number => result,
                in("ecx") second,
                in("edx") third,
                out("r8") _, out("r9") _, out("r10") _, out("r11") _,
            );
        }
        if result < 0 { Err(io::Error::from_raw_os_error(-result)) } else { Ok(result) }
    }
}
