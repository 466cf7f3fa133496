//! Confinement: what a process of podsweep gives up for good before it looks at anything that a container's owner
//! laid out, and the table of what each keeps.
//!
//! In: a [`Role`], the list of system calls that a process needs, the directories that it may change. Out: a process
//! that can do nothing else. Must never: give anything back, or go on where something could not be given up.

mod capabilities;
pub(crate) mod filter;
mod handles;
mod landlock;

pub(crate) use capabilities::Reserve;
pub use capabilities::{Kept, Role};
pub(crate) use handles::close_all_but_standard_streams;
pub(crate) use landlock::{Changes, confine_changes, is_enforced};

use nix::sys::prctl;

/// A privilege that could not be given up.
#[derive(Debug, thiserror::Error)]
pub enum ConfinementError {
    /// Capabilities.
    #[error("cannot give up capabilities: {0}")]
    Capabilities(#[from] caps::errors::CapsError),
    /// Some are still there.
    #[error("capabilities are still there after they were given up: {0}")]
    StillCapable(String),
    /// no_new_privs.
    #[error("cannot set no_new_privs: {0}")]
    NoNewPrivileges(nix::Error),
    /// A resource limit, or handles.
    #[error("cannot confine this process ({0}): {1}")]
    Limit(&'static str, nix::Error),
    /// seccomp.
    #[error("cannot install the seccomp filter: {0}")]
    Filter(#[from] seccompiler::Error),
    /// The filter's rules.
    #[error("cannot make the seccomp filter: {0}")]
    Rules(#[from] seccompiler::BackendError),
    /// Landlock.
    #[error("cannot confine changes by Landlock: {0}")]
    Landlock(#[from] ::landlock::RulesetError),
}

/// No exec gains anything from here on.
pub(crate) fn no_new_privileges() -> Result<(), ConfinementError> {
    prctl::set_no_new_privs().map_err(ConfinementError::NoNewPrivileges)
}
