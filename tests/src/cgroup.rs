//! Cgroups of our own, below the root of each hierarchy that this machine has.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use podsweep::kernel::Cgroups;

use crate::wait;

/// The kernel empties a cgroup a moment after its last process was reaped.
const EMPTIED_WITHIN: Duration = Duration::from_secs(5);

/// A cgroup in cgroup2, and whatever bears its name in the v1 hierarchies; removed when this is dropped.
#[derive(Debug)]
pub struct Cgroup {
    name: String,
    directory: PathBuf,
}

impl Cgroup {
    /// Makes it.
    pub fn make(name: &str) -> Result<Self> {
        let directory = Cgroups::find()?.unified.join(name);
        make_directory(&directory)?;
        Ok(Self { name: name.to_owned(), directory })
    }

    /// Makes its directory again where the container runtime has removed it with the container.
    pub fn make_again(&self) -> Result<()> {
        make_directory(&self.directory)
    }

    /// Its directory in cgroup2.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Limits its memory, wherever this machine has the memory controller.
    pub fn limit_memory(&self, bytes: u64) -> Result<()> {
        let found = Cgroups::find()?;
        let file = match found.v1.get("memory") {
            Some(hierarchy) => hierarchy.join(&self.name).join("memory.limit_in_bytes"),
            None => self.directory.join("memory.max"),
        };
        fs::write(&file, bytes.to_string()).with_context(|| format!("cannot write {}", file.display()))
    }

    /// Its path, as `/proc/PID/cgroup` shows it.
    pub fn path(&self) -> String {
        format!("/{}", self.name)
    }

    /// Its id: what the kernel counts by.
    pub fn id(&self) -> Result<u64> {
        let metadata = fs::metadata(&self.directory);
        Ok(metadata.with_context(|| format!("cannot stat {}", self.directory.display()))?.ino())
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.name) {
            eprintln!("cgroup {}: {error:#}", self.name);
        }
    }
}

/// Removes the cgroup of this name, with those nested in it, from every hierarchy. Waits for it to be empty.
pub fn remove(name: &str) -> Result<()> {
    wait::until_true(&format!("cgroup {name} is empty and removed"), EMPTIED_WITHIN, || {
        Ok(everywhere(name).iter().all(|directory| remove_tree(directory).is_ok()))
    })
}

/// Removes the empty ones of those whose name `unwanted` points out.
pub fn remove_where(unwanted: impl Fn(&str) -> bool) {
    for mount in mounts() {
        for entry in fs::read_dir(mount).into_iter().flatten().flatten() {
            if unwanted(&entry.file_name().to_string_lossy()) {
                let _ = remove_tree(&entry.path());
            }
        }
    }
}

/// Cgroups nested in the one of this name, in any hierarchy.
pub fn nested(name: &str) -> Vec<PathBuf> {
    everywhere(name).iter().flat_map(|directory| directories(directory)).collect()
}

/// Processes in it or in one nested in it, in any hierarchy.
pub fn processes(name: &str) -> Vec<i32> {
    everywhere(name)
        .into_iter()
        .chain(nested(name))
        .filter_map(|directory| fs::read_to_string(directory.join("cgroup.procs")).ok())
        .flat_map(|text| text.lines().filter_map(|line| line.parse().ok()).collect::<Vec<i32>>())
        .collect()
}

fn make_directory(directory: &Path) -> Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("cannot make the cgroup {}", directory.display()))
}

fn mounts() -> Vec<PathBuf> {
    Cgroups::find().map(|found| found.v1.into_values().chain([found.unified]).collect()).unwrap_or_default()
}

fn everywhere(name: &str) -> Vec<PathBuf> {
    mounts().into_iter().map(|mount| mount.join(name)).filter(|directory| directory.is_dir()).collect()
}

fn directories(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

fn remove_tree(directory: &Path) -> io::Result<()> {
    for nested in directories(directory) {
        remove_tree(&nested)?;
    }
    match fs::remove_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
