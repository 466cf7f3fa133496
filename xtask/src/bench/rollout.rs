//! A whole cluster's sweeps: release builds of the program that simulates it, and of the coordinator
//! (`tests/src/bench_rollout`).

use std::path::Path;

use anyhow::{Result, bail};

use super::host::Host;
use crate::Output;
use crate::apt::is_root;
use crate::command::{built, cargo, program, root, run as run_command, step};

/// `agents`: against a real API server with so many, in place of the simulation; `seconds`: how long they are idle.
pub(super) fn run(output: Output, agents: Option<u32>, seconds: Option<u32>) -> Result<()> {
    if agents.is_some() && !is_root() {
        bail!("needs root: the API server runs in a process namespace of its own");
    }
    step("cargo build --release: podsweep, bench-rollout");
    let packages = ["--package", "podsweep", "--package", "podsweep-tests"];
    let programs = ["--bin", "podsweep", "--bin", "bench-rollout"];
    run_command(cargo().args(["build", "--quiet", "--release"]).args(packages).args(programs))?;
    step("bench-rollout");
    let mut bench = program(built("release", "bench-rollout")?);
    bench.current_dir(root()).arg("--machine").arg(Host::of(Path::new("/tmp")).line());
    for (option, number) in [("--agents", agents), ("--seconds", seconds)] {
        if let Some(number) = number {
            bench.arg(option).arg(number.to_string());
        }
    }
    if output == Output::Json {
        bench.args(["-o", "json"]);
    }
    run_command(&mut bench)
}
