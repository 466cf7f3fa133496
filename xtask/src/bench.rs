//! Measurements that anyone can repeat: each figure comes with the command that it is of, and with the machine.
//!
//! In: what to measure. Out: a table, or one JSON object on stdout. Must never: compare what did not do the same work
//! in the same run.

mod agent;
mod host;
mod scan;
mod timing;
mod tree;

use anyhow::{Result, bail};
use clap::ValueEnum;

use crate::Output;

/// What can be measured.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum What {
    /// `podsweep scan dir:` against `find` with the same tests, on a tree of 200,000 files.
    Scan,
    /// The agent with 250 containers that create 10,000 files a second: CPU, memory, time to see a burst.
    Agent,
}

/// Measures. `seconds`: for how long, where that is not the benchmark's own affair.
pub(crate) fn run(what: What, output: Output, seconds: Option<u32>) -> Result<()> {
    if seconds.is_some() && !matches!(what, What::Agent) {
        bail!("--seconds is for `bench agent` alone");
    }
    match what {
        What::Scan => scan::run(output),
        What::Agent => agent::run(output, seconds),
    }
}
