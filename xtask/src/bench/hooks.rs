//! What podsweep's hooks cost: `bench-hooks` of podsweep-tests, which has the same filesystems as the kernel tests.

use anyhow::{Result, bail};

use crate::Output;
use crate::apt::is_root;
use crate::command::{built, cargo, program, run as run_command, step};

/// Builds it optimised and runs it.
pub(super) fn run(output: Output) -> Result<()> {
    if !is_root() {
        bail!("measuring hooks needs root: it loads eBPF programs and mounts filesystems");
    }
    step("build, optimised");
    run_command(cargo().args([
        "build",
        "--quiet",
        "--release",
        "--package",
        "podsweep-tests",
        "--bin",
        "bench-hooks",
    ]))?;
    step("bench hooks");
    let mut bench = program(built("release", "bench-hooks")?);
    if output == Output::Json {
        bench.args(["-o", "json"]);
    }
    run_command(&mut bench)
}
