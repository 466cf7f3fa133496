//! What the worker gives up before it looks at the first directory: every capability but reading, the right to gain
//! any, and every system call that is not needed for looking.
//!
//! In: nothing. Out: a process that cannot change a file. Must never: be undone.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::seccomp;
use super::walk::{MAX_DEPTH, MAX_LOWER_HANDLES};
use crate::confinement::{ConfinementError, Role, no_new_privileges};

/// Handles the walk may hold: its own levels, the lower layers', and a few besides.
const MAX_HANDLES: u64 = (2 * MAX_DEPTH + MAX_LOWER_HANDLES) as u64;

/// Gives everything up, for good.
pub(super) fn confine() -> Result<(), ConfinementError> {
    raise_handles().map_err(|errno| ConfinementError::Limit("RLIMIT_NOFILE", errno))?;
    Role::Scanner.take_on()?;
    no_new_privileges()?;
    seccomp::filter()?.install()
}

/// Up to the hard limit, if that is lower: a walk that runs out of handles counts errors and goes on.
fn raise_handles() -> nix::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard.min(MAX_HANDLES), hard)
}
