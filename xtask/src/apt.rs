//! Debian packages: installed only where the program they hold is missing.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::command::{output, run, step, which};

/// Installs `packages` in one go. With none, does nothing and needs neither root nor a network.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let list = packages.join(" ");
    if which("apt-get").is_none() {
        bail!("missing, and this is no Debian: install what its packages {list} hold, then run this again");
    }
    if !is_root() {
        bail!("missing: {list}. As root: apt-get install --no-install-recommends {list}");
    }
    step(&format!("apt-get install {list}"));
    run(apt_get().args(["update", "-qq"]))?;
    run(apt_get().args(["install", "-y", "-qq", "--no-install-recommends"]).args(packages))
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
    let mut shell = Command::new("sh");
    shell.env("DEBIAN_FRONTEND", "noninteractive").args(["-c", "exec apt-get \"$@\" >&2", "apt-get"]);
    shell
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
