//! Work in a container's own mount namespace: what a privileged pod, a CSI sidecar or the kubelet's propagation does to
//! the mounts of a container while podsweep works on it.
//!
//! In: a container, mounts of the host. Out: the same mounts inside it, and there alone. They go with the container.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::thread;

use anyhow::{Context as _, Result, anyhow};
use nix::mount::{MntFlags, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use rustix::fs::CWD;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use crate::container::Container;

/// Runs `work` in a thread that sees mounts and root as the container does. The caller's own stay as they are.
pub fn inside<T: Send>(container: &Container, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let path = format!("/proc/{}/ns/mnt", container.process()?.pid);
    let namespace = File::open(&path).with_context(|| format!("cannot open {path}"))?;
    let enter_and_work = move || {
        // The root is shared with the other threads until here, and setns(2) changes it.
        unshare(CloneFlags::CLONE_FS).context("cannot unshare the root")?;
        setns(namespace, CloneFlags::CLONE_NEWNS).with_context(|| format!("cannot enter {path}"))?;
        work()
    };
    let joined = thread::scope(|scope| scope.spawn(enter_and_work).join());
    joined.unwrap_or_else(|_| Err(anyhow!("work inside a container ended in a panic")))
}

/// A copy of the host's mount at `path` (or of the part of one below it, as a bind mount has it), mounted nowhere yet.
pub fn copy_of_mount(path: &Path) -> Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    open_tree(CWD, path, flags).with_context(|| format!("cannot copy the mount at {}", path.display()))
}

/// Mounts `tree` on `at`, a path of the container.
pub fn attach(container: &Container, tree: &OwnedFd, at: &str) -> Result<()> {
    inside(container, || {
        move_mount(tree.as_fd(), "", CWD, at, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
            .with_context(|| format!("cannot mount on {at} in the container"))
    })
}

/// Takes away what is mounted on `at`, a path of the container.
pub fn detach(container: &Container, at: &str) -> Result<()> {
    inside(container, || {
        umount2(at, MntFlags::MNT_DETACH).with_context(|| format!("cannot unmount {at} in the container"))
    })
}

/// Whether something is mounted on `at` in the container.
pub fn is_mounted(container: &Container, at: &str) -> Result<bool> {
    let path = format!("/proc/{}/mountinfo", container.process()?.pid);
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    Ok(text.lines().any(|line| line.split(' ').nth(4) == Some(at)))
}
