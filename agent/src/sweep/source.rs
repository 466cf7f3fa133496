//! Where candidates come from, as far as the removing half cares: the scan worker, or a test's own lister.

use std::collections::BTreeMap;
use std::future::Future;

use crate::scan::{ScanMessage, ScanReport, ScanRequest};

/// Starts scans.
pub trait Scans: Sync {
    /// A scan that runs.
    type Running: Candidates;

    /// Starts one.
    fn start(
        &self,
        request: ScanRequest,
    ) -> impl Future<Output = Result<Self::Running, ScanNotStarted>> + Send;
}

/// A scan that runs.
pub trait Candidates: Send {
    /// The next message; the last is [`ScanMessage::End`]. `None` before it: the worker is gone. Cancel safe: a
    /// message is never lost because the caller stopped waiting for it.
    fn next(&mut self) -> impl Future<Output = Option<ScanMessage>> + Send;

    /// Limits in force, and those that this host cannot give.
    fn limits(&self) -> (&BTreeMap<String, String>, &[String]);

    /// Ends it now.
    fn cancel(self) -> impl Future<Output = ScanReport> + Send;
}

/// Why a scan could not start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ScanNotStarted {
    /// One stable word (`LimitsMissing`, …): becomes the sweep's reason.
    pub reason: String,
    /// A sentence, with the path and the remedy.
    pub message: String,
}
