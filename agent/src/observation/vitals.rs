//! One look at a container: `/proc/PID/stat`, `memory.events`, `cgroup.events`, `*.pressure`; its pod, as the Kubernetes
//! API shows it.

use std::sync::Arc;

use procfs::ProcError;
use procfs::process::Process as ProcProcess;

use crate::breaker::Vitals;
use crate::inventory::{Container, Process};
use crate::kernel::{Cgroups, Psi};
use crate::kubernetes::Index;

/// Where vitals are read.
#[derive(Debug, Clone)]
pub struct Sources {
    /// The kernel's files.
    pub cgroups: Arc<Cgroups>,
    /// What the Kubernetes API tells; `None` on a host by itself.
    pub pods: Option<Arc<Index>>,
}

impl Sources {
    /// Reads what can be read now.
    pub fn read(&self, container: &Container) -> Vitals {
        let signs = self.cgroups.signs(&container.cgroup_path, container.first.pid);
        let psi = Psi::of_cgroup(&self.cgroups.directory(&container.cgroup_path)).ok();
        let pod = self.pods.as_ref().and_then(|pods| pods.signs(container));
        // The process last: a container that ends between these reads takes its files along, and then is seen as gone
        // and not as one whose signals are missing.
        let same_process = is_the_same(container.first);
        let (populated, oom_kills, frozen) = (signs.populated, signs.oom_kills, signs.frozen);
        Vitals { same_process, populated, oom_kills, frozen, psi, pod }
    }
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
