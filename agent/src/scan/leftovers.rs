//! Scans that outlived the podsweep that started them: an agent was killed.
//!
//! In: the scan cgroups of our slice. Out: none whose owner is gone, and a report. Must never: touch a cgroup that is
//! not named as a scan's, or whose owner still runs; signal a process that is not in such a cgroup.
//!
//! The worker ends by itself when the agent does, so a process is found here only if it had no time to, and an empty
//! cgroup nearly always.
#![allow(clippy::disallowed_methods, reason = "removes scan cgroups of an agent that was killed")]

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::ScanPlace;
use super::cgroup::{CONTROLLERS, slice};
use super::owner::Owner;
use crate::kernel;

/// Longest wait, in all, for killed processes to leave.
const MAX_WAIT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(20);

/// Leftover cgroups looked at in one go; the next start finds the rest.
const MAX_CGROUPS: usize = 1024;

/// What was found and done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeftoverReport {
    /// Processes killed.
    pub killed: u64,
    /// Cgroup directories removed (a scan has one per hierarchy).
    pub removed: u64,
    /// What could not be done, a sentence each.
    pub problems: Vec<String>,
}

/// Kills what is left in scan cgroups whose owner is gone, and removes these cgroups. Blocks, five seconds at most.
pub fn sweep_leftovers(place: &ScanPlace) -> LeftoverReport {
    let mut report = LeftoverReport::default();
    let deadline = Instant::now() + MAX_WAIT;
    for cgroup in leftovers(place).into_iter().take(MAX_CGROUPS) {
        match remove(&cgroup, &mut report.killed, deadline) {
            Ok(()) => report.removed += 1,
            Err(error) => {
                let path = cgroup.display();
                report.problems.push(format!("cannot remove the leftover cgroup {path}: {error}"));
            }
        }
    }
    report
}

/// cgroup2 first, whose `cgroup.kill` also empties the others.
fn leftovers(place: &ScanPlace) -> Vec<PathBuf> {
    let v1 = CONTROLLERS.iter().filter_map(|(_, v1)| place.cgroups.v1.get(*v1));
    std::iter::once(&place.cgroups.unified)
        .chain(v1)
        .filter_map(|mount| std::fs::read_dir(mount.join(slice(&place.cgroup_parent))).ok())
        .flatten()
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter(|entry| {
            let owner = entry.file_name().to_str().and_then(Owner::from_cgroup_name);
            owner.is_some_and(|owner| !owner.is_alive())
        })
        .map(|entry| entry.path())
        .collect()
}

fn remove(cgroup: &Path, killed: &mut u64, deadline: Instant) -> io::Result<()> {
    *killed += kill(cgroup)?;
    loop {
        match std::fs::remove_dir(cgroup) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && Instant::now() < deadline => {
                std::thread::sleep(POLL);
            }
            // Two controllers on one v1 mount: seen twice, removed once.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            result => return result,
        }
    }
}

fn kill(cgroup: &Path) -> io::Result<u64> {
    let processes = processes(cgroup)?;
    if processes.is_empty() {
        return Ok(0);
    }
    // Linux 5.14, cgroup2 only; nothing can slip out of it.
    match std::fs::write(cgroup.join("cgroup.kill"), "1") {
        Ok(()) => Ok(processes.len() as u64),
        Err(_) => Ok(processes.into_iter().filter(|&pid| kill_one(cgroup, pid)).count() as u64),
    }
}

/// By handle, and only if the process that the handle holds is in the cgroup: the pid may be another's by now.
fn kill_one(cgroup: &Path, pid: Pid) -> bool {
    let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else { return false };
    let still_there = processes(cgroup).is_ok_and(|all| all.contains(&pid));
    still_there && pidfd_send_signal(handle, Signal::KILL).is_ok()
}

fn processes(cgroup: &Path) -> io::Result<Vec<Pid>> {
    match kernel::read(cgroup.join("cgroup.procs")) {
        Ok(text) => Ok(text.lines().filter_map(|line| Pid::from_raw(line.trim().parse().ok()?)).collect()),
        Err(kernel::KernelError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            Ok(Vec::new())
        }
        Err(error) => Err(io::Error::other(error)),
    }
}
