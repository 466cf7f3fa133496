//! What is read of the agent, and of the peers beside it, while the containers carry out the schedule.
//!
//! In: the agent's pid, the phases. Out: CPU by phase, memory, the peers' figures. Must never: read outside a phase;
//! keep a peer longer than its phase.

use std::path::PathBuf;

use anyhow::Result;

use super::clock;
use super::figures::{CpuByPhase, PeerFigures};
use super::peer::{Peer, Reading, Stand};
use super::schedule::{Phases, Span};
use super::usage::{Cpu, CpuPercent, Memory, hundredths};
use crate::progress::say;

const SECOND: u64 = 1_000_000;

/// What was read when a phase began and when it ended.
type Both<T> = [T; 2];

/// Everything that was read.
#[derive(Debug)]
pub(super) struct Readings {
    phases: Phases,
    steady: Both<Cpu>,
    bursts: Both<Cpu>,
    /// At the end of the bursts.
    pub(super) memory: Memory,
    beside_peers: Both<Cpu>,
    peers: Vec<(Reading, Both<Stand>)>,
}

impl Readings {
    /// Reads until the last phase is over. `watched`: the directories that the peers watch.
    pub(super) fn take(agent: i32, phases: Phases, watched: &[PathBuf]) -> Result<Self> {
        let steady = over("steady", phases.steady, || Cpu::of(agent))?;
        let bursts = over("bursts", phases.bursts, || Cpu::of(agent))?;
        let memory = Memory::of(agent)?;
        let readings = [Reading::AsTheyCome, Reading::FourTimesASecond];
        let started = readings.into_iter().map(|reading| Peer::start(reading, watched));
        let mut running = started.collect::<Result<Vec<_>>>()?;
        let [before, after] = over("peers", phases.peer, || {
            Ok((Cpu::of(agent)?, running.iter_mut().map(Peer::stand).collect::<Result<Vec<_>>>()?))
        })?;
        let peers = readings.into_iter().zip(before.1.into_iter().zip(after.1));
        Ok(Self {
            phases,
            steady,
            bursts,
            memory,
            beside_peers: [before.0, after.0],
            peers: peers.map(|(reading, (before, after))| (reading, [before, after])).collect(),
        })
    }

    /// The agent's CPU.
    pub(super) fn cpu(&self) -> CpuByPhase {
        CpuByPhase {
            steady: percent(self.steady, self.phases.steady),
            bursts: percent(self.bursts, self.phases.bursts),
            peer: percent(self.beside_peers, self.phases.peer),
        }
    }

    /// The peers beside the agent. `rate`: creates a second meanwhile.
    pub(super) fn peers(&self, rate: f64) -> Vec<PeerFigures> {
        let (phase, agent) = (self.phases.peer, self.cpu().peer);
        let of_one = |(reading, [before, after]): &(Reading, Both<Stand>)| {
            let cpu_percent = percent([before.cpu, after.cpu], phase);
            let events = (after.events - before.events) as f64;
            PeerFigures {
                name: reading.as_str(),
                cpu_percent,
                events_per_file: hundredths(events / (rate * phase.seconds())),
                agent_to_peer: hundredths(agent.total / cpu_percent.total),
            }
        };
        self.peers.iter().map(of_one).collect()
    }
}

fn over<T>(name: &str, phase: Span, mut read: impl FnMut() -> Result<T>) -> Result<Both<T>> {
    until("settle", phase.from);
    let before = read()?;
    until(name, phase.to);
    Ok([before, read()?])
}

/// Sleeps until then, and counts down.
fn until(what: &str, moment: u64) {
    loop {
        let left = moment.saturating_sub(clock::now());
        if left == 0 {
            return;
        }
        say(&format!("{what}: {} s", left.div_ceil(SECOND)));
        clock::sleep_until(moment - left + left.min(SECOND));
    }
}

fn percent([before, after]: Both<Cpu>, phase: Span) -> CpuPercent {
    after.percent_since(before, phase.seconds())
}
