//! What CI checks besides the tests: formatting, clippy, dependencies, generated references.

use std::process::Command;

use anyhow::Result;

use crate::command::{cargo, output, root, run as run_command, step};
use crate::references;

/// Where the kernel side lives: a workspace of its own, for another target.
const EBPF_CRATE: &str = "agent-ebpf";

/// All checks, in the order of their cost.
pub(crate) fn run() -> Result<()> {
    step("format");
    run_command(cargo().args(["fmt", "--all", "--check"]))?;
    if let Some(mut fmt) = ebpf(&["fmt", "--check"]) {
        run_command(&mut fmt)?;
    }
    step("clippy");
    run_command(cargo().args(["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    ebpf_clippy()?;
    dependencies()?;
    references::run(true)
}

/// Formats every crate.
pub(crate) fn format() -> Result<()> {
    run_command(cargo().args(["fmt", "--all"]))?;
    ebpf(&["fmt"]).map_or(Ok(()), |mut fmt| run_command(&mut fmt))
}

fn ebpf(arguments: &[&str]) -> Option<Command> {
    let folder = root().join(EBPF_CRATE);
    let mut command = cargo();
    command.args(arguments).current_dir(&folder);
    folder.join("Cargo.toml").is_file().then_some(command)
}

/// Debian's compiler comes without clippy: only rustup's nightly can look at the kernel side.
fn ebpf_clippy() -> Result<()> {
    let sysroot = output(Command::new("rustup").args(["run", "nightly", "rustc", "--print", "sysroot"]));
    let has_source = sysroot.is_some_and(|sysroot| {
        std::path::Path::new(&sysroot).join("lib/rustlib/src/rust/library/core").is_dir()
    });
    if !has_source {
        step("clippy of agent-ebpf: not run: needs rustup's nightly with rust-src");
        return Ok(());
    }
    step("clippy of agent-ebpf");
    let mut clippy = Command::new("rustup");
    clippy.args(["run", "nightly", "cargo", "clippy", "--quiet", "-Zbuild-std=core"]);
    clippy.args(["--target", "bpfel-unknown-none", "--", "-D", "warnings"]);
    clippy.env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO").env_remove("RUSTC");
    clippy.env("CARGO_ENCODED_RUSTFLAGS", format!("--cfg=bpf_target_arch=\"{}\"", std::env::consts::ARCH));
    run_command(clippy.current_dir(root().join(EBPF_CRATE)))
}

fn dependencies() -> Result<()> {
    if output(cargo().args(["deny", "--version"])).is_none() {
        step("cargo deny: not run: not installed (cargo install --locked cargo-deny)");
        return Ok(());
    }
    step("cargo deny");
    run_command(cargo().args(["deny", "--log-level", "error", "check"]))
}
