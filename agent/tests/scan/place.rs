//! What the tests share: a slice of their own, requests, and running a scan to its end.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use podsweep::inventory::VolumeKind;
use podsweep::kernel::Cgroups;
use podsweep::policy::{Action, FileType, JunkRule, ScanSettings};
use podsweep::scan::{
    self, Candidate, RunningScan, ScanMessage, ScanPlace, ScanReport, ScanRequest, ScanRoot,
};
use podsweep::units::{Bytes, Percent, Span};

/// A slice that no other test uses, gone again with the value.
pub(crate) struct Slice {
    pub(crate) place: ScanPlace,
}

impl Slice {
    pub(crate) fn new() -> Self {
        static SLICES: AtomicU32 = AtomicU32::new(0);
        let number = SLICES.fetch_add(1, Ordering::Relaxed);
        Self {
            place: ScanPlace {
                worker: PathBuf::from(env!("CARGO_BIN_EXE_podsweep")),
                cgroup_parent: format!("podsweep-test-{}-{number}.slice", std::process::id()),
                cgroups: Cgroups::find().unwrap(),
            },
        }
    }

    /// The slice's directory in every hierarchy.
    pub(crate) fn directories(&self) -> Vec<PathBuf> {
        let Cgroups { unified, v1 } = &self.place.cgroups;
        std::iter::once(unified)
            .chain(v1.values())
            .map(|mount| mount.join(&self.place.cgroup_parent))
            .collect()
    }

    /// Scan cgroups in any hierarchy.
    pub(crate) fn scans(&self) -> Vec<PathBuf> {
        let directories =
            self.directories().into_iter().filter_map(|slice| std::fs::read_dir(slice).ok()).flatten();
        directories.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect()
    }
}

impl Drop for Slice {
    fn drop(&mut self) {
        for directory in self.scans().into_iter().chain(self.directories()) {
            let _ = std::fs::remove_dir(directory);
        }
    }
}

pub(crate) fn root(host: &Path) -> ScanRoot {
    ScanRoot {
        kind: VolumeKind::WritableLayer,
        host: host.to_path_buf(),
        seen_at: PathBuf::from("/"),
        lower: vec![],
        mounts: vec![],
    }
}

pub(crate) fn rule(paths: &[&str]) -> JunkRule {
    JunkRule {
        name: "rule".into(),
        paths: paths.iter().map(|&path| path.to_owned()).collect(),
        exclude: vec![],
        volumes: vec![VolumeKind::WritableLayer],
        types: vec![FileType::File],
        older_than: Span::from_secs(60),
        min_size: Bytes(0),
        keep_newest: 0,
        owners: vec![],
        empty_directories: false,
        action: Action::Delete,
        i_know_this_is_broad: false,
    }
}

/// Judged an hour from now, when every file that a test has just made is old. Fast, but limited in every way.
pub(crate) fn request(host: &Path, paths: &[&str]) -> ScanRequest {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    ScanRequest {
        roots: vec![root(host)],
        junk: vec![rule(paths)],
        never: vec![],
        settings: ScanSettings {
            cpu: Percent(100.0),
            read_bytes_per_second: Bytes(1 << 30),
            read_iops: 100_000,
            ..ScanSettings::default()
        },
        now: (i64::try_from(now).unwrap() + 3600, 0),
    }
}

pub(crate) struct Found {
    pub(crate) candidates: Vec<Candidate>,
    pub(crate) report: ScanReport,
}

impl Found {
    pub(crate) fn paths(&self) -> BTreeSet<&[u8]> {
        self.candidates.iter().map(|candidate| candidate.path.as_slice()).collect()
    }

    pub(crate) fn kept(&self, reason: scan::Kept) -> u64 {
        self.report.kept.get(&reason).copied().unwrap_or_default()
    }
}

/// A set of paths to compare [`Found::paths`] with.
pub(crate) fn set<'p>(paths: &[&'p str]) -> BTreeSet<&'p [u8]> {
    paths.iter().map(|path| path.as_bytes()).collect()
}

pub(crate) async fn scan(request: ScanRequest) -> Found {
    let slice = Slice::new();
    let found = to_end(scan::start(request, &slice.place).await.unwrap()).await;
    assert!(!slice.directories().iter().any(|directory| directory.exists()), "a cgroup is left");
    found
}

pub(crate) async fn to_end(mut scan: RunningScan) -> Found {
    let mut candidates = Vec::new();
    while let Some(message) = scan.next().await {
        match message {
            ScanMessage::Candidate(candidate) => candidates.push(candidate),
            ScanMessage::Progress { .. } => {}
            ScanMessage::End(report) => {
                assert_eq!(scan.next().await, None, "something after the end");
                return Found { candidates, report };
            }
        }
    }
    panic!("no report");
}

/// Waits until something is so, a minute at most: what takes milliseconds here takes seconds in a guest without KVM.
pub(crate) async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_mins(1), "not within a minute: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Makes `count` empty files `directory/f0…`.
pub(crate) fn fill(directory: &Path, count: usize) {
    std::fs::create_dir_all(directory).unwrap();
    for number in 0..count {
        std::fs::File::create(directory.join(format!("f{number}"))).unwrap();
    }
}

/// Files that [`fill_beyond_buffers`] makes.
pub(crate) const MANY: usize = 1_000;

/// Makes [`MANY`] empty files whose candidates, two kilobytes of path each, are more than everything between walk and
/// receiver holds (the worker's buffer, the pipe, the agent's buffer and channel: a third of a megabyte, or 1.3 where
/// pages are of 64 KiB). So a scan that nobody reads stays in mid-walk.
pub(crate) fn fill_beyond_buffers(directory: &Path) {
    const LONGEST_NAME: usize = 255;
    let levels = std::iter::repeat_n("d".repeat(LONGEST_NAME), 8);
    fill(&levels.fold(directory.to_path_buf(), |above, name| above.join(name)), MANY);
}

/// Whether the process waits in a write to its stdout.
pub(crate) fn is_held_back(pid: i32) -> bool {
    let waits_in = std::fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default();
    waits_in.starts_with(&format!("{} 0x1 ", nix::libc::SYS_write))
}

pub(crate) fn is_gone(pid: i32) -> bool {
    !Path::new("/proc").join(pid.to_string()).exists()
}

/// A file and the directories above it.
pub(crate) fn touch(path: impl AsRef<Path>) {
    let path = path.as_ref();
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, b"content").unwrap();
}

/// The bytes of a path.
pub(crate) fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}
