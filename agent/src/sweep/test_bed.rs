//! What the tests of this stage stand on: a policy, a lister in place of the scan worker, an audit that remembers,
//! and a real container: an overlayfs in a mount namespace of its own with a process whose root it is.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use tempfile::TempDir;

use super::audit::{Audit, AuditEntry, AuditResult};
use super::deleter::{Confinement, Deleters, serve};
use super::identity::look;
use super::source::{Candidates, ScanNotStarted, Scans};
use crate::inventory::{CgroupId, Container, Layer, Names, Runtime};
use crate::kernel::{self, Cgroups};
use crate::policy::{
    Action, Breakers, FileType, JunkRule, Metadata, Mode, Pressure, Rollout, ScanSettings, Select, Spec,
    SweepPolicy, SweepSettings,
};
use crate::scan::{Candidate, ScanEnd, ScanMessage, ScanReport, ScanRequest};
use crate::units::Span;

/// A pressure that nothing exceeds twofold.
pub(super) const ANY_PRESSURE: Pressure = Pressure { cpu: 100.0, io: 100.0, memory: 100.0 };

pub(super) fn rule(name: &str, pattern: &str) -> JunkRule {
    JunkRule {
        name: name.into(),
        paths: vec![pattern.into()],
        exclude: Vec::new(),
        volumes: vec![crate::inventory::VolumeKind::WritableLayer],
        types: vec![FileType::File, FileType::Symlink, FileType::Socket, FileType::Fifo],
        older_than: Span::from_secs(10),
        min_size: crate::units::Bytes(0),
        keep_newest: 0,
        owners: Vec::new(),
        empty_directories: false,
        action: Action::Delete,
        i_know_this_is_broad: false,
    }
}

pub(super) fn policy(junk: Vec<JunkRule>) -> Arc<SweepPolicy> {
    Arc::new(policy_with(junk, |_| {}))
}

pub(super) fn policy_with(junk: Vec<JunkRule>, change: impl FnOnce(&mut Spec)) -> SweepPolicy {
    let mut spec = Spec {
        mode: Mode::Enforce,
        priority: 0,
        select: Select::default(),
        triggers: Vec::new(),
        junk,
        never: Vec::new(),
        scan: ScanSettings::default(),
        sweep: SweepSettings {
            batch_interval: Span(Duration::from_millis(5)),
            max_pressure: ANY_PRESSURE,
            ..SweepSettings::default()
        },
        rollout: Rollout::default(),
        breakers: Breakers::default(),
    };
    change(&mut spec);
    SweepPolicy {
        api_version: "podsweep.io/v1alpha1".into(),
        kind: "SweepPolicy".into(),
        metadata: Metadata { name: "test".into() },
        spec,
    }
}

/// An hour from now: everything made by a test is old enough.
pub(super) fn in_an_hour() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap() + Duration::from_hours(1)
}

/// Every file (never a directory) below `host`, as candidates of rule 0.
pub(super) fn list(host: &Path, action: Action) -> Vec<Candidate> {
    let mut found = Vec::new();
    list_below(host, Path::new(""), action, &mut found);
    found.sort_by(|one, other| one.path.cmp(&other.path));
    found
}

fn list_below(host: &Path, below: &Path, action: Action, found: &mut Vec<Candidate>) {
    for entry in std::fs::read_dir(host.join(below)).unwrap() {
        let name = entry.unwrap().file_name();
        let path = below.join(&name);
        let metadata = std::fs::symlink_metadata(host.join(&path)).unwrap();
        if metadata.is_dir() {
            list_below(host, &path, action, found);
            continue;
        }
        let directory = std::fs::File::open(host.join(below)).unwrap();
        let seen = look(std::os::fd::AsFd::as_fd(&directory), name.as_encoded_bytes()).unwrap();
        let (path, allocated) = (path.into_os_string().into_encoded_bytes(), metadata.blocks() * 512);
        found.push(Candidate { root: 0, path, rule: 0, action, identity: seen.identity, allocated });
    }
}

/// Remembers what it was told.
#[derive(Default)]
pub(super) struct Remembers {
    pub(super) announced: Mutex<Vec<AuditEntry>>,
    pub(super) results: Mutex<Vec<AuditResult>>,
    pub(super) full: bool,
}

impl Audit for Remembers {
    fn will_remove(&self, _: &str, batch: &[AuditEntry]) -> std::io::Result<()> {
        if self.full {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        self.announced.lock().unwrap().extend_from_slice(batch);
        Ok(())
    }

    fn done(&self, _: &str, results: &[AuditResult]) -> std::io::Result<()> {
        self.results.lock().unwrap().extend_from_slice(results);
        Ok(())
    }
}

/// In place of the deleter's process: a thread of the test, which keeps all that it may. What the process itself gives
/// up is shown with real ones (`agent/tests/deleter`).
#[derive(Debug)]
pub(super) struct InThisProcess;

impl Deleters for InThisProcess {
    fn start(&self, socket: OwnedFd) -> std::io::Result<Option<Child>> {
        std::thread::spawn(move || serve(socket.as_fd(), Confinement::NONE).unwrap());
        Ok(None)
    }
}

/// In place of the scan worker: hands out what it was given. `hook` is called before the candidate with that index.
pub(super) struct Lister {
    pub(super) candidates: Vec<Candidate>,
    pub(super) hook: Option<(usize, Arc<dyn Fn() + Send + Sync>)>,
}

impl Lister {
    pub(super) fn of(candidates: Vec<Candidate>) -> Self {
        Self { candidates, hook: None }
    }
}

pub(super) struct Listing {
    left: std::vec::IntoIter<Candidate>,
    given: usize,
    ended: bool,
    hook: Option<(usize, Arc<dyn Fn() + Send + Sync>)>,
    limits: BTreeMap<String, String>,
}

impl Scans for Lister {
    type Running = Listing;

