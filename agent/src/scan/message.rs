//! What goes to the scan worker and what comes back. Plain data; no I/O.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::inventory::VolumeKind;
use crate::policy::{Action, JunkRule, ScanSettings};

/// One directory tree to walk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanRoot {
    /// What it is to the container.
    pub kind: VolumeKind,
    /// Where the host sees it.
    pub host: PathBuf,
    /// Where the container sees it (`/` for the writable layer).
    pub seen_at: PathBuf,
    /// The image's layers: a file that exists there, too, is kept. Empty for volumes.
    pub lower: Vec<PathBuf>,
    /// Mount points below it, as the container sees them: not entered.
    pub mounts: Vec<PathBuf>,
}

/// One scan. Sent to the worker as its only input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScanRequest {
    /// Trees to walk.
    pub roots: Vec<ScanRoot>,
    /// The policy's rules.
    pub junk: Vec<JunkRule>,
    /// Deny lists, as the container sees the paths: the node's first, then the policy's own.
    pub never: Vec<String>,
    /// Limits of the walk itself (entries, time).
    pub settings: ScanSettings,
    /// Wall clock at the start, seconds and nanoseconds since 1970: the time ages are judged against.
    pub now: (i64, u32),
}

/// What a file was when it was scanned, on the upper side. All of it must still hold when the file is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// `st_dev`.
    pub device: u64,
    /// `st_ino`.
    pub inode: u64,
    /// `st_mode`, with the file type.
    pub mode: u32,
    /// `st_uid`.
    pub uid: u32,
    /// `st_gid`.
    pub gid: u32,
    /// `st_nlink`.
    pub links: u64,
    /// `st_size`, bytes.
    pub size: u64,
    /// `st_mtime`, seconds and nanoseconds.
    pub mtime: (i64, i64),
    /// `st_ctime`, seconds and nanoseconds.
    pub ctime: (i64, i64),
}

impl From<&rustix::fs::Stat> for Identity {
    #[allow(clippy::useless_conversion, reason = "st_nlink is a u32 on aarch64")]
    fn from(stat: &rustix::fs::Stat) -> Self {
        let time = |seconds, nanoseconds: u64| (seconds, i64::try_from(nanoseconds).unwrap_or_default());
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            mode: stat.st_mode,
            uid: stat.st_uid,
            gid: stat.st_gid,
            links: u64::from(stat.st_nlink),
            size: u64::try_from(stat.st_size).unwrap_or_default(),
            mtime: time(stat.st_mtime, stat.st_mtime_nsec),
            ctime: time(stat.st_ctime, stat.st_ctime_nsec),
        }
    }
}

/// One file that a scan found to match a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// Index into [`ScanRequest::roots`].
    pub root: u16,
    /// Path below the root, bytes as the kernel has them, no leading slash.
    pub path: Vec<u8>,
    /// Index into [`ScanRequest::junk`]: the rule that named it.
    pub rule: u16,
    /// What the rule asks for.
    pub action: Action,
    /// What it was.
    pub identity: Identity,
    /// `st_blocks` in bytes: what removing it frees.
    pub allocated: u64,
}

/// Why a file that a rule's paths cover stays. A label of metrics, a word in history: keep the set small and stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kept {
    /// Matched a rule's `exclude`.
    Excluded,
    /// Matched a deny list (`never`, or the node's).
    Never,
    /// Not of a type the rule names.
    Type,
    /// Younger than the rule's `olderThan`, or than the built-in 10 s.
    TooYoung,
    /// Smaller than `minSize`.
    TooSmall,
    /// Owned by none of `owners`.
    Owner,
    /// One of the newest `keepNewest` of its directory.
    Newest,
    /// Has more than one link.
    HardLinked,
    /// Also exists in a layer of the image (or hides a file of one).
    LowerLayer,
    /// On another mount.
    MountInside,
    /// Open, mapped or locked by a process.
    Open,
    /// No longer what was scanned.
    Changed,
    /// The container's view does not show the file that was scanned.
    ViewDiffers,
    /// The kernel refused (the errno is in the log and the journal).
    Refused,
    /// More files than a bounded buffer holds were in one directory, so `keepNewest` could not be judged.
    TooManyInDirectory,
    /// Executor `Exec` alone: the path would not reach `rm` in the container as it is.
    NotPassable,
}

impl Kept {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::Excluded,
        Self::Never,
        Self::Type,
        Self::TooYoung,
        Self::TooSmall,
        Self::Owner,
        Self::Newest,
        Self::HardLinked,
        Self::LowerLayer,
        Self::MountInside,
        Self::Open,
        Self::Changed,
        Self::ViewDiffers,
        Self::Refused,
        Self::TooManyInDirectory,
        Self::NotPassable,
    ];
}

/// Files kept, by reason.
pub type KeptCounts = BTreeMap<Kept, u64>;

/// Why a scan ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ScanEnd {
    /// Walked everything in scope.
    Complete,
    /// Reached `maxEntries`.
    EntryLimit,
    /// Reached `timeout`.
    Timeout,
    /// The receiver wants no more.
    Cancelled,
    /// The worker died or broke the protocol.
    WorkerFailed,
}

/// One message of the worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ScanMessage {
    /// A file that may go.
    Candidate(Candidate),
    /// Where the walk is, at most ten a second.
    Progress {
        /// Entries seen so far.
        entries: u64,
        /// Candidates so far.
        candidates: u64,
    },
    /// The walk is over.
    End(ScanReport),
}

/// What a scan did and what it cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScanReport {
    /// Why it ended.
    pub end: ScanEnd,
    /// Directory entries looked at.
    pub entries: u64,
    /// Directories read.
    pub directories: u64,
    /// Candidates found.
    pub candidates: u64,
    /// Bytes they hold on disk.
    pub candidate_bytes: u64,
    /// Files that a rule's paths cover and that stay.
    pub kept: KeptCounts,
    /// Entries that could not be read (path and errno in the log).
    pub errors: u64,
    /// From start to end, waiting for the receiver included.
    pub wall: Duration,
    /// CPU time of the worker's cgroup.
    pub cpu: Duration,
    /// Time the worker's cgroup was held back by its CPU quota.
    pub throttled: Duration,
    /// Bytes read from the device.
    pub read_bytes: u64,
    /// Reads that the device was asked for: what `readIOPS` limits. Zero in records of before it was counted.
    #[serde(default)]
    pub reads: u64,
    /// Limits in force, as read back from the kernel: name of the kernel file and its value.
    pub limits: BTreeMap<String, String>,
    /// Limits that the policy asks for and this host cannot give.
    pub missing_limits: Vec<String>,
}
