//! Measurements that anyone can repeat: each figure comes with the command that it is of, and with the machine.
//!
//! In: what to measure. Out: a table, or one JSON object on stdout. Must never: compare what did not do the same work
//! in the same run.

mod agent;
mod hooks;
mod host;
mod rollout;
mod scan;
mod timing;
mod tree;

use anyhow::{Result, bail};
use clap::ValueEnum;

use crate::Output;
use crate::setup::Need;

/// What can be measured.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum What {
    /// `podsweep scan dir:` against `find` with the same tests, on a tree of 200,000 files.
    Scan,
    /// What counting costs those who create files, beside fanotify, inotify and an event per file.
    Hooks,
    /// The agent with 250 containers that create 10,000 files a second: CPU, memory, time to see a burst.
    Agent,
    /// 20,000 sweeps on 5,000 nodes by the coordinator's decisions, in simulated time: the cap, the queue, writes to the
    /// API server. With `--agents`, a real API server: what they ask of it, idle and sweeping. Fails where more sweeps run
    /// than there are slots.
    Rollout,
}

/// What somebody wants to know.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// What to measure.
    #[arg(value_enum)]
    what: What,
    /// What to print: a table, or one JSON object.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// hooks: measure in a guest with this kernel, by counting instructions.
    #[arg(long)]
    kernel: Option<String>,
    /// agent: how long to measure (180 s, of which a third at rest, half with bursts, a sixth beside a peer).
    /// rollout: how long the agents are idle (330 s, in which each of their watches is made again).
    #[arg(long, value_parser = clap::value_parser!(u32).range(30..=600))]
    seconds: Option<u32>,
    /// rollout: so many agents at a real API server, in place of the simulation; 1,000 take 1 GB and 5,000 open files.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=2000))]
    agents: Option<u32>,
}

impl Arguments {
    /// What must be installed besides a build.
    pub(crate) fn needs(&self) -> Vec<Need> {
        let guests = self.kernel.iter().map(|_| Need::Guests);
        guests.chain(self.agents.iter().map(|_| Need::Kubernetes)).collect()
    }
}

/// Measures.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let Arguments { what, output, kernel, seconds, agents } = arguments;
    match (what, kernel, seconds, agents) {
        (What::Scan, None, None, None) => scan::run(*output),
        (What::Hooks, None, None, None) => hooks::run(*output),
        (What::Hooks, Some(kernel), None, None) => hooks::count_instructions(kernel, *output),
        (What::Agent, None, seconds, None) => agent::run(*output, *seconds),
        (What::Rollout, None, None, None) => rollout::run(*output, None, None),
        (What::Rollout, None, seconds, Some(agents)) => rollout::run(*output, Some(*agents), *seconds),
        _ => bail!(
            "--kernel is for `bench hooks` alone, --agents for `bench rollout`, --seconds for `bench agent` and for \
             `bench rollout --agents`"
        ),
    }
}
