//! `cargo xtask bench rollout`: a cluster's sweeps by the coordinator's real decisions, in simulated time; or, with
//! agents, against a real API server.
//!
//! In: which of the two. Out: [`Figures`]. Must never: decide anything by itself (that is `podsweep::rollout`), count
//! what somebody else can count who has no interest in it.
//!
//! ```text
//! simulated   5,000 nodes and 20,000 sweeps in memory (crate::simulation), in fair weather and in rough: weather
//! clustered   kube-apiserver, coordinators, a fleet of agents: what they ask and write, by its own count: requests
//! ```

mod clustered;
mod figures;
mod fleet;
mod requests;
mod simulated;
mod table;
mod weather;

use anyhow::{Context as _, Result};
use serde::Serialize;

use self::clustered::Clustered;
use self::figures::{Aim, RATIO_AIM, REQUESTS_AIM, TURN_AIM, WRITES_AIM};
use self::simulated::{Scenario, Simulated};
use self::weather::Weather;

/// A large cluster, and one a tenth of it: for the same sweeps, they should cost the same.
const NODES: u64 = 5_000;
const FEW_NODES: u64 = 500;
/// A storm on every node of it, and a quarter of that at the same rate: a decision should not cost more than four times
/// as much.
const SWEEPS: u64 = 20_000;
const FEW_SWEEPS: u64 = 5_000;
const HOUR: u64 = 3600;

/// What is to be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Decisions, in simulated time.
    Simulation,
    /// Requests of so many agents at a real API server, idle for so many seconds.
    Agents {
        /// How many.
        agents: u32,
        /// Seconds.
        idle: u32,
    },
}

/// What one run has shown.
#[derive(Debug, Serialize)]
pub struct Figures {
    machine: String,
    #[serde(flatten)]
    shown: Shown,
    aims: Vec<Aim>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Shown {
    Simulated(Vec<Simulated>),
    Clustered(Box<Clustered>),
}

/// Runs it. `machine`: what the figures are of, in words.
pub fn run(machine: String, what: What) -> Result<Figures> {
    let (shown, aims) = match what {
        What::Simulation => simulate()?,
        What::Agents { agents, idle } => {
            let clustered = clustered::run(agents, idle)?;
            let aims = of_cluster(&clustered);
            (Shown::Clustered(Box::new(clustered)), aims)
        }
    };
    Ok(Figures { machine, shown, aims })
}

impl Figures {
    /// Whether the cap held, and every sweep came to an end that it could come to. Nothing else is a reason to fail: a
    /// missed aim is a figure.
    pub fn cap_held(&self) -> bool {
        match &self.shown {
            Shown::Simulated(runs) => {
                runs.iter().all(|run| run.cap_violations == 0 && run.most_at_once <= run.slots)
            }
            Shown::Clustered(clustered) => clustered.sweeping.cap_violations == 0,
        }
    }
}

fn simulate() -> Result<(Shown, Vec<Aim>)> {
    let scenario = |weather, nodes, sweeps| {
        Scenario { weather, nodes, sweeps, asked_within: HOUR * sweeps / SWEEPS }.run()
    };
    let runs = vec![
        scenario(Weather::Fair, NODES, SWEEPS)?,
        scenario(Weather::Rough, NODES, SWEEPS)?,
        scenario(Weather::Rough, FEW_NODES, SWEEPS)?,
        scenario(Weather::Rough, NODES, FEW_SWEEPS)?,
    ];
    let aims = of_runs(&runs)?;
    Ok((Shown::Simulated(runs), aims))
}

fn of_runs(runs: &[Simulated]) -> Result<Vec<Aim>> {
    let [fair, rough, few_nodes, few_sweeps] = runs else { anyhow::bail!("another number of runs") };
    let violations: u64 = runs.iter().map(|run| run.cap_violations).sum();
    let most = runs.iter().map(|run| run.writes.most).max().context("no runs")?;
    let sizes = SWEEPS as f64 / FEW_SWEEPS as f64;
    let longest = runs.iter().map(|run| run.turns.longest_ms).fold(0.0, f64::max);
    let ratio = |one: f64, other: f64| (one / other).max(other / one);
    let of_nodes = ratio(rough.writes.per_sweep, few_nodes.writes.per_sweep);
    Ok(vec![
        Aim::new("cap violations", 0.0, violations as f64),
        Aim::new("writes per sweep, fair", WRITES_AIM, fair.writes.per_sweep),
        Aim::new("writes per sweep, rough", WRITES_AIM, rough.writes.per_sweep),
        Aim::new("writes of the sweep that cost most", WRITES_AIM, most as f64),
        Aim::new("writes per sweep, 5,000 nodes to 500", RATIO_AIM, of_nodes),
        Aim::new(
            "longest turn, 20,000 sweeps to 5,000",
            sizes,
            rough.turns.longest_ms / few_sweeps.turns.longest_ms,
        ),
        Aim::new("longest turn, ms", TURN_AIM, longest),
    ])
}

fn of_cluster(Clustered { idle, sweeping, .. }: &Clustered) -> Vec<Aim> {
    vec![
        Aim::new("cap violations", 0.0, sweeping.cap_violations as f64),
        Aim::new("requests/s while idle, all", REQUESTS_AIM, idle.answered_per_second),
        Aim::new("writes per sweep", WRITES_AIM, sweeping.writes.per_sweep),
        Aim::new("writes of the sweep that cost most", WRITES_AIM, sweeping.writes.most as f64),
    ]
}
