//! The deleter's seccomp filter: a list of what the door needs; anything else kills the process.
//!
//! Every call that names a file must name it relative to a handle: `AT_FDCWD` kills. `openat2`'s flags and all paths
//! are behind pointers, where a filter cannot see them: they are Landlock's to decide, and the limit of zero bytes for
//! any file's size.

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::libc;
use seccompiler::BackendError;

use super::super::door::Rights;
use crate::confinement::filter::{Filter, Must};

/// `RENAME_NOREPLACE` of linux/fs.h; libc has it as an unsigned number.
const NOREPLACE: i32 = 1;

/// For a deleter with these rights, whose agent is at the other end of `socket`.
pub(super) fn filter(socket: BorrowedFd<'_>, rights: &Rights) -> Result<Filter, BackendError> {
    let mut filter = Filter::new()?;
    let relative = [Must::NotBe(0, libc::AT_FDCWD)];
    for call in [libc::SYS_openat2, libc::SYS_statx] {
        filter.allow_if(call, &relative)?;
    }
    for call in [libc::SYS_recvmsg, libc::SYS_sendmsg] {
        filter.allow_if(call, &[Must::Be(0, socket.as_raw_fd())])?;
    }
    filter.allow_if(libc::SYS_fcntl, &[Must::Be(1, libc::F_GETLEASE)])?;
    // Whether the container's first process has ended.
    #[cfg(target_arch = "x86_64")]
    filter.allow(&[libc::SYS_poll]);
    filter.allow(&[libc::SYS_ppoll]);
    match rights {
        Rights::Look => {}
        Rights::Remove => allow_removal(&mut filter)?,
        Rights::RemoveAndTruncate(own_handles) => {
            allow_removal(&mut filter)?;
            let (mask, write) = (libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC, libc::O_WRONLY);
            let own = Must::Be(0, own_handles.as_raw_fd());
            filter.allow_if(libc::SYS_openat, &[own, Must::Have(2, mask, write)])?;
            filter.allow_if(libc::SYS_ftruncate, &[Must::Be(1, 0)])?;
        }
    }
    Ok(filter)
}

/// A name is moved aside before it is removed, and never over another.
fn allow_removal(filter: &mut Filter) -> Result<(), BackendError> {
    filter.allow_if(libc::SYS_unlinkat, &[Must::NotBe(0, libc::AT_FDCWD)])?;
    let never_over = Must::Be(4, NOREPLACE);
    filter.allow_if(
        libc::SYS_renameat2,
        &[Must::NotBe(0, libc::AT_FDCWD), Must::NotBe(2, libc::AT_FDCWD), never_over],
    )
}
