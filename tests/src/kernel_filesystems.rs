//! The filesystems that the kernel tests work on, in a mount namespace of the worker's own.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use serde::{Deserialize, Serialize};

use crate::kernel_operations::OPERATIONS;

/// Where an operation is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Filesystem {
    /// ext4 on a loop device.
    Ext4,
    /// tmpfs
    Tmpfs,
    /// overlayfs, both layers on the ext4.
    Overlay,
}

impl Filesystem {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Ext4, Self::Tmpfs, Self::Overlay];

    /// Its mount point.
    pub fn root(self, base: &Path) -> PathBuf {
        base.join(match self {
            Self::Ext4 => "ext4",
            Self::Tmpfs => "tmpfs",
            Self::Overlay => "overlay",
        })
    }
}

/// Leaves the host's mount namespace and mounts everything below `base`. All of it goes with the process.
pub fn mount_all(base: &Path) -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
    for filesystem in Filesystem::ALL {
        fs::create_dir(filesystem.root(base))?;
    }
    mount_ext4(base)?;
    let tmpfs = Filesystem::Tmpfs.root(base);
    mount(Some("tmpfs"), &tmpfs, Some("tmpfs"), MsFlags::empty(), Some("size=64m"))?;
    mount_overlay(base)
}

fn mount_ext4(base: &Path) -> io::Result<()> {
    let image = base.join("ext4.img");
    fs::File::create(&image)?.set_len(64 << 20)?;
    run(Command::new("mkfs.ext4").args(["-q", "-F", "-N", "16384"]).arg(&image))?;
    run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(Filesystem::Ext4.root(base)))
}

fn mount_overlay(base: &Path) -> io::Result<()> {
    let layers = Filesystem::Ext4.root(base).join("layers");
    let [lower, upper, work] = ["lower", "upper", "work"].map(|name| layers.join(name));
    for layer in [&upper, &work] {
        fs::create_dir_all(layer)?;
    }
    for operation in OPERATIONS {
        let folder = lower.join(operation.folder());
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("lower"), "of the image")?;
    }
    let options =
        format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display());
    let target = Filesystem::Overlay.root(base);
    mount(Some("overlay"), &target, Some("overlay"), MsFlags::empty(), Some(options.as_str()))?;
    Ok(())
}

fn run(command: &mut Command) -> io::Result<()> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr))))
}
