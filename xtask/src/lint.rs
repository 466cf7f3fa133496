//! What CI checks besides the tests: formatting, clippy, the other processor, dependencies, generated references.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::command::{cargo, output, root, run as run_command, step};
use crate::{aarch64, apt, ebpf_toolchain, references};

/// Where the kernel side lives: a workspace of its own, for another target.
const EBPF_CRATE: &str = "agent-ebpf";
/// The fuzz targets: a workspace of its own, too.
const FUZZ_CRATE: &str = "fuzz";
/// What Debian's rustc-web has its clippy in, and the package.
const DEBIAN_CLIPPY: (&str, &str) = ("/usr/bin/clippy-driver", "rust-web-clippy");

/// All checks, in the order of their cost.
pub(crate) fn run() -> Result<()> {
    step("format");
    run_command(cargo().args(["fmt", "--all", "--check"]))?;
    run_command(ebpf(cargo()).args(["fmt", "--check"]))?;
    run_command(fuzz(cargo()).args(["fmt", "--check"]))?;
    step("clippy");
    let mut clippy = cargo();
    clippy.args(["clippy", "--quiet", "--workspace", "--all-targets", "--features", "podsweep/fuzzing"]);
    run_command(clippy.args(["--", "-D", "warnings"]))?;
    ebpf_clippy()?;
    aarch64::check()?;
    dependencies()?;
    references::run(true)
}

/// Formats every crate.
pub(crate) fn format() -> Result<()> {
    run_command(cargo().args(["fmt", "--all"]))?;
    run_command(ebpf(cargo()).arg("fmt"))?;
    run_command(fuzz(cargo()).arg("fmt"))
}

fn fuzz(mut command: Command) -> Command {
    command.current_dir(root().join(FUZZ_CRATE));
    command
}

fn ebpf(mut command: Command) -> Command {
    command.current_dir(root().join(EBPF_CRATE));
    command
}

/// `cargo check` with clippy's driver in place of the compiler, as `cargo clippy` does it. Not by `cargo clippy`: that
/// takes the driver of cargo's own toolchain, and clippy must be of the version that compiles the kernel side.
fn ebpf_clippy() -> Result<()> {
    let Some((mut check, rustc)) = ebpf_check() else {
        step("clippy of agent-ebpf: not run: needs Debian's rustc-web, or rustup's nightly with rust-src");
        return Ok(());
    };
    let driver = rustc.with_file_name("clippy-driver");
    if driver == Path::new(DEBIAN_CLIPPY.0) {
        apt::install(&apt::missing(&[DEBIAN_CLIPPY]))?;
    }
    step("clippy of agent-ebpf");
    check.args(["--quiet", "--locked", "--target", ebpf_toolchain::TARGET]);
    check.env_remove("RUSTUP_TOOLCHAIN").env("RUSTC_WORKSPACE_WRAPPER", driver);
    // How cargo-clippy hands its arguments on.
    check.env("CLIPPY_ARGS", "-Dwarnings__CLIPPY_HACKERY__");
    check.env("CARGO_ENCODED_RUSTFLAGS", format!("--cfg=bpf_target_arch=\"{}\"", std::env::consts::ARCH));
    run_command(&mut ebpf(check))
}

/// What checks the kernel side, and with which rustc: the same choice as in agent/build.rs.
fn ebpf_check() -> Option<(Command, PathBuf)> {
    if let Some(rustc) = ebpf_toolchain::prebuilt() {
        let mut check = cargo();
        check.arg("check").env("RUSTC", &rustc).env("RUSTC_BOOTSTRAP", ebpf_toolchain::UNSTABLE_CRATES);
        return Some((check, rustc));
    }
    let rustc = ebpf_toolchain::nightly()?;
    let mut check = Command::new("rustup");
    check
        .args(["run", "nightly", "cargo", "check", "-Zbuild-std=core"])
        .env_remove("CARGO")
        .env_remove("RUSTC");
    Some((check, rustc))
}

fn dependencies() -> Result<()> {
    if output(cargo().args(["deny", "--version"])).is_none() {
        step("cargo deny: not run: not installed (cargo install --locked cargo-deny)");
        return Ok(());
    }
    step("cargo deny");
    run_command(cargo().args(["deny", "--log-level", "error", "check"]))
}
