//! One look at a container: `/proc/PID/stat`, `memory.events`, `cgroup.events`, `*.pressure`.

use procfs::ProcError;
use procfs::process::Process as ProcProcess;

use crate::breaker::Vitals;
use crate::inventory::{Container, Process};
use crate::kernel::{Cgroups, Psi};

/// Reads what can be read now.
pub fn read_vitals(container: &Container, cgroups: &Cgroups) -> Vitals {
    let signs = cgroups.signs(&container.cgroup_path, container.first.pid);
    let psi = Psi::of_cgroup(&cgroups.directory(&container.cgroup_path)).ok();
    // The process last: a container that ends between these reads takes its files along, and then is seen as gone
    // and not as one whose signals are missing.
    let same_process = is_the_same(container.first);
    Vitals { same_process, populated: signs.populated, oom_kills: signs.oom_kills, frozen: signs.frozen, psi }
}

// None: /proc did not answer.
fn is_the_same(process: Process) -> Option<bool> {
    match ProcProcess::new(process.pid).and_then(|found| found.stat()) {
        // Z: ended and not yet reaped; X: being reaped (proc_pid_stat(5)).
        Ok(stat) => Some(stat.starttime == process.start_time && !matches!(stat.state, 'Z' | 'X')),
        Err(ProcError::NotFound(_)) => Some(false),
        // A process that is reaped between open and read answers ESRCH.
        Err(ProcError::Io(error, _)) if error.raw_os_error() == Some(nix::libc::ESRCH) => Some(false),
        Err(_) => None,
    }
}
