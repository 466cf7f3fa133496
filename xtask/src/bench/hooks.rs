//! What podsweep's hooks cost: `bench-hooks` of podsweep-tests, which has the same filesystems as the kernel tests.
//! Here by CPU time; in a guest, for the tiers that this kernel refuses, by instructions.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::Output;
use crate::apt::is_root;
use crate::command::{built, cargo, program, run as run_command, step};
use crate::vm;

/// In a guest: instructions are nearly the same each time, as the control shows.
const ROUNDS_IN_GUEST: &str = "1";
/// All of it takes some ten minutes where a tier is attached in ten seconds.
const GUEST_WITHIN: Duration = Duration::from_mins(40);

/// Measures here.
pub(super) fn run(output: Output) -> Result<()> {
    if !is_root() {
        bail!("measuring hooks needs root: it loads eBPF programs and mounts filesystems");
    }
    let mut bench = program(build()?);
    step("bench hooks");
    run_command(bench.args(format(output)))
}

/// Measures in a guest.
pub(super) fn count_instructions(kernel: &str, output: Output) -> Result<()> {
    let bench = build()?;
    let arguments = [format(output), &["--rounds", ROUNDS_IN_GUEST]].concat();
    vm::count_instructions(kernel, &bench, &arguments, GUEST_WITHIN)
}

fn build() -> Result<PathBuf> {
    step("build, optimised");
    let what = ["build", "--quiet", "--release", "--package", "podsweep-tests", "--bin", "bench-hooks"];
    run_command(cargo().args(what))?;
    built("release", "bench-hooks")
}

fn format(output: Output) -> &'static [&'static str] {
    match output {
        Output::Json => &["-o", "json"],
        Output::Text => &[],
    }
}
