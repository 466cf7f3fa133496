//! Sweep: the removing half. Takes candidates from the scan and removes them through the container's own mount view,
//! by identity, in paced batches, until the first reason to stop.
//!
//! ```text
//! agent    run (pace, halt) -> batch (held, view, audit, lease, open_files) -> tally, end
//!                                |  lots of claims (executor)
//!                                +--> Host: handles and claims over one socket --> deleter's process: door
//!                                +--> Exec: door's checks --> names over pods/exec --> rm in the container
//! ```
//!
//! In: a [`Plan`], the scan's candidates. Out: [`Event`]s, then [`Done`]. Must never: change the upper directory from
//! the host, follow a symlink, cross a mount, remove what is not exactly what was scanned, go on in doubt.

mod audit;
mod batch;
pub mod deleter;
mod directories;
mod door;
mod end;
mod event;
mod exec;
mod executor;
mod held;
mod identity;
mod lease;
mod open_files;
mod pace;
mod plan;
mod run;
mod source;
mod streak;
mod stuck;
mod tally;
mod view;

#[cfg(test)]
mod test_bed;
#[cfg(test)]
mod tests;

pub use audit::{Audit, AuditEntry, AuditResult, Fate};
pub use deleter::{Deleters, Program};
pub use event::{Done, Event};
pub use exec::{NotRun, PodContainer, PodExec, Ran, RmCommand};
pub use lease::try_lease;
pub use plan::{Plan, directory_root, plan_roots};
pub use run::{Tools, run};
pub use source::{Candidates, ScanNotStarted, Scans};
pub use stuck::Stuck;
pub use tally::SAMPLE;
