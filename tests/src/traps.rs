//! Mounts of every kind that may turn up below a directory that a policy cleans, each over junk that the policy names:
//! what is mounted, and what lies beneath it, is nobody's to remove.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::container::Container;
use crate::disk::{Disk, Size};
use crate::fingerprint::{Fingerprints, fingerprints};
use crate::hung_fuse::{Hangs, HungFuse, Root};
use crate::inside::{attach, copy_of_mount, detach, is_mounted};
use crate::workspace::Workspace;

/// Where they are set, as the container sees it.
pub const FOLDER: &str = "/tmp/traps";
/// Junk beneath each directory that is mounted on, and in each that is mounted.
const FILES: usize = 3;
/// As small as mkfs.ext4 makes a disk without complaint.
const DISK: Size = Size { bytes: 8 << 20, inodes: 64 };
/// Where the kubelet mounts a CSI volume, below its root directory.
const CSI: &str = "pods/2f3b8a4c-9d1e-4a77-8c55-0a1b2c3d4e5f/volumes/kubernetes.io~csi/pvc-1/mount";

/// For so long they are there, and then are not: a batch of the sweep meets both, and the change from one to the other.
const FLICKER: Duration = Duration::from_millis(15);

/// One of them.
#[derive(Debug)]
struct Trap {
    /// Where the host has what is mounted.
    host: PathBuf,
    /// Where the container gets it.
    at: String,
    is_directory: bool,
}

/// All of them, ready on the host. Set, they stay in the container until it ends.
#[derive(Debug)]
pub struct Traps {
    all: Vec<Trap>,
    // Dropped in this order: what hangs first, and the folder that all of it is in last.
    hung: Vec<HungFuse>,
    _tmpfs: Tmpfs,
    _volume: Disk,
    _home: Workspace,
}

impl Traps {
    /// Makes them on the host, and in the container the junk that they are going to be set on.
    pub fn prepare(prefix: &str, container: &Container) -> Result<Self> {
        let home = Workspace::new(prefix)?;
        let volume = Disk::mount(prefix, &home.folder(CSI)?, DISK)?;
        let tmpfs = Tmpfs::mount(home.folder("tmpfs")?)?;
        let mut traps = vec![
            Trap::new(home.folder("bind")?, "bind", true)?,
            Trap::new(tmpfs.0.clone(), "tmpfs", true)?,
            Trap::new(home.path().join(CSI), "pvc", true)?,
            Trap::new(home.path().join("file"), "files/bind.tmp", false)?,
        ];
        let mut hung = Vec::new();
        for (name, root, hangs) in [
            ("fuse", Root::Directory, Hangs::AfterInit),
            ("fuse-early", Root::Directory, Hangs::FromTheStart),
            ("files/fuse.tmp", Root::File, Hangs::AfterInit),
            ("files/fuse-early.tmp", Root::File, Hangs::FromTheStart),
        ] {
            let host = home.path().join(name.replace('/', "-"));
            let trap = Trap::new(host, name, root == Root::Directory)?;
            hung.push(HungFuse::mount(&trap.host, root, hangs)?);
            traps.push(trap);
        }
        for trap in &traps {
            fill(&container.inside(&trap.at)?, trap.is_directory, "beneath")?;
        }
        Ok(Self { all: traps, hung, _tmpfs: tmpfs, _volume: volume, _home: home })
    }

    /// More junk in the container, beneath those that are mounted on a directory.
    pub fn more_beneath(&self, container: &Container, files: usize) -> Result<()> {
        for trap in self.all.iter().filter(|trap| trap.is_directory) {
            let place = container.inside(&trap.at)?;
            (0..files)
                .try_for_each(|number| fs::write(place.join(format!("more-{number}.tmp")), "beneath"))?;
        }
        Ok(())
    }

    /// Mounts all of them in the container.
    pub fn set(&self, container: &Container) -> Result<()> {
        self.all.iter().try_for_each(|trap| attach(container, &copy_of_mount(&trap.host)?, &trap.at))
    }

