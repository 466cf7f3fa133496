//! The calls of 32-bit programs, each by every number that it has. To 64-bit programs the numbers mean other things:
//! 39 is mkdir here and getpid there, 83 is symlink here and mkdir there.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use nix::libc;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use podsweep::observe::Kind;

use super::nodes::within;
use super::prepare::{file, folder, nothing, two_files};
use super::{Operation, Way};
use crate::kernel_compat::{Arg, Call, call};

const CREATE: Arg<'static> = Arg::Number((libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY).cast_unsigned());
const REOPEN: Arg<'static> = Arg::Number((libc::O_CREAT | libc::O_WRONLY).cast_unsigned());
const MODE: Arg<'static> = Arg::Number(0o700);
const FIFO: Arg<'static> = Arg::Number(libc::S_IFIFO | 0o600);
const NONE: Arg<'static> = Arg::Number(0);
const REMOVEDIR: Arg<'static> = Arg::Number(libc::AT_REMOVEDIR.cast_unsigned());
const CWD: Arg<'static> = Arg::Cwd;
const NOWHERE: &str = "nowhere";

/// `SYS_BIND` of `include/uapi/linux/net.h`: what socketcall(2) is to do.
const SYS_BIND: u32 = 2;

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::new("32-bit open", nothing, |d| open(Call::Open, &[path(&new(d)), CREATE, MODE]), ONE_FILE),
    Operation::new("32-bit creat", nothing, |d| open(Call::Creat, &[path(&new(d)), MODE]), ONE_FILE),
    Operation::new(
        "32-bit openat",
        nothing,
        |d| open(Call::Openat, &[CWD, path(&new(d)), CREATE, MODE]),
        ONE_FILE,
    ),
    Operation::new("32-bit openat2", nothing, openat2, ONE_FILE),
    Operation::new(
        "32-bit mkdir",
        nothing,
        |d| run(Call::Mkdir, &[path(&new(d)), MODE]),
        &[(Kind::Mkdir, 1)],
    ),
    Operation::new(
        "32-bit mkdirat",
        nothing,
        |d| run(Call::Mkdirat, &[CWD, path(&new(d)), MODE]),
        &[(Kind::Mkdir, 1)],
    ),
    Operation::new(
        "32-bit mknod",
        nothing,
        |d| run(Call::Mknod, &[path(&new(d)), FIFO, NONE]),
        &[(Kind::Mknod, 1)],
    ),
    Operation::new(
        "32-bit mknodat",
        nothing,
        |d| run(Call::Mknodat, &[CWD, path(&new(d)), FIFO, NONE]),
        &[(Kind::Mknod, 1)],
    ),
    Operation::new(
        "32-bit symlink",
        nothing,
        |d| run(Call::Symlink, &[path(Path::new(NOWHERE)), path(&new(d))]),
        &[(Kind::Symlink, 1)],
    ),
    Operation::new(
        "32-bit symlinkat",
        nothing,
        |d| run(Call::Symlinkat, &[path(Path::new(NOWHERE)), CWD, path(&new(d))]),
        &[(Kind::Symlink, 1)],
    ),
    Operation::new(
        "32-bit link",
        file,
        |d| run(Call::Link, &[path(&old(d)), path(&new(d))]),
        &[(Kind::Link, 1)],
    ),
    Operation::new(
        "32-bit linkat",
        file,
        |d| run(Call::Linkat, &[CWD, path(&old(d)), CWD, path(&new(d)), NONE]),
        &[(Kind::Link, 1)],
    ),
    Operation::new("32-bit unlink", file, |d| run(Call::Unlink, &[path(&old(d))]), &[(Kind::Unlink, 1)]),
    Operation::new(
        "32-bit unlinkat",
        file,
        |d| run(Call::Unlinkat, &[CWD, path(&old(d)), NONE]),
        &[(Kind::Unlink, 1)],
    ),
    Operation::new(
        "32-bit unlinkat of a folder",
        folder,
        |d| run(Call::Unlinkat, &[CWD, path(&d.join("folder")), REMOVEDIR]),
        &[(Kind::Rmdir, 1)],
    ),
    Operation::new(
        "32-bit rmdir",
        folder,
        |d| run(Call::Rmdir, &[path(&d.join("folder"))]),
        &[(Kind::Rmdir, 1)],
    ),
    Operation::new(
        "32-bit rename",
        file,
        |d| run(Call::Rename, &[path(&old(d)), path(&new(d))]),
        &[(Kind::Rename, 1)],
    ),
    Operation::new(
        "32-bit renameat",
        file,
        |d| run(Call::Renameat, &[CWD, path(&old(d)), CWD, path(&new(d))]),
        &[(Kind::Rename, 1)],
    ),
    Operation::new(
        "32-bit renameat2, over a file",
        two_files,
        |d| run(Call::Renameat2, &[CWD, path(&old(d)), CWD, path(&d.join("other")), NONE]),
        &[(Kind::Rename, 1), (Kind::RenameOver, 1)],
    ),
    Operation::new("32-bit bind of a path", nothing, bind, &[(Kind::SockBind, 1)]),
    Operation::new("32-bit bind by socketcall", nothing, bind_by_socketcall, &[(Kind::SockBind, 1)])
        .by(Way::Socketcall),
    Operation::new(
        "32-bit open of an existing file",
        file,
        |d| open(Call::Open, &[path(&old(d)), REOPEN]),
        &[],
    ),
];

