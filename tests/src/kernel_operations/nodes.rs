//! mknod(2) of each type, and bind(2), which makes a socket node without it.

use std::io;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, bind, socket};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use podsweep::observe::Kind;

use super::Operation;
use super::prepare::nothing;
use crate::kernel_raw as raw;

/// Device numbers for nodes that nobody opens: those of /dev/null and of the first RAM disk.
const NULL: (u64, u64) = (1, 3);
const RAM: (u64, u64) = (1, 0);

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::new("mknod, regular file", nothing, |d| node(d, SFlag::S_IFREG, (0, 0)), &[(Kind::Mknod, 1)]),
    Operation::new("mknod, FIFO", nothing, |d| node(d, SFlag::S_IFIFO, (0, 0)), &[(Kind::Mknod, 1)]),
    Operation::new("mknod, socket", nothing, |d| node(d, SFlag::S_IFSOCK, (0, 0)), &[(Kind::Mknod, 1)]),
    Operation::new(
        "mknod, character device",
        nothing,
        |d| node(d, SFlag::S_IFCHR, NULL),
        &[(Kind::Mknod, 1)],
    ),
    Operation::new("mknod, block device", nothing, |d| node(d, SFlag::S_IFBLK, RAM), &[(Kind::Mknod, 1)]),
    Operation::new("mknod by its old number", nothing, |d| raw::mkfifo(&d.join("new")), &[(Kind::Mknod, 1)]),
    Operation::new("bind of a path", nothing, bind_path, &[(Kind::SockBind, 1)]),
    Operation::new("bind of a path, datagram", nothing, bind_datagram, &[(Kind::SockBind, 1)]),
    Operation::new("bind of an abstract name", nothing, bind_abstract, &[]),
    Operation::new("bind without a name", nothing, bind_unnamed, &[]),
    Operation::new("socket pair", nothing, |_| UnixDatagram::pair().map(drop), &[]),
];

pub(super) fn node(folder: &Path, kind: SFlag, (major, minor): (u64, u64)) -> io::Result<()> {
    Ok(mknod(&folder.join("new"), kind, Mode::S_IRUSR | Mode::S_IWUSR, makedev(major, minor))?)
}

pub(super) fn bind_path(folder: &Path) -> io::Result<()> {
    within(folder, || UnixListener::bind("new").map(drop))
}

fn bind_datagram(folder: &Path) -> io::Result<()> {
    within(folder, || UnixDatagram::bind("new").map(drop))
}

/// A socket's path is short (108 bytes): a relative one always fits.
pub(super) fn within<T>(folder: &Path, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    std::env::set_current_dir(folder)?;
    let done = work();
    std::env::set_current_dir("/")?;
    done
}

fn bind_abstract(_: &Path) -> io::Result<()> {
    use std::os::linux::net::SocketAddrExt;
    let name = format!("podsweep-test-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
    UnixListener::bind_addr(&address).map(drop)
}

/// The kernel gives it an abstract name of its own.
fn bind_unnamed(_: &Path) -> io::Result<()> {
    let socket = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    Ok(bind(std::os::fd::AsRawFd::as_raw_fd(&socket), &UnixAddr::new_unnamed())?)
}
