//! Handles that a process got from whoever started it and never asked for: closed first thing. What the agent opens is
//! closed on exec; what its own starter left open (a shell, a supervisor) is not.
//!
//! In: a process that has just begun. Out: one that holds nothing but its standard streams. Must never: be called
//! where something else has been opened.
#![allow(unsafe_code, reason = "close_range has no safe wrapper: it closes what others may own")]

use nix::errno::Errno;
use nix::libc;

use super::ConfinementError;

/// Closes everything but the three standard streams (close_range(2), Linux 5.9).
pub(crate) fn close_all_but_standard_streams() -> Result<(), ConfinementError> {
    let first = libc::STDERR_FILENO.cast_unsigned() + 1;
    // SAFETY: called first thing in `main` of a process of one thread: no code has opened anything yet, so nothing owns
    // a descriptor above the standard streams.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0) };
    Errno::result(closed).map(drop).map_err(|errno| ConfinementError::Limit("close_range", errno))
}
