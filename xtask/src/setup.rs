//! What the other commands need and this machine lacks. Each thing is looked for first, so that a second run takes
//! milliseconds and needs no network.

use anyhow::{Result, bail};

use crate::command::{cargo, output, run as run_command, step};
use crate::{apt, ebpf_toolchain};

/// Programs that the tests and the demo run, each with the Debian package that holds it.
const PROGRAMS: [(&str, &str); 5] = [
    ("cc", "gcc"),                         // links, and compiles the embedded SQLite
    ("/usr/include/stdio.h", "libc6-dev"), // the same
    ("runc", "runc"),                      // starts the containers of node tests and demo
    ("busybox", "busybox-static"),         // their root filesystem
    ("mkfs.ext4", "e2fsprogs"),            // loop-mounted filesystems of the kernel tests
];

/// Installs what is missing.
pub(crate) fn run() -> Result<()> {
    check_architecture()?;
    let mut packages = apt::missing(&PROGRAMS);
    packages.extend(ebpf_toolchain::missing_packages());
    apt::install(&packages)?;
    ebpf_toolchain::install_linker()?;
    install_nextest()
}

/// The kernel side knows the system call numbers of these only.
fn check_architecture() -> Result<()> {
    match std::env::consts::ARCH {
        "x86_64" | "aarch64" => Ok(()),
        other => bail!("podsweep builds on x86_64 and aarch64, this is {other}"),
    }
}

fn install_nextest() -> Result<()> {
    if output(cargo().args(["nextest", "--version"])).is_some() {
        return Ok(());
    }
    step("cargo install cargo-nextest (once, some minutes)");
    run_command(cargo().args(["install", "--quiet", "--locked", "cargo-nextest"]))
}
