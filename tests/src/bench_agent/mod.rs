//! `cargo xtask bench agent`: what the agent itself uses on a full node, and how soon it sees a burst.
//!
//! In: how long to measure. Out: [`Figures`]. Must never: mock the agent, its kernel side or its containers; judge the
//! agent by a load that the machine did not carry.
//!
//! [`schedule`] says when what happens; [`containers`] starts 250 processes of this program, each of which carries out
//! its part ([`load`]); meanwhile [`readings`] are taken of the agent, and in the last phase of two [`peer`]s; at the end
//! [`detection`] lays the agent's log beside the bursts.

mod clock;
mod containers;
mod detection;
mod figures;
mod load;
mod peer;
mod readings;
mod schedule;
mod table;
mod usage;

use std::time::Duration;

use anyhow::{Context as _, Result};

use self::containers::Containers;
use self::detection::{Burst, Detection};
use self::figures::{Load, Rate};
use self::load::Carried;
use self::readings::Readings;
use self::schedule::{CONTAINERS, FOR, LIMIT, Schedule};
use crate::agent::Agent;
use crate::isolation::private_mounts;
use crate::{progress, wait};

pub use self::figures::Figures;
pub use self::load::serve as be_container;
pub use self::peer::serve as be_peer;

const PREFIX: &str = "podsweep-bench-agent";
/// The agent's first look at 250 containers.
const KNOWN_WITHIN: Duration = Duration::from_secs(30);
/// The agent shows a new count within two seconds: one tick and one round of figures, each of a second at most.
const COUNTED_WITHIN: Duration = Duration::from_secs(5);
/// From the order to the first file.
const LEAD: u64 = 1_000_000;

/// Runs it. `machine`: what the figures are of, in words. `seconds`: how long to measure.
pub fn run(machine: String, seconds: u32) -> Result<Figures> {
    private_mounts()?;
    progress::say("250 containers and an agent start");
    let mut containers = Containers::start(PREFIX)?;
    let agent = Agent::start(PREFIX, &[("bench", &policy(&containers.glob()))])?;
    knows_all(&agent, &containers)?;
    let tier = agent.api().status()?.tier;

    let schedule = Schedule::new(clock::now() + LEAD, seconds);
    containers.order(&schedule)?;
    let pid = agent.pid().context("the agent has ended")?;
    let readings = Readings::take(pid, schedule.phases, &containers.watched())?;

    progress::say("the containers tell what they did");
    let carried = containers.carried()?;
    let load = load(&carried, &schedule, counted(&agent, &containers, total(&carried))?);
    let detection = Detection::of(&as_carried(&containers, &carried), &agent.log());
    progress::say("");
    let figures = Figures {
        machine,
        tier,
        seconds,
        containers: CONTAINERS,
        load,
        cpu_percent: readings.cpu(),
        memory_kib: readings.memory,
        detection,
        peers: readings.peers(load.peer.achieved),
        aims: Vec::new(),
    };
    Ok(figures.judged())
}

/// Watches the containers, and removes nothing: the agent's own work is what is measured.
fn policy(glob: &str) -> String {
    format!(
        "apiVersion: podsweep.io/v1alpha1\n\
         kind: SweepPolicy\n\
         metadata: {{name: bench}}\n\
         spec:\n\
         \x20 mode: Observe\n\
         \x20 select: {{cgroups: [\"{glob}\"]}}\n\
         \x20 triggers: [{{burst: {{createsPerSecond: {LIMIT}, for: {}s}}}}]\n\
         \x20 junk: [{{name: tmp, paths: [\"/tmp/**\"], olderThan: 10s}}]\n",
        FOR / 1_000_000
    )
}

fn knows_all(agent: &Agent, containers: &Containers) -> Result<()> {
    let api = agent.api();
    wait::until_true("the agent knows all containers", KNOWN_WITHIN, || {
        let seen = containers.seen_by(&api)?;
        let whole = seen.iter().filter(|seen| seen.upper.is_some() && seen.policy.is_some());
        Ok(whole.count() == CONTAINERS as usize)
    })
    .with_context(|| format!("the end of its log:\n{}", agent.log_end()))
}

fn total(carried: &[Carried]) -> u64 {
    carried.iter().map(|one| one.created).sum()
}

/// The agent's own count, once it has come to what was created or to rest.
fn counted(agent: &Agent, containers: &Containers, created: u64) -> Result<u64> {
    let api = agent.api();
    let sum = || Ok::<u64, anyhow::Error>(containers.seen_by(&api)?.iter().map(|seen| seen.creates).sum());
    let reached = wait::until_true("all is counted", COUNTED_WITHIN, || Ok(sum()? >= created));
    // Short of it after all: that is a figure, too.
    reached.or_else(|_| Ok(())).and_then(|()| sum())
}

fn load(carried: &[Carried], schedule: &Schedule, counted: u64) -> Load {
    let (phases, ordered) = (schedule.phases.all(), schedule.rates());
    let rate = |phase: usize| {
        let made: u64 = carried.iter().map(|one| one.by_phase[phase]).sum();
        let achieved = (made as f64 / phases[phase].seconds()).round();
        Rate { ordered: ordered[phase].round(), achieved }
    };
    Load { steady: rate(0), bursts: rate(1), peer: rate(2), created: total(carried), counted }
}

fn as_carried(containers: &Containers, carried: &[Carried]) -> Vec<Burst> {
    let of_container = |number: u32, one: &Carried| {
        let cgroup = containers.cgroup_path(number);
        let bursts = one.bursts.iter();
        bursts
            .map(|burst| Burst { cgroup: cgroup.clone(), began: burst.began, longest_gap: burst.longest_gap })
            .collect::<Vec<_>>()
    };
    (0..CONTAINERS).zip(carried).flat_map(|(number, one)| of_container(number, one)).collect()
}

#[cfg(test)]
mod tests {
    use podsweep::policy::{parse, validate};

    #[test]
    fn podsweep_accepts_the_policy() {
        let policy = parse(&super::policy("/podsweep-bench-agent-1-0/*"), "policy.yaml".as_ref()).unwrap();
        assert_eq!(validate(&policy), []);
    }
}
