//! The figures of the cluster's demo, and what they must be for it to have succeeded. Pure.

use serde::Serialize;
use serde_json::Value;

/// The object that `-o json` prints.
#[derive(Debug, Clone, Serialize)]
pub struct Figures {
    /// `uname -r`.
    pub kernel: String,
    /// The kubelet's threshold.
    pub evicted_below_free_inodes: u64,
    /// What the container makes, in all.
    pub files_of_a_flood: u64,
    /// The first half of the story.
    pub without: Without,
    /// The second.
    pub with: With,
    /// Of a pod beside the flooded one, in both halves.
    pub neighbour_restarts: u64,
}

/// What became of the pod without podsweep.
#[derive(Debug, Clone, Serialize)]
pub struct Without {
    /// From its start.
    pub evicted_after_ms: u64,
    /// Of the node's disk.
    pub lowest_free_inodes: u64,
    /// The kubelet's.
    pub message: String,
}

/// What became of the same pod with podsweep.
#[derive(Debug, Clone, Serialize)]
pub struct With {
    /// Whether the kubelet evicted it.
    pub evicted: bool,
    /// Whether it is the one that was started.
    pub same_pod: bool,
    /// Of its container.
    pub restarts: u64,
    /// Of the node's disk.
    pub lowest_free_inodes: u64,
    /// Files that no policy names and that are gone.
    pub wrongly_removed: u64,
    /// Junk that came after the last sweep.
    pub junk_left: u64,
    /// Every sweep, as the API server has it.
    pub sweeps: Vec<Sweep>,
}

/// One sweep.
#[derive(Debug, Clone, Serialize)]
pub struct Sweep {
    /// Its name.
    pub name: String,
    /// `Succeeded`, or how else it ended.
    pub phase: String,
    /// Why.
    pub reason: String,
    /// Files removed.
    pub removed: u64,
    /// Files that the policy names and that stayed.
    pub kept: u64,
    /// How the container fared.
    pub health: String,
}

impl Sweep {
    /// From a Sweep object.
    pub fn of(object: &Value) -> Self {
        let text = |pointer| object.pointer(pointer).and_then(Value::as_str).unwrap_or("-").to_owned();
        let number = |pointer| object.pointer(pointer).and_then(Value::as_u64).unwrap_or_default();
        Self {
            name: text("/metadata/name"),
            phase: text("/status/phase"),
            reason: text("/status/reason"),
            removed: number("/status/figures/removed"),
            kept: number("/status/figures/kept"),
            health: text("/status/health"),
        }
    }

    /// Whether nothing follows.
    pub fn is_ended(&self) -> bool {
        ["Succeeded", "Failed", "Aborted", "Skipped"].contains(&self.phase.as_str())
    }
}

impl Figures {
    /// What is not as it must be, a sentence each.
    pub fn failures(&self) -> Vec<String> {
        let mut failures = Vec::new();
        let mut must = |holds: bool, what: String| {
            if !holds {
                failures.push(what);
            }
        };
        let Self { without, with, .. } = self;
        let (message, below) = (&without.message, self.evicted_below_free_inodes);
        must(message.contains("inodes"), format!("evicted without podsweep, but not for inodes: {message}"));
        must(!with.evicted && with.same_pod, "the pod was evicted with podsweep, too".into());
        must(with.restarts == 0, format!("its container has restarted: {}", with.restarts));
        let lowest = with.lowest_free_inodes;
        must(lowest > below, format!("{lowest} free inodes: the kubelet had only not looked"));
        must(with.wrongly_removed == 0, format!("{} files were wrongly removed", with.wrongly_removed));
        let removed: u64 = with.sweeps.iter().map(|sweep| sweep.removed).sum();
        must(removed > 0, "nothing was removed".into());
        let healthy = |sweep: &Sweep| sweep.phase == "Succeeded" && sweep.health == "Healthy";
        must(with.sweeps.iter().all(healthy), format!("not every sweep went well: {:?}", with.sweeps));
        must(self.neighbour_restarts == 0, "the pod beside it was harmed".into());
        failures
    }
}
