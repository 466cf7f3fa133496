//! Runs other programs. Every step says one line on stderr; stdout belongs to the program that a command runs.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// The repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(PathBuf::new, Path::to_path_buf)
}

/// What is made once and kept between runs: bpf-linker, aarch64's standard library, the guests' kernels and root
/// images, Kubernetes.
pub(crate) fn cache() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/root".into()));
    std::env::var_os("PODSWEEP_CACHE").map_or_else(|| home().join(".cache/podsweep"), PathBuf::from)
}

/// A program of this workspace, built with `profile`: in the target folder that this very program runs from.
pub(crate) fn built(profile: &str, name: &str) -> Result<PathBuf> {
    Ok(target()?.join(profile).join(name))
}

/// Where cargo builds: the folder that this very program runs from.
pub(crate) fn target() -> Result<PathBuf> {
    let own = std::env::current_exe().context("cannot tell where cargo builds")?;
    own.ancestors().nth(2).map(Path::to_path_buf).context("cannot tell where cargo builds")
}

/// Where Debian keeps root's programs: runc, mkfs.ext4, and what dpkg calls. `su` leaves them out of PATH.
const ROOTS_PROGRAMS: [&str; 2] = ["/usr/sbin", "/sbin"];

/// Cargo, at the root of the repository.
pub(crate) fn cargo() -> Command {
    let mut cargo = program(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root());
    cargo
}

/// A program that finds root's programs, wherever this one was started from.
pub(crate) fn program(name: impl Into<OsString>) -> Command {
    let mut command = Command::new(name.into());
    if let Ok(path) = std::env::join_paths(search_path()) {
        command.env("PATH", path);
    }
    command
}

fn search_path() -> Vec<PathBuf> {
    let mut folders: Vec<_> = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect();
    for folder in ROOTS_PROGRAMS.map(PathBuf::from) {
        if !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    folders
}

/// `cargo install` of a program whose own build time matters more than its speed.
pub(crate) fn quick_to_build(install: &mut Command) -> &mut Command {
    let profile = [("LTO", "off"), ("DEBUG", "0"), ("CODEGEN_UNITS", "16")];
    install.envs(profile.map(|(key, value)| (format!("CARGO_PROFILE_RELEASE_{key}"), value)))
}

/// Says what is done next.
pub(crate) fn step(what: &str) {
    eprintln!("==> {what}");
}

/// Runs it; its own output goes where ours goes.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start {}", shown(command)))?;
    if !status.success() {
        bail!("{} failed ({status})", shown(command));
    }
    Ok(())
}

/// Its standard output, or nothing where it cannot run or fails.
pub(crate) fn output(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Where `name` is found: a folder of PATH, or of root's programs.
pub(crate) fn which(name: &str) -> Option<PathBuf> {
    search_path().into_iter().map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// As a person would type it.
pub(crate) fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy().into_owned()).collect();
    format!("`{}`", words.join(" "))
}
