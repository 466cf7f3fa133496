//! A small disk of a container's own: what "the node is running out" looks like without filling the machine.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use nix::mount::{MntFlags, umount2};

use crate::workspace::Workspace;

/// How large a [`Disk`] is.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Its bytes; the image is sparse.
    pub bytes: u64,
    /// Its inodes.
    pub inodes: u32,
}

/// ext4 on a loop device, mounted in the calling thread's mount namespace; unmounted when this is dropped.
#[derive(Debug)]
pub struct Disk {
    mount_point: PathBuf,
    // Holds the image; goes after the mount.
    _home: Workspace,
}

impl Disk {
    /// Makes it and mounts it on a folder.
    pub fn mount(prefix: &str, mount_point: &Path, size: Size) -> Result<Self> {
        let home = Workspace::new(prefix)?;
        let image = home.path().join("disk.img");
        format(&image, size)?;
        self::mount(&image, mount_point)?;
        Ok(Self { mount_point: mount_point.to_owned(), _home: home })
    }
}

/// Makes an image of an empty ext4.
pub fn format(image: &Path, size: Size) -> Result<()> {
    File::create(image)?.set_len(size.bytes)?;
    let inodes = size.inodes.to_string();
    // No blocks kept for root: free is what a container sees as free.
    run(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0", "-N", &inodes]).arg(image))
}

/// Mounts it in the calling thread's mount namespace. Its loop device goes with the mount.
pub fn mount(image: &Path, mount_point: &Path) -> Result<()> {
    run(Command::new("mount").args(["-o", "loop"]).arg(image).arg(mount_point))
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Err(error) = umount2(&self.mount_point, MntFlags::MNT_DETACH) {
            eprintln!("{} stays mounted: {error}", self.mount_point.display());
        }
    }
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
