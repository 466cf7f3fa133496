//! What a test needs of the machine, and takes away again: one cgroup2 child, one directory.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::super::{CgroupEvent, CgroupId, Changes, Inventory, InventorySettings, RuntimePaths};
use crate::kernel::Cgroups;

/// How long the machine may take to start one process, however busy it is.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two questions.
const PAUSE: Duration = Duration::from_millis(20);

/// A stage's cgroup is called this, the test's process id and a number.
const PREFIX: &str = "podsweep-inventory-";

/// Numbers the stages of one test process.
static NEXT: AtomicU32 = AtomicU32::new(0);

pub(super) struct Stage {
    pub(super) home: tempfile::TempDir,
    /// Path of the cgroup that the test may use, below the cgroup2 mount.
    pub(super) cgroup: String,
    pub(super) cgroups: Cgroups,
    children: Vec<Child>,
}

impl Stage {
    pub(super) fn new() -> Self {
        assert!(rustix::process::geteuid().is_root(), "this test makes cgroups and mounts: run it as root");
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let cgroup = format!("/{PREFIX}{}-{number}", std::process::id());
        let cgroups = Cgroups::find().unwrap();
        remove_leftovers(&cgroups);
        fs::create_dir(cgroups.directory(&cgroup)).unwrap();
        let stage = Self { home: tempfile::tempdir().unwrap(), cgroup, cgroups, children: Vec::new() };
        for name in ["lower/bin", "upper", "work", "merged"] {
            fs::create_dir_all(stage.path(name)).unwrap();
        }
        fs::copy("/bin/busybox", stage.path("lower/bin/busybox")).unwrap();
        stage
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.home.path().canonicalize().unwrap().join(name)
    }

    pub(super) fn inventory(&self) -> Inventory {
        let settings =
            InventorySettings { host_paths: vec![self.path("allowed")], ..InventorySettings::default() };
        Inventory::new(self.cgroups.clone(), Box::new(RuntimePaths::default()), settings)
    }

    /// Makes a cgroup below the test's own.
    pub(super) fn make(&self, below: &str) -> (CgroupId, String) {
        let path = format!("{}{below}", self.cgroup);
        fs::create_dir_all(self.cgroups.directory(&path)).unwrap();
        (self.id(&path), path)
    }

    pub(super) fn id(&self, path: &str) -> CgroupId {
        CgroupId(fs::metadata(self.cgroups.directory(path)).unwrap().ino())
    }

    /// Starts a process in a cgroup, with an overlayfs of this stage's layers for a root.
    pub(super) fn start_in_overlay(&mut self, cgroup: &str) -> i32 {
        let home = self.path("").display().to_string();
        self.start_with(cgroup, &format!("lowerdir={home}/lower,upperdir={home}/upper,workdir={home}/work"))
    }

    /// The same, with these options for the overlayfs.
    pub(super) fn start_with(&mut self, cgroup: &str, options: &str) -> i32 {
        let script = "echo $$ > $PROCS && exec unshare -m --propagation private sh -c '\
             mount -t overlay overlay -o \"$OPTIONS\" $HOME/merged && exec chroot $HOME/merged /bin/busybox sleep 600'";
        let procs = self.cgroups.directory(cgroup).join("cgroup.procs");
        let child = Command::new("sh")
            .args(["-c", script])
            .env("PROCS", procs)
            .env("HOME", self.path(""))
            .env("OPTIONS", options)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        self.children.push(child);
        pid
    }

    /// Starts a process in a cgroup that keeps the host's root.
    pub(super) fn start_on_host_root(&mut self, cgroup: &str) -> i32 {
        let procs = self.cgroups.directory(cgroup).join("cgroup.procs");
        let script = "echo $$ > $PROCS && echo ready && exec sleep 600";
        let mut child = Command::new("sh")
            .args(["-c", script])
            .env("PROCS", procs)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = [0; 6];
        child.stdout.take().unwrap().read_exact(&mut ready).unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        self.children.push(child);
        pid
    }

    /// Ends a process that this stage started.
    pub(super) fn end(&mut self, pid: i32) {
        let at = self.children.iter().position(|child| i32::try_from(child.id()) == Ok(pid)).unwrap();
        let mut child = self.children.remove(at);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for child in &mut self.children {
            child.kill().ok();
            child.wait().ok();
        }
        for hierarchy in hierarchies(&self.cgroups) {
            remove_cgroups(&hierarchy.join(self.cgroup.trim_start_matches('/')));
        }
    }
}

/// Every one: runc makes the same path on v1, too.
fn hierarchies(cgroups: &Cgroups) -> impl Iterator<Item = &PathBuf> {
    cgroups.v1.values().chain([&cgroups.unified])
}

/// What tests left that were killed: their process is no more.
fn remove_leftovers(cgroups: &Cgroups) {
    for directory in hierarchies(cgroups).flat_map(|hierarchy| fs::read_dir(hierarchy).into_iter().flatten())
    {
        let directory = directory.unwrap();
        let name = directory.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-'));
        if owner.is_some_and(|(pid, _)| !Path::new("/proc").join(pid).exists()) {
            remove_cgroups(&directory.path());
        }
    }
}

/// Deepest first; only names that a stage made.
fn remove_cgroups(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroups(&entry.path());
        }
    }
    fs::remove_dir(directory).ok();
}

/// Asks until the answer is yes, and fails where none comes; `what` says what was waited for.
pub(super) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < PATIENCE, "{what}: not after {PATIENCE:?}");
        std::thread::sleep(PAUSE);
    }
}

/// Waits until a process that was started in an overlay has its root: it runs busybox then.
pub(super) fn wait_for_busybox(pid: i32) {
    wait_until("busybox runs", || {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.starts_with("busybox"))
    });
}

/// Settles until `done` says so, and returns all that changed on the way.
pub(super) fn settle_until(inventory: &mut Inventory, done: impl Fn(&Inventory) -> bool) -> Changes {
    let began = Instant::now();
    let mut all = Changes::default();
    while !done(inventory) {
        assert!(began.elapsed() < PATIENCE, "nothing after {PATIENCE:?}; changed so far: {all:#?}");
        let changes = inventory.settle();
        all.added.extend(changes.added);
        all.changed.extend(changes.changed);
        all.removed.extend(changes.removed);
        std::thread::sleep(PAUSE);
    }
    all
}

pub(super) fn made(id: CgroupId, path: &str) -> CgroupEvent {
    CgroupEvent::Made { id, path: path.to_owned() }
}

pub(super) fn ids(containers: &[std::sync::Arc<super::super::Container>]) -> Vec<CgroupId> {
    containers.iter().map(|container| container.cgroup).collect()
}
