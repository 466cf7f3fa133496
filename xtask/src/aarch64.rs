//! Compiles the kernel side for aarch64 and type-checks the agent for it, on any machine.
//!
//! Comes in: a standard library of aarch64, which rustup's toolchain or Debian's archive has, and Debian's cross compiler
//! for the C and the assembler of dependencies. Goes out: success, or the compiler's errors. Nothing is linked or run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::command::{cache, cargo, output, run, step};
use crate::{apt, ebpf_toolchain};

/// Rust's name for it.
const TARGET: &str = "aarch64-unknown-linux-gnu";
/// What compiles C and assembler for it, and the packages.
const CROSS: [(&str, &str); 2] = [
    ("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu"),
    ("/usr/aarch64-linux-gnu/include/stdio.h", "libc6-dev-arm64-cross"),
];
/// Debian's compiler, whose packages hold a standard library for each processor. The kernel side is compiled with it.
const DEBIAN: (&str, &str, &str) = ("/usr/bin/rustc", "rustc-web", "libstd-rust-web-dev");

/// Checks, or says why not.
pub(crate) fn check() -> Result<()> {
    let mut check = cargo();
    check.args(["check", "--quiet", "--locked", "--package", "podsweep", "--target", TARGET]);
    if !has_standard_library(Path::new("rustc")) {
        let Some(sysroot) = debians_sysroot()? else {
            step(&format!("{TARGET}: not run: needs `rustup target add {TARGET}`, or Debian's {}", DEBIAN.1));
            return Ok(());
        };
        check
            .env("RUSTC", DEBIAN.0)
            .env("CARGO_ENCODED_RUSTFLAGS", format!("--sysroot={}", sysroot.display()));
    }
    apt::install(&apt::missing(&CROSS))?;
    step(&format!("check for {TARGET}"));
    run(&mut check)
}

fn has_standard_library(rustc: &Path) -> bool {
    output(Command::new(rustc).args(["--print", "target-libdir", "--target", TARGET]))
        .is_some_and(|folder| ebpf_toolchain::holds(Path::new(&folder), "libstd-"))
}

/// Unpacked from Debian's archive on first use; of the same version as the compiler, as Rust demands.
fn debians_sysroot() -> Result<Option<PathBuf>> {
    let (rustc, package, library) = DEBIAN;
    if ebpf_toolchain::prebuilt().as_deref() != Some(Path::new(rustc)) {
        return Ok(None);
    }
    let version = output(Command::new("dpkg-query").args(["--show", "--showformat=${Version}", package]))
        .with_context(|| format!("dpkg does not know the version of {package}, whose {rustc} is here"))?;
    let unpacked = cache().join(format!("{TARGET}-{version}"));
    let sysroot = unpacked.join("usr");
    if !ebpf_toolchain::holds(&sysroot.join("lib/rustlib").join(TARGET).join("lib"), "libstd-") {
        step(&format!("download {library} {version} for {TARGET} (once)"));
        let half = cache().join(format!("{TARGET}-{version}.half"));
        apt::unpack(&format!("{library}:arm64={version}"), "arm64", &half)?;
        // Whole or not at all: a download that was cut short is not taken for the library.
        fs::rename(&half, &unpacked).with_context(|| format!("cannot make {}", unpacked.display()))?;
    }
    Ok(Some(sysroot))
}
