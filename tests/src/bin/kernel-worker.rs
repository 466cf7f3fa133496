//! The process that the kernel tests put into a cgroup of its own: see `podsweep_tests::kernel_worker`.

use std::path::Path;

use anyhow::{Context, bail};
use podsweep_tests::{kernel_storm, kernel_worker};

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["serve", base, cgroup] => kernel_worker::serve(Path::new(base), Path::new(cgroup)).context("worker"),
        ["storm", folder, name, files] => {
            kernel_storm::child(Path::new(folder), name, files.parse()?).context("child of a storm")
        }
        _ => bail!("started by the kernel tests alone: kernel-worker serve BASE CGROUP"),
    }
}
