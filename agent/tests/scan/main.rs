//! The scan as a whole: the real worker, real cgroups, real files. Needs root; makes slices of its own and removes
//! them.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test's helper fails the test and clears up; clippy knows test functions only"
)]

mod agent_death;
mod ends;
mod limits;
mod place;
mod scope;
mod walk;
