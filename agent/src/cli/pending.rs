//! Calls of stages that other branches build right now, one thin function each. Deleted at integration: every
//! function here becomes a call of what its comment names.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::mpsc::Sender;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::kernel::Psi;
use crate::policy::{Mode, SweepPolicy};
use crate::report::SweepRecord;
use crate::scan::ScanReport;

/// `sweep::Event`.
pub(crate) enum Event {
    ScanStarted { limits: BTreeMap<String, String>, missing: Vec<String> },
    ScanProgress { entries: u64, candidates: u64 },
    Batch { number: u64, removed: u64, kept: u64, took: Duration, next_pause: Duration },
    Waiting { psi: Psi },
    ScanEnded(ScanReport),
    Note(String),
}

/// What `scan` and `sweep` ask of the pipeline (`one_shot`, the lead's).
pub(crate) struct OneShot {
    pub(crate) config: Config,
    pub(crate) target: String,
    pub(crate) policy: SweepPolicy,
    pub(crate) mode: Mode,
}

/// What comes back.
pub(crate) struct Finished {
    pub(crate) record: SweepRecord,
    /// Path as the container sees it, rule, bytes on disk; the first 1,000.
    pub(crate) sample: Vec<(Vec<u8>, String, u64)>,
}

/// `explain::Step` of the policy stage.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Step {
    pub(crate) level: u8,
    pub(crate) question: String,
    pub(crate) answer: String,
    pub(crate) deciding: bool,
}

/// `scan::LimitSupport`.
pub(crate) struct LimitSupport {
    pub(crate) file: String,
    pub(crate) available: Result<(), String>,
}

const PENDING: &str = "not wired yet";

/// `agent::run(config)`.
pub(crate) fn run_agent(_config: Config) -> anyhow::Result<()> {
    anyhow::bail!(PENDING)
}

/// `scan::worker::run()`.
pub(crate) fn scan_worker() -> anyhow::Result<()> {
    anyhow::bail!(PENDING)
}

/// `policy::load_folder`; the files it read.
pub(crate) fn load_folder(_path: &Path) -> Result<Vec<SweepPolicy>, Vec<String>> {
    Err(vec![PENDING.into()])
}

/// `one_shot::sweep`.
#[allow(clippy::unused_async)]
pub(crate) async fn one_shot(
    _request: OneShot,
    _events: Sender<Event>,
    _stop: CancellationToken,
) -> anyhow::Result<Finished> {
    anyhow::bail!(PENDING)
}

/// Streams the path of every candidate (`scan::start`), as the container sees it.
#[allow(clippy::unused_async)]
pub(crate) async fn candidates(
    _request: OneShot,
    _found: Sender<Vec<u8>>,
    _stop: CancellationToken,
) -> anyhow::Result<ScanReport> {
    anyhow::bail!(PENDING)
}

/// `policy::explain`, with the container from the inventory and the file's facts through its mount view.
#[allow(clippy::unused_async)]
pub(crate) async fn explain(
    _config: Config,
    _container: &str,
    _path: &Path,
    _policy: Option<SweepPolicy>,
) -> anyhow::Result<Vec<Step>> {
    anyhow::bail!(PENDING)
}

/// `observe::trial()`.
pub(crate) fn tiers() -> Vec<(String, Result<(), String>)> {
    Vec::new()
}

/// `scan::available_limits()`.
pub(crate) fn scan_limits() -> Vec<LimitSupport> {
    Vec::new()
}

/// The lease test of `sweep`, on a file of its own in `directory`.
pub(crate) fn try_lease(_directory: &Path) -> std::io::Result<()> {
    Err(std::io::Error::other(PENDING))
}