const ONE_FILE: &[(Kind, u64)] = &[(Kind::Create, 1)];

fn new(folder: &Path) -> PathBuf {
    folder.join("new")
}

fn old(folder: &Path) -> PathBuf {
    folder.join("file")
}

const fn path(path: &Path) -> Arg<'_> {
    Arg::Path(path)
}

fn run(which: Call, arguments: &[Arg<'_>]) -> io::Result<()> {
    call(which, arguments).map(drop)
}

fn open(which: Call, arguments: &[Arg<'_>]) -> io::Result<()> {
    let descriptor = call(which, arguments)?;
    run(Call::Close, &[Arg::Number(descriptor)])
}

fn openat2(folder: &Path) -> io::Result<()> {
    // `struct open_how`: flags, mode, resolve.
    let how = [(libc::O_CREAT | libc::O_WRONLY).cast_unsigned().into(), 0o700, 0_u64];
    let how: Vec<u8> = how.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let size = u32::try_from(how.len()).map_err(io::Error::other)?;
    open(Call::Openat2, &[CWD, path(&new(folder)), Arg::Bytes(&how), Arg::Number(size)])
}

/// `struct sockaddr_un` of a relative path.
fn address() -> Vec<u8> {
    let family = u16::try_from(libc::AF_UNIX).unwrap_or_default().to_ne_bytes();
    [&family[..], b"new\0"].concat()
}

fn bind(folder: &Path) -> io::Result<()> {
    within(folder, || {
        let socket = stream()?;
        let address = address();
        run(Call::Bind, &[descriptor(&socket), Arg::Bytes(&address), length(&address)])
    })
}

fn bind_by_socketcall(folder: &Path) -> io::Result<()> {
    within(folder, || {
        let socket = stream()?;
        let address = address();
        let arguments = [descriptor(&socket).word()?, Arg::Bytes(&address).word()?, length(&address).word()?];
        run(Call::Socketcall, &[Arg::Number(SYS_BIND), Arg::Words(&arguments)])
    })
}

fn stream() -> io::Result<OwnedFd> {
    Ok(socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?)
}

fn descriptor(socket: &OwnedFd) -> Arg<'static> {
    Arg::Number(socket.as_raw_fd().cast_unsigned())
}

fn length(bytes: &[u8]) -> Arg<'static> {
    Arg::Number(u32::try_from(bytes.len()).unwrap_or_default())
}
