//! The idle I/O class (ioprio_set(2)), for which neither glibc nor any crate in use has a wrapper.
#![allow(unsafe_code, reason = "ioprio_set and ioprio_get have no safe wrapper")]

use nix::errno::Errno;
use nix::libc;

/// `IOPRIO_WHO_PROCESS`: one thread.
const WHO_PROCESS: libc::c_int = 1;
/// Bits below the class (include/uapi/linux/ioprio.h).
const CLASS_SHIFT: u32 = 13;
/// `IOPRIO_CLASS_IDLE`: gets the disk when nobody else asks for it. What it does is up to the disk's I/O scheduler
/// (bfq honours it, mq-deadline in part, none not at all).
const CLASS_IDLE: libc::c_long = 3;

/// Puts the (only) thread of a process into the idle class and reads back whether it is there.
pub(super) fn set_idle(pid: i32) -> Result<bool, Errno> {
    // SAFETY: takes three integers, touches no memory of this process.
    let result = unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, pid, CLASS_IDLE << CLASS_SHIFT) };
    Errno::result(result)?;
    // SAFETY: as above, two integers.
    let result = unsafe { libc::syscall(libc::SYS_ioprio_get, WHO_PROCESS, pid) };
    Ok(Errno::result(result)? >> CLASS_SHIFT == CLASS_IDLE)
}
