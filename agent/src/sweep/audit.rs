//! What the audit journal is told, before and after each batch. Plain data and the trait; the journal is `report`'s.

use serde::{Deserialize, Serialize};

use crate::policy::Action;
use crate::scan::{Identity, Kept};

/// Where every removal is written down. A batch whose intent cannot be written is not begun.
pub trait Audit: Send + Sync {
    /// The batch about to be worked on. Returns once it is safe on disk; an error ends the sweep.
    fn will_remove(&self, sweep: &str, batch: &[AuditEntry]) -> std::io::Result<()>;

    /// What became of the batch last announced.
    fn done(&self, sweep: &str, results: &[AuditResult]) -> std::io::Result<()>;
}

/// One file (or emptied directory) that a batch may remove.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Absolute, as the container sees it, bytes as the kernel has them.
    pub path: Vec<u8>,
    /// Name of the rule that named it.
    pub rule: String,
    /// What is to be done.
    pub action: Action,
    /// What it was when it was scanned.
    pub identity: Identity,
}

/// What became of one entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditResult {
    /// Index into the batch.
    pub index: usize,
    /// What became of it.
    pub result: Fate,
}

/// What became of one candidate at the door.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fate {
    /// The name is gone from the container's view, and its inode with it.
    Removed,
    /// Cut to zero length.
    Truncated,
    /// Passed every check; a dry run leaves it there.
    WouldGo,
    /// Was already gone (or, to be truncated, already empty).
    Gone,
    /// Stays.
    Kept(Kept),
    /// The kernel refused, with this errno. Counted as [`Kept::Refused`].
    Refused(i32),
    /// Another file had taken the name in the microseconds after the last check. It is beside it, under a name that
    /// begins with `.podsweep-`, because yet another one has the name by now; or it is gone, where the filesystem had
    /// no room to move it aside first. Ends the sweep.
    Replaced,
    /// The sweep ended before its turn.
    NotTried,
    /// The deleter died or fell silent while it was among those that it had been asked to see to: it may be there,
    /// and it may be gone. Ends the sweep.
    Unknown,
}
