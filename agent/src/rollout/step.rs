//! What the coordinator shall write. Each is one write (two for [`Step::SaveBreaker`]: object, then status); one that
//! fails is asked for again as long as it is right.

use super::key::{Holder, SweepKey};
use crate::kubernetes::resources::{BreakerSpec, BreakerStatus, SweepPhase, Wave};
use crate::report::Health;

/// One write.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Compare-and-swap the holder of a slot's Lease.
    Grant {
        /// Name of the Lease.
        slot: String,
        /// The version that was read.
        version: String,
        /// The new holder.
        holder: Holder,
    },
    /// The Sweep has its slot: say so, and in which wave.
    Admit {
        /// Which.
        sweep: SweepKey,
        /// Name of the Lease.
        slot: String,
        /// The wave.
        wave: Wave,
        /// How its workload's other pods are now, for another leader to compare with.
        others: String,
    },
    /// Say why a Sweep waits.
    Note {
        /// Which.
        sweep: SweepKey,
        /// One stable word.
        reason: String,
        /// A sentence.
        message: String,
        /// How many it has been told by then.
        notes: u32,
    },
    /// Ask a Sweep's agent to end it after its batch.
    Stop {
        /// Which.
        sweep: SweepKey,
        /// Why: one stable word.
        reason: String,
    },
    /// Close a Sweep that no agent works on.
    End {
        /// Which.
        sweep: SweepKey,
        /// Aborted or Skipped.
        phase: SweepPhase,
        /// One stable word.
        reason: String,
        /// A sentence.
        message: String,
    },
    /// Say what was seen of the workload's other pods: one condition.
    Tell {
        /// Which.
        sweep: SweepKey,
        /// Harmed or Unknown.
        health: Health,
        /// One stable word.
        reason: String,
        /// A sentence.
        message: String,
    },
    /// Mark that the breakers have heard of a Sweep's harm.
    CountHarm {
        /// Which.
        sweep: SweepKey,
    },
    /// Write a breaker.
    SaveBreaker {
        /// Name of the object.
        name: String,
        /// What it stops.
        spec: BreakerSpec,
        /// How it stands.
        status: BreakerStatus,
    },
    /// A breaker is closed: delete its object.
    CloseBreaker {
        /// Name of the object.
        name: String,
    },
    /// Delete a Sweep whose time is over.
    Forget {
        /// Which.
        sweep: SweepKey,
    },
}

impl Step {
    /// One word, a label of metrics.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Grant { .. } => "grant",
            Self::Admit { .. } => "admit",
            Self::Note { .. } => "note",
            Self::Stop { .. } => "stop",
            Self::End { .. } => "end",
            Self::Tell { .. } => "tell",
            Self::CountHarm { .. } => "count-harm",
            Self::SaveBreaker { .. } => "save-breaker",
            Self::CloseBreaker { .. } => "close-breaker",
            Self::Forget { .. } => "forget",
        }
    }
}
