//! Executor `Exec`: the container's own `rm`, over the Kubernetes API (pods/exec), for nodes on which podsweep may not
//! change files itself.
//!
//! ```text
//! lot -> names that can be passed on (command) -> is it still this container? (pod)
//!     -> every check of the door, from outside -> one rm for all of them -> what became of each, from outside
//! ```
//!
//! In: a view, claims. Out: fates, from what the host sees and never from what the container says. Must never: go
//! through a shell, name a file that the door's checks have not cleared right before, name one that is not absolute,
//! remove a tree, run a program in a dry run.
//!
//! Weaker than the deleter, and said so in docs/threat-model.md: from the last check to the call it is some 10 to 100 ms
//! (a lot of names, the way over API server and kubelet, a process that starts) and not microseconds, and `rm` goes by
//! name. It runs as the container's own user with the container's own files, so nothing beyond these is at stake.

mod command;
mod container;
mod pod;
#[cfg(test)]
mod tests;

pub use command::RmCommand;
pub(super) use container::Prepared;
pub use pod::{NotRun, PodContainer, PodExec, Ran};
