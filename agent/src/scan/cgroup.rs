//! The scan's own cgroup: one directory in cgroup2 and one in each v1 hierarchy that has a controller which cgroup2
//! has not.
//!
//! In: what the policy allows and which disks are read. Out: a place for one process, with the limits that are in
//! force there and the names of those that are not. Must never: change a file of any cgroup but its own, save
//! `cgroup.subtree_control` of the root and of our slice, to which controllers are added, never taken away.
//!
//! On a systemd host with cgroup2 alone, systemd owns the root's `cgroup.subtree_control` and may take a controller
//! away again (it does so only for controllers that no unit uses). Making the slice through systemd is a later
//! issue; until then the read-back before each scan tells.
#![allow(clippy::disallowed_methods, reason = "removes the scan's own cgroup")]

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use cgroups_rs::CgroupPid;
use cgroups_rs::fs::Controller;
use cgroups_rs::fs::pid::PidController;

use super::device::{self, Disk};
use super::limit::{self, Home, InForce, LimitError};
use super::owner::Owner;
use super::{ScanRoot, usage};
use crate::confinement::Reserve;
use crate::kernel::{self, Cgroups, KernelError};
use crate::policy::ScanSettings;

/// Longest wait for a cgroup to become empty after its process was killed and reaped.
const MAX_REMOVAL: Duration = Duration::from_secs(5);
const REMOVAL_POLL: Duration = Duration::from_millis(20);

/// Where the agent itself goes, see [`make_room`]. It stays: it ends with the container around it.
const LEAF: &str = "podsweep-agent";

/// Attempts to make the directories while another scan removes the slice above them.
const MAX_ATTEMPTS: u32 = 5;

/// Controllers that a scan wants, by their cgroup2 and v1 names.
pub(super) const CONTROLLERS: [(&str, &str); 4] =
    [("cpu", "cpu"), ("io", "blkio"), ("memory", "memory"), ("pids", "pids")];

/// A cgroup that could not be made or used.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// A kernel file.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// A directory or a file of the cgroup.
    #[error("cannot {operation} {path}: {source}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The process did not end up where it was put.
    #[error("process {pid} is not in {path:?} after it was moved there")]
    NotMoved {
        /// The worker.
        pid: i32,
        /// The cgroup's directory.
        path: PathBuf,
    },
}

/// One scan's cgroup. Removed by [`ScanCgroup::remove`]; dropping it tries once.
#[derive(Debug)]
pub struct ScanCgroup {
    /// `podsweep.slice/scan-…`, below each mount.
    path: String,
    /// cgroup2 first: once the worker is in it, `cgroup.kill` reaches it.
    directories: Vec<PathBuf>,
    in_v2: BTreeSet<&'static str>,
    limits: BTreeMap<String, String>,
    missing: Vec<String>,
    /// Those that are read, and whose reads are limited.
    disks: BTreeSet<Disk>,
}

