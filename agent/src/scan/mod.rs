//! Scan: the read-only half. Walks the writable layer from the host in a worker process of its own, under limits,
//! and streams candidates.
//!
//! In: [`ScanRequest`]. Out: [`ScanMessage`]s, ending in [`ScanReport`]. Must never: change a file, follow a
//! symlink, leave the filesystem it started on.

mod message;

pub use message::{
    Candidate, Identity, Kept, KeptCounts, ScanEnd, ScanMessage, ScanReport, ScanRequest, ScanRoot,
};
