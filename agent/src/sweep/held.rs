//! The process that a container is known by: a pidfd, its start time, its cgroup. In: a [`Container`]. Out: whether
//! that container is still there, and a handle on its root. Holds no mount: a handle on the root lives for one batch.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::inventory::{CgroupId, Container, Process};
use crate::kernel::{self, Cgroups, KernelError};

/// Why a container is not, or cannot be shown to be, the one that was decided about.
#[derive(Debug, thiserror::Error)]
pub(super) enum Lost {
    /// Its first process has ended.
    #[error("its first process, {0}, has ended")]
    Ended(i32),
    /// Another process has its pid.
    #[error("pid {pid} started at tick {now}, the container's process at {then}")]
    Replaced {
        /// The pid.
        pid: i32,
        /// Start time of the container's process.
        then: u64,
        /// Start time of the process that has the pid now.
        now: u64,
    },
    /// The process is in another cgroup.
    #[error("process {pid} is in cgroup {now:?}, not below {then:?}")]
    Moved {
        /// The pid.
        pid: i32,
        /// The container's cgroup.
        then: String,
        /// The one it is in.
        now: String,
    },
    /// The cgroup was made anew.
    #[error("cgroup {path:?} has id {now}, not {then}")]
    CgroupRemade {
        /// Its directory.
        path: PathBuf,
        /// The container's cgroup id.
        then: u64,
        /// What it is now.
        now: u64,
    },
    /// A sign could not be read.
    #[error(transparent)]
    Unreadable(#[from] KernelError),
}

/// A container's first process, held so that a later one with its pid cannot be mistaken for it.
#[derive(Debug)]
pub(super) struct Held {
    pidfd: OwnedFd,
    process: Process,
    cgroup: CgroupId,
    cgroup_path: String,
    directory: PathBuf,
}

impl Held {
    /// Takes hold, and checks that it is the process that the inventory saw.
    pub(super) fn take(container: &Container, cgroups: &Cgroups) -> Result<Self, Lost> {
        let process = container.first;
        let pidfd = Pid::from_raw(process.pid)
            .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok())
            .ok_or(Lost::Ended(process.pid))?;
        let held = Self {
            pidfd,
            process,
            cgroup: container.cgroup,
            cgroup_path: container.cgroup_path.clone(),
            directory: cgroups.directory(&container.cgroup_path),
        };
        held.check()?;
        Ok(held)
    }

    /// Whether the process has ended. One system call: asked before every file.
    pub(super) fn ended(&self) -> bool {
        has_ended(self.pidfd.as_fd())
    }

    /// Its pidfd.
    pub(super) fn process(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Whether it is still the same container: pidfd, start time, cgroup path, cgroup id.
    pub(super) fn check(&self) -> Result<(), Lost> {
        let Process { pid, start_time: then } = self.process;
        let readings = self.read();
        // Asked last: what was read before belongs to this process only if it lives now.
        if self.ended() {
            return Err(Lost::Ended(pid));
        }
        let (now, path, id) = readings?;
        if now != then {
            return Err(Lost::Replaced { pid, then, now });
        }
        if !is_in(&path, &self.cgroup_path) {
            return Err(Lost::Moved { pid, then: self.cgroup_path.clone(), now: path });
        }
        if id != self.cgroup.0 {
            return Err(Lost::CgroupRemade { path: self.directory.clone(), then: self.cgroup.0, now: id });
        }
        Ok(())
    }

    /// A handle on its root, in its own mount namespace. No namespace is entered: `CAP_SYS_PTRACE` is enough.
    pub(super) fn root(&self) -> Result<OwnedFd, Lost> {
        let path = Path::new("/proc").join(self.process.pid.to_string()).join("root");
        let root = open(&path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        // As in `check`: alive now, so the path led to its root and not to a successor's.
        if self.ended() {
            return Err(Lost::Ended(self.process.pid));
        }
        root.map_err(|errno| KernelError::Read { path, source: errno.into() }.into())
    }

    fn read(&self) -> Result<(u64, String, u64), KernelError> {
        let start_time = kernel::start_time(self.process.pid)?;
        let cgroup = kernel::cgroup_of(&self.process.pid.to_string())?;
        let directory = std::fs::metadata(&self.directory)
            .map_err(|source| KernelError::Read { path: self.directory.clone(), source })?;
        Ok((start_time, cgroup, directory.ino()))
    }
}

/// Whether the process of a pidfd has ended.
pub(super) fn has_ended(pidfd: BorrowedFd<'_>) -> bool {
    let mut watched = [PollFd::new(pidfd, PollFlags::POLLIN)];
    // A failed poll says nothing of the process; what says nothing counts as ended.
    poll(&mut watched, PollTimeout::ZERO) != Ok(0)
}

/// Whether a cgroup path is the container's or below it: its first process may sit in a cgroup nested in the container's (crun, systemd).
pub(super) fn is_in(path: &str, container: &str) -> bool {
    match path.strip_prefix(container) {
        Some(rest) => rest.is_empty() || rest.starts_with('/') || container.ends_with('/'),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_is_in_but_a_longer_name_is_not() {
        assert!(is_in("/pod/abc", "/pod/abc"));
        assert!(is_in("/pod/abc/container", "/pod/abc"));
        assert!(is_in("/init.scope", "/"));
        assert!(!is_in("/pod/abcd", "/pod/abc"));
        assert!(!is_in("/pod", "/pod/abc"));
    }
}
