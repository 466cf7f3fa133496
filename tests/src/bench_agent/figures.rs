//! What one run has shown: the object.
//!
//! In: what was measured. Out: [`Figures`], judged against the aims. Must never: call an aim missed that the machine
//! never put to the test.

use serde::Serialize;

use super::detection::Detection;
use super::usage::{CpuPercent, Memory};

/// Aims of the footprint: percent of a core, KiB, milliseconds.
const CPU_AIM: f64 = 1.0;
const RSS_AIM: f64 = 32.0 * 1024.0;
const P99_AIM: f64 = 1000.0;

/// A load of so much of what was ordered is the load that was ordered.
const CARRIED_RATE: f64 = 0.97;
const CARRIED_BURSTS: f64 = 0.95;

/// All figures of a run.
#[derive(Debug, Serialize)]
pub struct Figures {
    pub(super) machine: String,
    /// How the agent counted.
    pub(super) tier: String,
    /// Measured, without the time to settle.
    pub(super) seconds: u32,
    pub(super) containers: u32,
    pub(super) load: Load,
    pub(super) cpu_percent: CpuByPhase,
    pub(super) memory_kib: Memory,
    pub(super) detection: Detection,
    pub(super) peers: Vec<PeerFigures>,
    pub(super) aims: Vec<Aim>,
}

/// What the containers really did.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Load {
    pub(super) steady: Rate,
    pub(super) bursts: Rate,
    pub(super) peer: Rate,
    /// By the containers' own count, and by the agent's.
    pub(super) created: u64,
    pub(super) counted: u64,
}

/// Creates a second of all containers together; as many removals.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Rate {
    pub(super) ordered: f64,
    pub(super) achieved: f64,
}

/// The agent's CPU in each phase, percent of one core.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct CpuByPhase {
    pub(super) steady: CpuPercent,
    pub(super) bursts: CpuPercent,
    pub(super) peer: CpuPercent,
}

/// A peer beside the agent, on the same files in the same seconds.
#[derive(Debug, Clone, Serialize)]
pub(super) struct PeerFigures {
    pub(super) name: &'static str,
    pub(super) cpu_percent: CpuPercent,
    /// Of the files made meanwhile, for how many it was told.
    pub(super) events_per_file: f64,
    /// The agent's CPU for one of the peer's.
    pub(super) agent_to_peer: f64,
}

/// One aim and how it was met.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Aim {
    pub(super) what: &'static str,
    pub(super) at_most: f64,
    pub(super) measured: Option<f64>,
    pub(super) verdict: Verdict,
}

/// How.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    Met,
    Missed,
    /// The machine did not carry the load: the figure is none of this agent under this load.
    LoadNotCarried,
}

impl Figures {
    /// With the aims.
    #[must_use]
    pub(super) fn judged(mut self) -> Self {
        let Self { load, cpu_percent: cpu, memory_kib: memory, detection, .. } = &self;
        // One burst never decided on is later than any aim.
        let p99 = detection.p99_ms.filter(|_| detection.missed == 0);
        let bursts = load.bursts.is_carried() && detection.is_carried();
        self.aims = vec![
            Aim::new("CPU, percent of a core", CPU_AIM, Some(cpu.steady.total), load.steady.is_carried()),
            Aim::new(
                "CPU while five containers burst, percent of a core",
                CPU_AIM,
                Some(cpu.bursts.total),
                load.bursts.is_carried(),
            ),
            // However fast they create.
            Aim::new("RSS, KiB", RSS_AIM, Some(memory.rss as f64), true),
            Aim::new("detection p99, ms", P99_AIM, p99, bursts),
        ];
        self
    }
}

impl Rate {
    fn is_carried(self) -> bool {
        self.achieved >= self.ordered * CARRIED_RATE
    }
}

impl Detection {
    fn is_carried(&self) -> bool {
        self.bursts as f64 >= (self.bursts + self.not_carried) as f64 * CARRIED_BURSTS
    }
}

impl Aim {
    fn new(what: &'static str, at_most: f64, measured: Option<f64>, carried: bool) -> Self {
        let verdict = match measured {
            _ if !carried => Verdict::LoadNotCarried,
            Some(measured) if measured <= at_most => Verdict::Met,
            _ => Verdict::Missed,
        };
        Self { what, at_most, measured, verdict }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_does_not_carry_the_load_misses_no_aim() {
        assert_eq!(Aim::new("x", 1.0, Some(2.0), false).verdict, Verdict::LoadNotCarried);
        assert_eq!(Aim::new("x", 1.0, Some(2.0), true).verdict, Verdict::Missed);
        assert_eq!(Aim::new("x", 1.0, Some(1.0), true).verdict, Verdict::Met);
        assert_eq!(Aim::new("x", 1.0, None, true).verdict, Verdict::Missed);
        let rate = |achieved| Rate { ordered: 10_000.0, achieved };
        assert!(rate(9_700.0).is_carried() && !rate(9_699.0).is_carried());
    }
}
