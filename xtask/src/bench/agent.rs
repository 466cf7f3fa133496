//! What the agent itself uses on a full node, and how soon it sees a burst: release builds of the agent and of the
//! program that loads, watches and judges it (`tests/src/bench_agent`).

use std::path::Path;

use anyhow::{Result, bail};

use super::host::Host;
use crate::Output;
use crate::apt::is_root;
use crate::command::{built, cargo, program, root, run as run_command, step};

/// `seconds`: how long to measure; `None` leaves it to the program.
pub(super) fn run(output: Output, seconds: Option<u32>) -> Result<()> {
    if !is_root() {
        bail!("needs root: it loads eBPF programs, makes cgroups and mounts");
    }
    step("cargo build --release: podsweep, bench-agent");
    let packages = ["--package", "podsweep", "--package", "podsweep-tests"];
    let programs = ["--bin", "podsweep", "--bin", "bench-agent"];
    run_command(cargo().args(["build", "--quiet", "--release"]).args(packages).args(programs))?;
    step("bench-agent");
    let mut bench = program(built("release", "bench-agent")?);
    bench.current_dir(root()).arg("--machine").arg(Host::of(Path::new("/tmp")).line());
    if let Some(seconds) = seconds {
        bench.arg("--seconds").arg(seconds.to_string());
    }
    if output == Output::Json {
        bench.args(["-o", "json"]);
    }
    run_command(&mut bench)
}
