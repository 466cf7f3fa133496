//! What the worker gives up before it looks at the first directory: every capability but reading, the right to gain
//! any, and every system call that is not needed for looking.
//!
//! In: nothing. Out: a process that cannot change a file. Must never: be undone.

use caps::{CapSet, Capability, CapsHashSet};
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::seccomp;
use super::walk::{MAX_DEPTH, MAX_LOWER_HANDLES};

/// Handles the walk may hold: its own levels, the lower layers', and a few besides.
const MAX_HANDLES: u64 = (2 * MAX_DEPTH + MAX_LOWER_HANDLES) as u64;

/// A privilege that could not be given up.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// Capabilities.
    #[error("cannot give up capabilities: {0}")]
    Capabilities(#[from] caps::errors::CapsError),
    /// Some are still there.
    #[error("capabilities are still there after they were given up: {0:?}")]
    StillCapable(CapsHashSet),
    /// no_new_privs.
    #[error("cannot set no_new_privs: {0}")]
    NoNewPrivileges(nix::Error),
    /// RLIMIT_NOFILE.
    #[error("cannot raise the limit of open files: {0}")]
    Handles(nix::Error),
    /// seccomp.
    #[error("cannot install the seccomp filter: {0}")]
    Filter(#[from] seccompiler::Error),
}

/// Gives everything up, for good.
pub(super) fn confine() -> Result<(), ConfineError> {
    raise_handles().map_err(ConfineError::Handles)?;
    drop_capabilities()?;
    prctl::set_no_new_privs().map_err(ConfineError::NoNewPrivileges)?;
    seccomp::install()?;
    Ok(())
}

/// Up to the hard limit, if that is lower: a walk that runs out of handles counts errors and goes on.
fn raise_handles() -> nix::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard.min(MAX_HANDLES), hard)
}

fn drop_capabilities() -> Result<(), ConfineError> {
    let held = caps::read(None, CapSet::Permitted)?;
    let keep: CapsHashSet =
        held.intersection(&CapsHashSet::from([Capability::CAP_DAC_READ_SEARCH])).copied().collect();
    // The bounding set matters to exec only, which the filter forbids; without SETPCAP it cannot be changed.
    if held.contains(&Capability::CAP_SETPCAP) {
        caps::clear(None, CapSet::Bounding)?;
    }
    caps::clear(None, CapSet::Ambient)?;
    caps::set(None, CapSet::Effective, &keep)?;
    caps::set(None, CapSet::Permitted, &keep)?;
    caps::clear(None, CapSet::Inheritable)?;
    let left = caps::read(None, CapSet::Permitted)?;
    if left == keep { Ok(()) } else { Err(ConfineError::StillCapable(left)) }
}