    /// Mounts all of them and takes them away again, for as long as `on` says so; how often. Junk beneath may be
    /// removed meanwhile, and with it the place of those that are mounted on a file.
    pub fn flicker(&self, container: &Container, on: impl Fn() -> bool) -> Result<u64> {
        let mut times = 0;
        while on() {
            for trap in &self.all {
                let tree = copy_of_mount(&trap.host)?;
                times += u64::from(attach(container, &tree, &trap.at).is_ok());
            }
            sleep(FLICKER);
            for trap in &self.all {
                let _ = detach(container, &trap.at); // it has no place to be mounted on any more
            }
            sleep(FLICKER);
        }
        Ok(times)
    }

    /// Those of which the container has lost the mount.
    pub fn lost(&self, container: &Container) -> Result<Vec<&str>> {
        let mut lost = Vec::new();
        for trap in &self.all {
            if !is_mounted(container, &trap.at)? {
                lost.push(trap.at.as_str());
            }
        }
        Ok(lost)
    }

    /// Directories among them, and files.
    pub fn counts(&self) -> (u64, u64) {
        let directories = self.all.iter().filter(|trap| trap.is_directory).count() as u64;
        (directories, self.all.len() as u64 - directories)
    }

    /// Files that lie beneath them: as many candidates, until they are set.
    pub fn files_beneath(&self) -> u64 {
        let (directories, files) = self.counts();
        directories * FILES as u64 + files
    }

    /// What is mounted, but for what hangs, which nobody may ask.
    pub fn mounted(&self) -> Result<Vec<Fingerprints>> {
        let hangs = |host: &Path| self.hung.iter().any(|hung| hung.mount_point() == host);
        let mounted = self.all.iter().map(|trap| trap.host.as_path()).filter(|host| !hangs(host));
        mounted.map(fingerprints).collect()
    }

    /// What lies beneath, in the writable layer.
    pub fn beneath(&self, container: &Container) -> Result<Fingerprints> {
        fingerprints(&container.upper().join(FOLDER.trim_start_matches('/')))
    }

    /// Those of the hanging ones that somebody has asked something: whoever it was waits.
    pub fn asked(&self) -> Result<Vec<&Path>> {
        let mut asked = Vec::new();
        for hung in self.hung.iter().filter(|hung| hung.hangs() == Hangs::AfterInit) {
            if hung.was_asked()? {
                asked.push(hung.mount_point());
            }
        }
        Ok(asked)
    }
}

impl Trap {
    /// Fills its place on the host, too: with files of the same names as beneath it.
    fn new(host: PathBuf, name: &str, is_directory: bool) -> Result<Self> {
        fill(&host, is_directory, "mounted")?;
        Ok(Self { host, at: format!("{FOLDER}/{name}"), is_directory })
    }
}

fn fill(place: &Path, is_directory: bool, content: &str) -> Result<()> {
    let folder = if is_directory { Some(place) } else { place.parent() };
    let folder = folder.with_context(|| format!("{} has no parent", place.display()))?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    if !is_directory {
        return fs::write(place, content).with_context(|| format!("cannot write {}", place.display()));
    }
    (0..FILES).try_for_each(|number| Ok(fs::write(place.join(format!("old-{number}.tmp")), content)?))
}

/// A tmpfs; unmounted when this is dropped.
#[derive(Debug)]
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn mount(at: PathBuf) -> Result<Self> {
        mount(Some("tmpfs"), &at, Some("tmpfs"), MsFlags::empty(), Some("size=1m"))
            .with_context(|| format!("cannot mount a tmpfs on {}", at.display()))?;
        Ok(Self(at))
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        if let Err(error) = umount2(&self.0, MntFlags::MNT_DETACH) {
            eprintln!("{} stays mounted: {error}", self.0.display());
        }
    }
}
