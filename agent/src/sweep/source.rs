//! Where candidates come from, as far as the removing half cares: the scan worker, or a test's own lister.

use std::collections::BTreeMap;
use std::future::Future;

use crate::scan::{RunningScan, ScanError, ScanMessage, ScanPlace, ScanReport, ScanRequest};

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

    /// Why the worker failed, in a sentence with the remedy, once the report says so.
    fn failure(&self) -> Option<&str>;

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
        crate::scan::start(request, self)
            .await
            .map_err(|error| ScanNotStarted { reason: reason(&error).to_owned(), message: error.to_string() })
    }
}

impl Candidates for RunningScan {
    async fn next(&mut self) -> Option<ScanMessage> {
        Self::next(self).await
    }

    fn limits(&self) -> (&BTreeMap<String, String>, &[String]) {
        Self::limits(self)
    }

    fn failure(&self) -> Option<&str> {
        Self::failure(self)
    }

    async fn cancel(self) -> ScanReport {
        Self::cancel(self).await
    }
}

fn reason(error: &ScanError) -> &'static str {
    match error {
        ScanError::LimitsMissing { .. } => "LimitsMissing",
        ScanError::Interrupted(_) => "Cancelled",
        ScanError::Cgroup(_) | ScanError::Spawn { .. } | ScanError::Request(_) => "ScanNotStarted",
    }
}
