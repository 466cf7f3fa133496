//! Scan: the read-only half. Walks the writable layer from the host in a worker process of its own, under limits,
//! and streams candidates.
//!
//! In: [`ScanRequest`]. Out: [`ScanMessage`]s, ending in [`ScanReport`]. Must never: change a file, follow a
//! symlink, leave the filesystem it started on.
//!
//! ```text
//! agent    start -> cgroup (limit, device), priority -> running (wire, protocol)      leftovers, support
//!                                                          | pipes
//! worker   worker -> confine, seccomp -> walk (tree, lower, judge, newest) -> findings -> stream (wire)
//! ```

mod cgroup;
mod confine;
mod device;
mod findings;
#[cfg(test)]
pub(crate) mod in_process;
mod ioprio;
mod judge;
mod leftovers;
mod limit;
mod lower;
mod message;
mod newest;
mod owner;
mod priority;
pub(crate) mod protocol;
mod running;
mod seccomp;
mod start;
mod stream;
mod support;
#[cfg(test)]
mod test_clock;
mod tree;
mod usage;
mod walk;
pub(crate) mod wire;
pub mod worker;

pub use cgroup::{CgroupError, ScanCgroup, make_room};
pub use judge::facts;
pub use leftovers::{LeftoverReport, sweep_leftovers};
pub use limit::LimitError;
pub use message::{
    Candidate, Identity, Kept, KeptCounts, ScanEnd, ScanMessage, ScanReport, ScanRequest, ScanRoot,
};
pub use running::RunningScan;
pub use start::{DEFAULT_PARENT, ScanError, ScanPlace, start};
pub use support::{LimitSupport, available_limits};
pub use wire::WireError;
