//! Executor `Host`, the deleter: the process that `podsweep deleter` is, one for each sweep, and the agent's end of it. Only it passes
//! the [`door`](super::door).
//!
//! ```text
//! agent    start (process) -> orders, with handles ->.              <- answers
//!                                                    | one socket   (packet, order)
//! deleter                 serve -> confine (once) -> door           -> answers
//! ```
//!
//! In: handles on a container's directories and claims on names in them, from the agent alone. Out: their fates.
//! Must never: enter a namespace, open `/proc/PID`, take a path from anywhere, start or map a program, look up a user,
//! hold a handle between two batches, outlive its agent (the socket's end is its own).

mod confine;
#[cfg(any(test, feature = "fuzzing"))]
mod in_process;
mod order;
mod packet;
mod seccomp;
mod serve;
mod start;
#[cfg(test)]
mod tests;

#[cfg(feature = "fuzzing")]
pub(crate) use in_process::look_through;
pub use serve::{COMMAND, DeleterError, run};
#[cfg(test)]
pub(super) use serve::{Confinement, serve};
pub(super) use start::Deleter;
pub use start::{Deleters, Program};
