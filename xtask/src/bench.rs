//! Measurements that anyone can repeat: each figure comes with the command that it is of, and with the machine.
//!
//! In: what to measure. Out: a table, or one JSON object on stdout. Must never: compare what did not do the same work
//! in the same run.

mod agent;
mod hooks;
mod host;
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
    #[arg(long, value_parser = clap::value_parser!(u32).range(30..=600))]
    seconds: Option<u32>,
}

impl Arguments {
    /// What must be installed besides a build.
    pub(crate) fn needs(&self) -> Vec<Need> {
        self.kernel.iter().map(|_| Need::Guests).collect()
    }
}

/// Measures.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let Arguments { what, output, kernel, seconds } = arguments;
    match (what, kernel, seconds) {
        (What::Scan, None, None) => scan::run(*output),
        (What::Hooks, None, None) => hooks::run(*output),
        (What::Hooks, Some(kernel), None) => hooks::count_instructions(kernel, *output),
        (What::Agent, None, seconds) => agent::run(*output, *seconds),
        _ => bail!("--kernel is for `bench hooks` alone, --seconds for `bench agent`"),
    }
}
