//! Where candidates come from, as far as the removing half cares: the scan worker, or a test's own lister.

use std::collections::BTreeMap;
use std::future::Future;

use crate::scan::{self, RunningScan, ScanError, ScanMessage, ScanPlace, ScanReport, ScanRequest};

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

impl Scans for ScanPlace {
    type Running = RunningScan;

    async fn start(&self, request: ScanRequest) -> Result<RunningScan, ScanNotStarted> {
        scan::start(request, self).await.map_err(|error| {
            let reason = match &error {
                ScanError::LimitsMissing { .. } => "LimitsMissing",
                _ => "ScanFailed",
            };
            ScanNotStarted { reason: reason.into(), message: error.to_string() }
        })
    }
}

impl Candidates for RunningScan {
    async fn next(&mut self) -> Option<ScanMessage> {
        RunningScan::next(self).await
    }

    fn limits(&self) -> (&BTreeMap<String, String>, &[String]) {
        RunningScan::limits(self)
    }

    async fn cancel(self) -> ScanReport {
        RunningScan::cancel(self).await
    }
}
