//! Starting a scan: the cgroup, the worker, its limits, and only then the request.
//!
//! In: a [`ScanRequest`]. Out: a [`RunningScan`], or why not. Must never: let the worker look at anything before its
//! limits have been read back.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin, Command};

use super::cgroup::{CgroupError, ScanCgroup};
use super::running::{self, RunningScan, Worker};
use super::wire::{self, WireError};
use super::{ScanRequest, priority, worker};
use crate::kernel::{Cgroups, KernelError};

/// Parent of all scan cgroups, unless the node's config names another.
pub const DEFAULT_PARENT: &str = "podsweep.slice";

/// Where scans are run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanPlace {
    /// The program that has the [`worker`]: `/proc/self/exe`, which stays the same program when the file on disk is
    /// upgraded.
    pub worker: PathBuf,
    /// Path of our slice below each cgroup mount.
    pub cgroup_parent: String,
    /// The mounts.
    pub cgroups: Cgroups,
}

impl ScanPlace {
    /// This program, [`DEFAULT_PARENT`], this host's mounts.
    pub fn here() -> Result<Self, KernelError> {
        Ok(Self {
            worker: PathBuf::from("/proc/self/exe"),
            cgroup_parent: DEFAULT_PARENT.to_owned(),
            cgroups: Cgroups::find()?,
        })
    }
}

/// Why a scan could not be started.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// The policy asks for limits that this host cannot give.
    #[error(
        "this host cannot give the scan all its limits ({}); mend the host (`podsweep doctor` says how), or set \
         spec.scan.allowMissingLimits: true",
        names.join("; ")
    )]
    LimitsMissing {
        /// Each with its reason.
        names: Vec<String>,
    },
    /// The cgroup.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// The program did not start.
    #[error("cannot start the scan worker {path:?}: {source}")]
    Spawn {
        /// The program.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The request does not convert, or the worker died before it could read it.
    #[error(transparent)]
    Request(#[from] WireError),
    /// The runtime is shutting down.
    #[error("interrupted: {0}")]
    Interrupted(#[from] tokio::task::JoinError),
}

/// Starts a scan.
pub async fn start(request: ScanRequest, place: &ScanPlace) -> Result<RunningScan, ScanError> {
    let started = Instant::now();
    let frame = wire::encode_request(&request)?;
    let cgroup = make_cgroup(&request, place).await?;
    let allow_missing = request.settings.allow_missing_limits;
    refuse_missing(cgroup.missing(), allow_missing)?;

    let (mut child, mut input) = spawn(&place.worker)?;
    let mut limits = cgroup.limits().clone();
    let mut missing = cgroup.missing().to_vec();
    let prepared = prepare(&child, &cgroup, &mut limits, &mut missing)
        .and_then(|()| refuse_missing(&missing, allow_missing));
    let prepared = match prepared {
        Ok(()) => input.write_all(&frame).await.map_err(|error| WireError::from(error).into()),
        refused => refused,
    };
    if let Err(error) = prepared {
        // Killed and reaped, so that its cgroup can go; an error means that it is gone already.
        let _ = child.kill().await;
        running::remove(cgroup).await;
        return Err(error);
    }
    Ok(RunningScan::supervise(Worker { child, input, cgroup, limits, missing, started }, &request))
}

async fn make_cgroup(request: &ScanRequest, place: &ScanPlace) -> Result<ScanCgroup, ScanError> {
    let (settings, roots) = (request.settings.clone(), request.roots.clone());
    let (parent, cgroups) = (place.cgroup_parent.clone(), place.cgroups.clone());
    Ok(tokio::task::spawn_blocking(move || ScanCgroup::make(&parent, &cgroups, &settings, &roots)).await??)
}

fn spawn(program: &Path) -> Result<(Child, ChildStdin), ScanError> {
    let failed = |source| ScanError::Spawn { path: program.to_path_buf(), source };
    let mut child = Command::new(program)
        .arg(worker::COMMAND)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        // Not the terminal's group: an interrupt is for the agent, which cancels the scan and reads its report.
        .process_group(0)
        .spawn()
        .map_err(failed)?;
    let input = child.stdin.take().ok_or_else(|| failed(std::io::ErrorKind::BrokenPipe.into()))?;
    Ok((child, input))
}

fn prepare(
    child: &Child,
    cgroup: &ScanCgroup,
    limits: &mut BTreeMap<String, String>,
    missing: &mut Vec<String>,
) -> Result<(), ScanError> {
    let pid = pid_of(child);
    cgroup.attach(pid)?;
    priority::lower(pid, limits, missing);
    Ok(())
}

/// The child's pid; 0, which no process has, once it is reaped.
pub(super) fn pid_of(child: &Child) -> i32 {
    child.id().map_or(0, u32::cast_signed)
}

fn refuse_missing(missing: &[String], allowed: bool) -> Result<(), ScanError> {
    if missing.is_empty() || allowed {
        return Ok(());
    }
    Err(ScanError::LimitsMissing { names: missing.to_vec() })
}
