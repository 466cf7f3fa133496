//! System calls by a 32-bit program: `int 0x80`, i386's numbers, pointers below 4 GiB. A file of its own for the
//! `unsafe` that they need.
#![allow(unsafe_code, reason = "32-bit system calls")]

use std::arch::asm;
use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::libc;

const PAGE: usize = 4096;

/// The calls that make, remove or rename, by their numbers (arch/x86/entry/syscalls/syscall_32.tbl); and close.
#[expect(missing_docs, reason = "each is the system call of that name")]
#[derive(Debug, Clone, Copy)]
#[repr(u32)]
pub enum Call {
    Open = 5,
    Close = 6,
    Creat = 8,
    Link = 9,
    Unlink = 10,
    Mknod = 14,
    Rename = 38,
    Mkdir = 39,
    Rmdir = 40,
    Symlink = 83,
    Socketcall = 102,
    Openat = 295,
    Mkdirat = 296,
    Mknodat = 297,
    Unlinkat = 301,
    Renameat = 302,
    Linkat = 303,
    Symlinkat = 304,
    Renameat2 = 353,
    Bind = 361,
    Openat2 = 437,
}

/// Makes the call; what it returned.
pub fn call(call: Call, arguments: &[Arg<'_>]) -> io::Result<u32> {
    let mut words = [0_u32; 5];
    for (word, argument) in words.iter_mut().zip(arguments) {
        *word = argument.word()?;
    }
    invoke(call as u32, words)
}

/// One argument.
#[derive(Debug, Clone, Copy)]
pub enum Arg<'a> {
    /// A number.
    Number(u32),
    /// The working directory, in place of a directory's descriptor.
    Cwd,
    /// A path.
    Path(&'a Path),
    /// The bytes of a structure.
    Bytes(&'a [u8]),
    /// Words, such as a list of arguments of [`Arg::address`].
    Words(&'a [u32]),
}

impl Arg<'_> {
    /// What the register holds: the number, or an address below 4 GiB at which the bytes stand. Their page stays
    /// mapped: the process is short-lived.
    pub fn word(self) -> io::Result<u32> {
        match self {
            Self::Number(number) => Ok(number),
            Self::Cwd => Ok(libc::AT_FDCWD.cast_unsigned()),
            Self::Path(path) => low(CString::new(path.as_os_str().as_bytes())?.as_bytes_with_nul()),
            Self::Bytes(bytes) => low(bytes),
            Self::Words(words) => low(&words.iter().flat_map(|word| word.to_ne_bytes()).collect::<Vec<_>>()),
        }
    }
}

fn low(bytes: &[u8]) -> io::Result<u32> {
    if bytes.len() > PAGE {
        return Err(io::Error::other("longer than a page"));
    }
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT;
    // SAFETY: a new mapping, at an address of the kernel's choice.
    let page = unsafe { libc::mmap(std::ptr::null_mut(), PAGE, protection, flags, -1, 0) };
    if page == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the page is ours, writable and long enough.
    unsafe { page.cast::<u8>().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    u32::try_from(page as usize).map_err(io::Error::other)
}

fn invoke(number: u32, [first, second, third, fourth, fifth]: [u32; 5]) -> io::Result<u32> {
    let result: i32;
    // SAFETY: the arguments are numbers, or addresses of mappings that last. rbx is the compiler's: it is kept.
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
            in("esi") fourth,
            in("edi") fifth,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    u32::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))
}
