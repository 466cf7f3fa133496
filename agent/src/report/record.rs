//! One sweep as history, the control endpoint and the command line show it. Plain data; no I/O.

use serde::{Deserialize, Serialize};

use crate::policy::{Fired, Mode, Refusal};
use crate::scan::{KeptCounts, ScanReport};

/// Where a sweep is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Waits for a slot.
    Waiting,
    /// Scans and, in Enforce, removes as candidates arrive.
    Sweeping,
    /// Watches the container.
    Observing,
    /// Over; `outcome` is set.
    Ended,
}

/// How a sweep ended. `reason` of the record says why in one stable word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Everything the policy names is gone (or, in a dry run, was found).
    Complete,
    /// Ended by a limit that the policy set: `stopWhen`, `maxFiles`, `maxEntries`, a timeout.
    Partial,
    /// Ended by a doubt, a breaker or a person: the container changed, errors, cancelled, paused.
    Stopped,
    /// Did not begin: somebody said no.
    Refused,
    /// Could not be done: the scan could not start, the worker died.
    Failed,
    /// The agent ended while it ran; found on record at the next start.
    Abandoned,
}

impl Outcome {
    /// The stable word, as JSON and the metrics have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "Complete",
            Self::Partial => "Partial",
            Self::Stopped => "Stopped",
            Self::Refused => "Refused",
            Self::Failed => "Failed",
            Self::Abandoned => "Abandoned",
        }
    }
}

/// What the observation window showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub enum Health {
    /// No sign of harm through the whole window.
    Healthy,
    /// Restarted, killed, frozen or under far more pressure than before.
    Harmed,
    /// A signal was missing. Never counts as healthy.
    Unknown,
}

impl Health {
    /// The stable word, as JSON and the metrics have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "Healthy",
            Self::Harmed => "Harmed",
            Self::Unknown => "Unknown",
        }
    }
}

/// Which container, as it was when the sweep began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Subject {
    /// Cgroup id; 0 for a plain directory.
    pub cgroup: u64,
    /// Cgroup path, or the directory.
    pub cgroup_path: String,
    /// Runtime's id.
    pub id: String,
    /// The name to show.
    pub name: String,
    /// Image, where known.
    pub image: Option<String>,
    /// First process, in the host's pid namespace.
    pub pid: i32,
    /// Its start time, clock ticks after boot.
    pub start_time: u64,
}

/// What the removing half did.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SweepFigures {
    /// Files removed (or, truncated).
    pub removed: u64,
    /// Bytes on disk that this freed.
    pub removed_bytes: u64,
    /// Dry run: files that Enforce would remove or truncate.
    pub would_remove: u64,
    /// Dry run: bytes on disk that this would free.
    pub would_remove_bytes: u64,
    /// Directories removed because the sweep emptied them.
    pub removed_directories: u64,
    /// Candidates that were already gone.
    pub gone: u64,
    /// Files kept, by reason, scan and removal together.
    pub kept: KeptCounts,
    /// Batches.
    pub batches: u64,
    /// Time from the first batch to the last, milliseconds.
    pub wall_ms: u64,
    /// Time waited for the container's or the node's pressure, milliseconds.
    pub pressure_wait_ms: u64,
}

/// One sweep.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SweepRecord {
    /// ULID: sorts by time.
    pub id: String,
    /// Which container.
    pub container: Subject,
    /// Name of the policy.
    pub policy: String,
    /// Mode it ran in.
    pub mode: Mode,
    /// What asked for it.
    pub fired: Fired,
    /// Directories with the most creates when it was asked for, most first.
    pub top_directories: Vec<(String, u64)>,
    /// RFC 3339.
    pub started_at: String,
    /// RFC 3339; set when it ended.
    pub ended_at: Option<String>,
    /// Where it is.
    pub phase: Phase,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// Why, in one stable word (`Complete`, `StopWhen`, `ContainerChanged`, `CoolDown`, …).
    pub reason: Option<String>,
    /// Why, in a sentence.
    pub message: Option<String>,
    /// Who said no, if anybody did.
    pub refusal: Option<Refusal>,
    /// The scan's report.
    pub scan: Option<ScanReport>,
    /// The removal's figures.
    pub sweep: SweepFigures,
    /// What the observation showed.
    pub health: Option<Health>,
    /// Why, in one stable word (`Restarted`, `OomKilled`, …).
    pub health_reason: Option<String>,
    /// Things an author of policies should know (`PrefixIsSymlink: /var/run -> /run`).
    pub notes: Vec<String>,
    /// Which attempt, from 0.
    pub attempt: u32,
}