    async fn start(&self, _: ScanRequest) -> Result<Listing, ScanNotStarted> {
        let (left, hook) = (self.candidates.clone().into_iter(), self.hook.clone());
        Ok(Listing { left, given: 0, ended: false, hook, limits: BTreeMap::new() })
    }
}

impl Candidates for Listing {
    async fn next(&mut self) -> Option<ScanMessage> {
        if let Some((at, hook)) = &self.hook
            && *at == self.given
        {
            hook();
        }
        if let Some(candidate) = self.left.next() {
            self.given += 1;
            return Some(ScanMessage::Candidate(candidate));
        }
        if std::mem::replace(&mut self.ended, true) {
            return None;
        }
        Some(ScanMessage::End(report(ScanEnd::Complete)))
    }

    fn limits(&self) -> (&BTreeMap<String, String>, &[String]) {
        (&self.limits, &[])
    }

    fn failure(&self) -> Option<&str> {
        None
    }

    async fn cancel(self) -> ScanReport {
        report(ScanEnd::Cancelled)
    }
}

fn report(end: ScanEnd) -> ScanReport {
    ScanReport {
        end,
        entries: 0,
        directories: 0,
        candidates: 0,
        candidate_bytes: 0,
        kept: BTreeMap::new(),
        errors: 0,
        wall: Duration::ZERO,
        cpu: Duration::ZERO,
        throttled: Duration::ZERO,
        read_bytes: 0,
        reads: 0,
        limits: BTreeMap::new(),
        missing_limits: Vec::new(),
    }
}

/// A real container: `/bin/busybox sh` whose root is an overlayfs that this process cannot see but through
/// `/proc/PID/root`. Needs root and busybox-static.
pub(super) struct Pod {
    first: Child,
    cgroup: PathBuf,
    directory: TempDir,
}

impl Pod {
    /// `image`: makes the image's layer. `mounts`: runs in the container's mount namespace, with its root's path.
    pub(super) fn start(image: impl FnOnce(&Path), mounts: impl FnOnce(&Path) + Send + 'static) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for name in ["lower/bin", "lower/tmp", "upper", "work", "merged"] {
            std::fs::create_dir_all(directory.path().join(name)).unwrap();
        }
        std::fs::copy("/bin/busybox", directory.path().join("lower/bin/busybox")).unwrap();
        image(&directory.path().join("lower"));
        let top = directory.path().to_path_buf();
        // A thread of its own: unshare changes the namespace of the thread that calls it, and its children's.
        let first = std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_FS).unwrap();
            let none: Option<&str> = None;
            mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
            let (lower, upper, work) = (top.join("lower"), top.join("upper"), top.join("work"));
            let options = format!(
                "lowerdir={},upperdir={},workdir={}",
                lower.display(),
                upper.display(),
                work.display()
            );
            let merged = top.join("merged");
            mount(Some("overlay"), &merged, Some("overlay"), MsFlags::empty(), Some(options.as_str()))
                .unwrap();
            mounts(&merged);
            start_inside(&merged)
        });
        let first = first.join().unwrap();
        // A cgroup of its own: a container's writable layer is in the reach of its cgroup's processes only.
        let name = format!("podsweep-test-{}-{}", std::process::id(), first.id());
        let cgroup = Cgroups::find().unwrap().directory(&name);
        std::fs::create_dir(&cgroup).unwrap();
        std::fs::write(cgroup.join("cgroup.procs"), first.id().to_string()).unwrap();
        Self { first, cgroup, directory }
    }

    pub(super) fn pid(&self) -> i32 {
        i32::try_from(self.first.id()).unwrap()
    }

    /// The path by which the host reaches a path of the container: a process of another namespace would.
    pub(super) fn inside(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.pid()))
    }

    pub(super) fn upper(&self) -> PathBuf {
        self.directory.path().join("upper")
    }

    pub(super) fn mount_id(&self, path: &str) -> u64 {
        let handle = std::fs::File::open(self.inside(path)).unwrap();
        super::identity::look_at(std::os::fd::AsFd::as_fd(&handle)).unwrap().mount
    }

    pub(super) fn container(&self) -> Container {
        let process = kernel::process(self.pid()).unwrap();
        let cgroups = kernel::read(format!("/proc/{}/cgroup", self.pid())).unwrap();
        let cgroup_path = cgroups.lines().find_map(|line| line.strip_prefix("0::")).unwrap().to_owned();
        let directory = Cgroups::find().unwrap().directory(&cgroup_path);
        let lower = self.directory.path().join("lower");
        Container {
            cgroup: CgroupId(std::fs::metadata(directory).unwrap().ino()),
            cgroup_path,
            nested: Vec::new(),
            runtime: Runtime::Other,
            id: "test".into(),
            names: Names::default(),
            first: process,
            layer: Some(Layer { upper: self.upper(), lower: vec![lower], mount_id: self.mount_id("/") }),
            volumes: Vec::new(),
            other_mounts: Vec::new(),
        }
    }

    pub(super) fn kill(&mut self) {
        self.first.kill().unwrap();
        self.first.wait().unwrap();
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        let _ = self.first.kill();
        let _ = self.first.wait();
        let _ = std::fs::remove_dir(&self.cgroup);
    }
}

// The line that it prints says that the chroot is done; exec keeps the pid.
fn start_inside(root: &Path) -> Child {
    let mut command = Command::new("chroot");
    command.arg(root).args(["/bin/busybox", "sh", "-c", "echo ready; exec /bin/busybox sleep 600"]);
    let mut child = command.stdout(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    child
}
