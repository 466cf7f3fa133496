//! Measurements that anyone can repeat: each figure comes with the command that it is of, and with the machine.
//!
//! In: what to measure. Out: a table, or one JSON object on stdout. Must never: compare what did not do the same work
//! in the same run.

mod hooks;
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
    /// What counting costs those who create files, beside fanotify, inotify and an event per file.
    Hooks,
}

/// Measures.
pub(crate) fn run(what: What, output: Output, kernel: Option<&str>) -> Result<()> {
    match (what, kernel) {
        (What::Hooks, Some(kernel)) => hooks::count_instructions(kernel, output),
        (What::Hooks, None) => hooks::run(output),
        (_, Some(_)) => bail!("--kernel is for `bench hooks` alone: the others need real time"),
        (What::Scan, None) => scan::run(output),
    }
}