/// Each controller of [`CONTROLLERS`] by its cgroup2 name, and where its files for this scan are.
type Homes = Vec<(&'static str, Option<Home>)>;

/// Which limits are in force and which are not.
#[derive(Debug, Default)]
struct Outcome {
    limits: BTreeMap<String, String>,
    missing: Vec<String>,
    disks: BTreeSet<Disk>,
}

impl Outcome {
    fn add(&mut self, limit: &str, result: Result<InForce, LimitError>) {
        match result {
            Ok(files) => self.limits.extend(files),
            Err(error) => self.missing.push(format!("{limit}: {error}")),
        }
    }
}

impl ScanCgroup {
    /// Makes the directories, writes the limits, reads them back. Limits that cannot be had are no error here.
    pub fn make(
        parent: &str,
        cgroups: &Cgroups,
        settings: &ScanSettings,
        roots: &[ScanRoot],
    ) -> Result<Self, CgroupError> {
        static SCANS: AtomicU32 = AtomicU32::new(0);
        let name = Owner::this_process()?.cgroup_name(SCANS.fetch_add(1, Ordering::Relaxed));
        let parent = &slice(parent);
        let mut cgroup = Self {
            path: format!("{parent}/{name}"),
            directories: Vec::new(),
            in_v2: BTreeSet::new(),
            limits: BTreeMap::new(),
            missing: Vec::new(),
            disks: BTreeSet::new(),
        };
        let homes = cgroup.make_directories_again(parent, cgroups)?;
        cgroup.in_v2 =
            homes.iter().filter(|(_, home)| home.as_ref().is_some_and(|h| h.v2)).map(|h| h.0).collect();
        let outcome = set_limits(&homes, settings, roots)?;
        cgroup.limits = outcome.limits;
        cgroup.missing = outcome.missing;
        cgroup.disks = outcome.disks;
        Ok(cgroup)
    }

    /// Limits in force: kernel file and value.
    pub fn limits(&self) -> &BTreeMap<String, String> {
        &self.limits
    }

    /// Limits that are not, each with the reason.
    pub fn missing(&self) -> &[String] {
        &self.missing
    }

    /// Whether cgroup2 has this controller for us.
    pub(super) fn is_v2(&self, controller: &str) -> bool {
        self.in_v2.contains(controller)
    }

    /// Moves a process in, and checks that it is.
    pub fn attach(&self, pid: i32) -> Result<(), CgroupError> {
        let process = CgroupPid::from(u64::from(pid.unsigned_abs()));
        for directory in &self.directories {
            // Any controller writes the same `cgroup.procs`.
            PidController::new(directory.clone(), PathBuf::new(), true)
                .add_task_by_tgid(&process)
                .map_err(|error| io_error("move the scan worker into", directory, io::Error::other(error)))?;
        }
        for directory in &self.directories {
            // Read as the mount shows it: `/proc/PID/cgroup` depends on the cgroup namespace.
            let inside = kernel::read(directory.join("cgroup.procs"))?;
            if !inside.lines().any(|line| line.parse() == Ok(pid)) {
                return Err(CgroupError::NotMoved { pid, path: directory.clone() });
            }
        }
        Ok(())
    }

    /// What the cgroup's processes have used so far.
    pub(super) fn usage(&self) -> usage::Usage {
        usage::read(&self.directories, &self.disks)
    }

    /// Removes the directories, and the slice above them if nothing else is in it. Blocks until the kernel lets go of
    /// them, five seconds at most.
    pub fn remove(mut self) -> Result<(), CgroupError> {
        let start = Instant::now();
        while let Some(directory) = self.directories.last() {
            match remove_directory(directory) {
                Err(error)
                    if error.kind() == io::ErrorKind::ResourceBusy && start.elapsed() < MAX_REMOVAL =>
                {
                    std::thread::sleep(REMOVAL_POLL);
                }
                Err(source) => return Err(io_error("remove", directory, source)),
                Ok(()) => _ = self.directories.pop(),
            }
        }
        Ok(())
    }

    /// A scan that ends removes the empty slice, which may be while another one starts: its directory is then gone
    /// before its child is made. What was made stays and is not made twice.
    fn make_directories_again(&mut self, parent: &str, cgroups: &Cgroups) -> Result<Homes, CgroupError> {
        for _ in 1..MAX_ATTEMPTS {
            match self.make_directories(parent, cgroups) {
                Err(CgroupError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
                made => return made,
            }
        }
        self.make_directories(parent, cgroups)
    }

    /// Where each controller's files are; `None` where this host has no such controller for us.
    fn make_directories(&mut self, parent: &str, cgroups: &Cgroups) -> Result<Homes, CgroupError> {
        let root = cgroups.directory(kernel::namespace_root());
        let in_v2 = kernel::read(root.join("cgroup.controllers"))?;
        let in_v2: BTreeSet<_> = in_v2.split_whitespace().collect();
        let wanted: Vec<_> =
            CONTROLLERS.iter().map(|&(v2, _)| v2).filter(|name| in_v2.contains(name)).collect();
        let slice = cgroups.unified.join(parent);
        create_all(&slice)?;
        for above in [&root, &slice] {
            // Not an error yet: writing the limit says which one is missing.
            if let Err(error) = limit::hand_on(above, &wanted) {
                tracing::debug!(path = ?above, %error, "cgroup2 does not hand its controllers on");
            }
        }
        let unified = self.create(&cgroups.unified)?;
        CONTROLLERS
            .iter()
            .map(|&(v2, v1)| {
                let home = if in_v2.contains(v2) {
                    Some(Home { directory: unified.clone(), v2: true })
                } else if let Some(mount) = cgroups.v1.get(v1) {
                    create_all(&mount.join(parent))?;
                    Some(Home { directory: self.create(mount)?, v2: false })
                } else {
                    None
                };
                Ok((v2, home))
            })
            .collect()
    }

    /// Our directory below one mount. Two v1 controllers may share a mount.
    fn create(&mut self, mount: &Path) -> Result<PathBuf, CgroupError> {
        let directory = mount.join(&self.path);
        if !self.directories.contains(&directory) {
            std::fs::create_dir(&directory).map_err(|source| io_error("make", &directory, source))?;
            self.directories.push(directory.clone());
        }
        Ok(directory)
    }
}

impl Drop for ScanCgroup {
    fn drop(&mut self) {
        for directory in self.directories.drain(..) {
            // Still busy: found again by `sweep_leftovers`.
            if let Err(error) = remove_directory(&directory) {
                tracing::warn!(path = ?directory, %error, "the scan's cgroup stays behind");
            }
        }
    }
}

/// One directory of a scan, and the slice above it if that is empty now. Gone already is as good.
fn remove_directory(directory: &Path) -> io::Result<()> {
    match std::fs::remove_dir(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    if let Some(slice) = directory.parent() {
        let _reserve = Reserve::take_up();
        // Refused, most likely because another scan is in it.
        let _ = std::fs::remove_dir(slice);
    }
    Ok(())
}

fn set_limits(homes: &Homes, settings: &ScanSettings, roots: &[ScanRoot]) -> Result<Outcome, CgroupError> {
    let mut outcome = Outcome::default();
    for (controller, home) in homes {
        let Some(home) = home else {
            outcome.missing.push(format!("{controller}: no cgroup2 or v1 hierarchy has this controller"));
            continue;
        };
        match *controller {
            "cpu" => outcome.add("cpu", limit::cpu(home, settings.cpu)),
            "io" => set_read_limits(home, settings, roots, &mut outcome)?,
            "memory" => outcome.add("memory", limit::memory(home, settings.memory)),
            _ => outcome.add("pids", limit::processes(home)),
        }
    }
    Ok(outcome)
}

fn set_read_limits(
    home: &Home,
    settings: &ScanSettings,
    roots: &[ScanRoot],
    outcome: &mut Outcome,
) -> Result<(), CgroupError> {
    let held = device::holders(roots.iter().map(|root| root.host.as_path()))?;
    if held.disks.is_empty() && held.unknown.is_empty() {
        let kinds: Vec<_> = held.without_disk.into_iter().collect();
        outcome.limits.insert("io.max".into(), format!("not applicable: {}", kinds.join(", ")));
        return Ok(());
    }
    for disk in &held.disks {
        let bytes = settings.read_bytes_per_second;
        outcome.add("io", limit::reads(home, *disk, bytes, settings.read_iops));
    }
    outcome.disks = held.disks;
    for kind in held.unknown {
        outcome.missing.push(format!("io: it is not known which disk holds this {kind}"));
    }
    Ok(())
}

/// Path of the slice below each mount. Where our cgroup namespace does not begin at the hierarchy's root (a container
/// that is not privileged), the slice is below our own cgroup: systemd mounts cgroup2 with `nsdelegate`, and the kernel
/// then lets no process be moved out of the namespace of the one that moves it.
pub(super) fn slice(parent: &str) -> String {
    let root = kernel::namespace_root().trim_matches('/');
    let parent = parent.trim_matches('/');
    if root.is_empty() { parent.to_owned() } else { format!("{root}/{parent}") }
}

/// Moves this process out of the cgroup that the scans' slice is in, to a leaf beside it: cgroup2 hands controllers on
/// from a cgroup without processes of its own only. On the host the slice is in the root, for which that does not hold.
/// Call it before there are other threads.
pub fn make_room() -> Result<(), CgroupError> {
    let root = kernel::namespace_root();
    if root == "/" {
        return Ok(());
    }
    let leaf = Cgroups::find()?.directory(root).join(LEAF);
    create_all(&leaf)?;
    let procs = leaf.join("cgroup.procs");
    std::fs::write(&procs, std::process::id().to_string())
        .map_err(|source| io_error("move this process into", &procs, source))
}

fn create_all(directory: &Path) -> Result<(), CgroupError> {
    let _reserve = Reserve::take_up();
    std::fs::create_dir_all(directory).map_err(|source| io_error("make", directory, source))
}

fn io_error(operation: &'static str, path: &Path, source: io::Error) -> CgroupError {
    CgroupError::Io { operation, path: path.to_path_buf(), source }
}
