//! The filesystems that the kernel tests work on, in a mount namespace of the worker's own.
//!
//! Comes in: an empty folder. Goes out: filesystems mounted below it, which go with the process. Must never: mount
//! anything where the host sees it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use serde::{Deserialize, Serialize};

use crate::kernel_operations::fill_lower;

/// Where an operation is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Filesystem {
    /// ext4 on a loop device.
    Ext4,
    /// xfs on a loop device.
    Xfs,
    /// tmpfs
    Tmpfs,
    /// overlayfs, both layers on an ext4 of its own.
    Overlay,
}

/// How much goes onto it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// Some 10,000 files, 64 MiB.
    Roomy,
    /// Some 50 files: soon full. 1 MiB, of xfs the least that there is.
    Tiny,
}

impl Filesystem {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Ext4, Self::Xfs, Self::Tmpfs, Self::Overlay];

    /// As the kernel names it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Tmpfs => "tmpfs",
            Self::Overlay => "overlay",
        }
    }

    /// Its mount point.
    pub fn root(self, base: &Path, size: Size) -> PathBuf {
        base.join(format!("{}-{size:?}", self.as_str()))
    }

    /// Whether this kernel has it, built in or as a module.
    pub fn is_known_here(self) -> io::Result<bool> {
        let known = || -> io::Result<bool> {
            let list = fs::read_to_string("/proc/filesystems")?;
            Ok(list.lines().any(|line| line.split_whitespace().next_back() == Some(self.as_str())))
        };
        // A kernel without modules has no use for modprobe, nor need it be installed there.
        Ok(known()? || (Command::new("modprobe").args(["-q", self.as_str()]).output().is_ok() && known()?))
    }

    /// Makes and mounts it. The caller has a mount namespace of its own.
    pub fn mount(self, base: &Path, size: Size) -> io::Result<()> {
        let root = self.root(base, size);
        fs::create_dir(&root)?;
        match self {
            Self::Ext4 => mount_ext4(&root, size),
            Self::Xfs => mount_xfs(&root, size),
            Self::Tmpfs => mount_tmpfs(&root, size),
            Self::Overlay => mount_overlay(&root, size),
        }
    }
}

/// Leaves the host's mount namespace: all that is mounted from here on goes with the process.
pub fn leave_host() -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
    Ok(())
}

fn mount_ext4(root: &Path, size: Size) -> io::Result<()> {
    let (bytes, inodes) = match size {
        Size::Roomy => (64 << 20, "16384"),
        Size::Tiny => (1 << 20, "64"),
    };
    let image = image(root, bytes)?;
    run(Command::new("mkfs.ext4").args(["-q", "-F", "-N", inodes]).arg(&image))?;
    mount_image(&image, root)
}

fn mount_xfs(root: &Path, size: Size) -> io::Result<()> {
    let bytes = match size {
        Size::Roomy => 64 << 20,
        Size::Tiny => 16 << 20,
    };
    let image = image(root, bytes)?;
    // Below 300 MiB mkfs.xfs 6 refuses otherwise, for the sake of performance alone.
    run(Command::new("mkfs.xfs").args(["--unsupported", "-q", "-f"]).arg(&image))?;
    mount_image(&image, root)
}

fn mount_tmpfs(root: &Path, size: Size) -> io::Result<()> {
    let options = match size {
        Size::Roomy => "size=64m",
        Size::Tiny => "size=1m,nr_inodes=64",
    };
    mount(Some("tmpfs"), root, Some("tmpfs"), MsFlags::empty(), Some(options))?;
    Ok(())
}

fn mount_overlay(root: &Path, size: Size) -> io::Result<()> {
    let layers = root.with_extension("layers");
    fs::create_dir(&layers)?;
    mount_ext4(&layers, size)?;
    let [lower, upper, work] = ["lower", "upper", "work"].map(|name| layers.join(name));
    for layer in [&lower, &upper, &work] {
        fs::create_dir(layer)?;
    }
    if size == Size::Roomy {
        fill_lower(&lower)?;
    }
    let options =
        format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display());
    mount(Some("overlay"), root, Some("overlay"), MsFlags::empty(), Some(options.as_str()))?;
    Ok(())
}

fn image(root: &Path, bytes: u64) -> io::Result<PathBuf> {
    let image = root.with_extension("img");
    fs::File::create_new(&image)?.set_len(bytes)?;
    Ok(image)
}

fn mount_image(image: &Path, root: &Path) -> io::Result<()> {
    run(Command::new("mount").args(["-o", "loop"]).arg(image).arg(root))
}

fn run(command: &mut Command) -> io::Result<()> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr))))
}
