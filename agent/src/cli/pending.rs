//! Calls of stages that other branches build right now, one thin function each. Deleted at integration: every
//! function here becomes a call of what its comment names.
#![allow(clippy::unused_async, clippy::needless_pass_by_value, dead_code)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::inventory::Target;
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

/// `operation::Follow`.
pub(crate) trait Follow: Send + Sync {
    fn phase(&self, record: &SweepRecord);
    fn event(&self, id: &str, event: &Event);
}

/// `sweep::Sampled`: path as the container sees it, rule, bytes on disk.
pub(crate) type Sampled = (Vec<u8>, String, u64);

/// `policy::explain`'s `Step`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Step {
    pub(crate) level: u8,
    pub(crate) question: String,
    pub(crate) answer: String,
    pub(crate) deciding: bool,
}

const PENDING: &str = "not wired yet";

/// `report::log::init`, a runtime of several threads, `agent::run(config, shutdown on SIGTERM and SIGINT)`.
pub(crate) fn run_agent(_config: Config) -> anyhow::Result<()> {
    anyhow::bail!(PENDING)
}

/// `policy::load_folder`; how many it read.
pub(crate) fn load_folder(_path: &Path) -> Result<usize, Vec<String>> {
    Err(vec![PENDING.into()])
}

/// `one_shot::find`, then `one_shot::scan`.
pub(crate) async fn scan(
    _target: &Target,
    _policy: Arc<SweepPolicy>,
    _config: &Config,
    _follow: &dyn Follow,
    _stop: &CancellationToken,
) -> anyhow::Result<(SweepRecord, Vec<Sampled>)> {
    anyhow::bail!(PENDING)
}

/// `one_shot::find`, then `one_shot::sweep`.
pub(crate) async fn sweep(
    _target: &Target,
    _policy: Arc<SweepPolicy>,
    _mode: Mode,
    _config: &Config,
    _follow: &dyn Follow,
    _stop: &CancellationToken,
) -> anyhow::Result<SweepRecord> {
    anyhow::bail!(PENDING)
}

/// `policy::explain`, with the container from the inventory and the file's facts through its mount view.
pub(crate) async fn explain(
    _config: &Config,
    _container: &Target,
    _path: &Path,
    _policy: Option<SweepPolicy>,
) -> anyhow::Result<Vec<Step>> {
    anyhow::bail!(PENDING)
}

/// The lease test of `sweep`, on an `O_TMPFILE` file in `directory`.
pub(crate) fn try_lease(_directory: &Path) -> std::io::Result<()> {
    Err(std::io::Error::other(PENDING))
}
