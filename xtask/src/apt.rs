//! Debian packages: installed only where the program they hold is missing.

use std::fs;
use std::io::stderr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::command::{output, program, run, step, which};

/// How long apt-get waits for another that holds dpkg's lock.
const LOCK_SECONDS: u32 = 120;

/// Installs `packages` in one go. With none, does nothing and needs neither root nor a network.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let list = packages.join(" ");
    if which("apt-get").is_none() {
        bail!(
            "missing: what Debian's packages {list} hold. This is no Debian: install that by hand, then again"
        );
    }
    if !is_root() {
        bail!("missing: {list}. As root: apt-get install --no-install-recommends {list}");
    }
    step(&format!("apt-get install {list}"));
    run(apt_get().args(["update", "-qq"]))?;
    run(apt_get().args(["install", "-y", "-qq", "--no-install-recommends"]).args(packages))
}

/// Unpacks a package of another processor into `folder`, which is made anew: nothing is installed, dpkg learns of no other
/// architecture, and no root is needed. `package` may name a version, as `name:architecture=version`.
pub(crate) fn unpack(package: &str, architecture: &str, folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    let state = folder.join("apt");
    for place in ["lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(state.join(place)).with_context(|| format!("cannot make {}", state.display()))?;
    }
    let apart = [
        format!("APT::Architecture={architecture}"),
        format!("APT::Architectures={architecture}"),
        format!("Dir::State::lists={}", state.join("lists").display()),
        "Dir::State::status=/dev/null".to_owned(),
        format!("Dir::Cache={}", state.join("cache").display()),
        // The user that it would else become may not enter root's own cache.
        "APT::Sandbox::User=root".to_owned(),
    ];
    let apt_get = || {
        let mut apt_get = apt_get();
        apt_get.current_dir(&state).args(apart.iter().flat_map(|option| ["-o", option]));
        apt_get
    };
    run(apt_get().args(["update", "-qq"]))?;
    run(apt_get().args(["download", "-qq", package]))?;
    let entries = fs::read_dir(&state).with_context(|| format!("cannot read {}", state.display()))?;
    let mut packages = entries.flatten().map(|entry| entry.path());
    let downloaded = packages.find(|path| path.extension().is_some_and(|extension| extension == "deb"));
    let downloaded = downloaded.with_context(|| format!("apt-get has not downloaded {package}"))?;
    run(Command::new("dpkg").arg("-x").args([&downloaded, folder]))?;
    fs::remove_dir_all(&state).with_context(|| format!("cannot remove {}", state.display()))
}

/// Whether this process may install packages, make cgroups and load eBPF programs.
pub(crate) fn is_root() -> bool {
    output(Command::new("id").arg("-u")).is_some_and(|uid| uid == "0")
}

/// Packages of `wanted` (program or file, package) whose program or file is missing.
pub(crate) fn missing<'a>(wanted: &[(&str, &'a str)]) -> Vec<&'a str> {
    wanted.iter().filter(|(program, _)| !is_there(program)).map(|(_, package)| *package).collect()
}

fn is_there(program: &str) -> bool {
    if program.starts_with('/') { Path::new(program).exists() } else { which(program).is_some() }
}

/// apt-get that asks nothing, with its chatter on stderr: stdout may belong to the demo's JSON.
fn apt_get() -> Command {
    let mut apt_get = program("apt-get");
    apt_get.env("DEBIAN_FRONTEND", "noninteractive").stdout(stderr());
    // A machine's own unattended upgrade holds dpkg's lock soon after it has started.
    apt_get.args(["-o", &format!("DPkg::Lock::Timeout={LOCK_SECONDS}")]);
    apt_get
}

#[cfg(test)]
mod tests {
    use super::missing;

    #[test]
    fn only_what_is_missing_is_asked_for() {
        let wanted = [("sh", "dash"), ("/proc/self/status", "procfs"), ("/no/such/file", "nothing")];
        assert_eq!(missing(&wanted), ["nothing"]);
    }
}
