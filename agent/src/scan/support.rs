//! Which limits this host can give, for `podsweep doctor`: found by trying.
//!
//! In: nothing. Out: one line per limit. Must never: leave a cgroup behind.

use std::path::PathBuf;

use super::ScanRoot;
use super::cgroup::{CgroupError, ScanCgroup};
use crate::inventory::VolumeKind;
use crate::kernel::Cgroups;
use crate::policy::ScanSettings;

/// One limit on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitSupport {
    /// `cpu`, `io`, `memory` or `pids`.
    pub limit: &'static str,
    /// Kernel files that hold it, with the value that a trial read back; empty if it cannot be had.
    pub files: Vec<(String, String)>,
    /// Whether these files are cgroup2's.
    pub v2: bool,
    /// Why it cannot be had.
    pub problem: Option<String>,
}

/// Prefixes of a limit's kernel files in cgroup2 and in v1.
const FILES: [(&str, &str, &str); 4] = [
    ("cpu", "cpu.max", "cpu.cfs_"),
    ("io", "io.max", "blkio."),
    ("memory", "memory.max", "memory.limit_"),
    ("pids", "pids.max", "pids.max"),
];

/// Tries every limit, with the defaults of a policy and the disk that holds `/var/lib` (where runtimes keep writable
/// layers), in a cgroup below `parent` that is removed again. Blocks.
pub fn available_limits(parent: &str) -> Vec<LimitSupport> {
    match trial(parent) {
        Ok(cgroup) => {
            let found = FILES.iter().map(|&(limit, v2, v1)| support(&cgroup, limit, v2, v1)).collect();
            if let Err(error) = cgroup.remove() {
                tracing::warn!(%error, "the trial's cgroup stays behind");
            }
            found
        }
        Err(error) => FILES
            .iter()
            .map(|&(limit, ..)| LimitSupport {
                limit,
                files: Vec::new(),
                v2: false,
                problem: Some(error.to_string()),
            })
            .collect(),
    }
}

fn trial(parent: &str) -> Result<ScanCgroup, CgroupError> {
    let root = ScanRoot {
        kind: VolumeKind::WritableLayer,
        host: PathBuf::from("/var/lib"),
        seen_at: PathBuf::from("/"),
        lower: Vec::new(),
        mounts: Vec::new(),
    };
    ScanCgroup::make(parent, &Cgroups::find()?, &ScanSettings::default(), &[root])
}

fn support(cgroup: &ScanCgroup, limit: &'static str, v2: &str, v1: &str) -> LimitSupport {
    let files: Vec<_> = cgroup
        .limits()
        .iter()
        .filter(|(file, _)| *file == v2 || file.starts_with(v1))
        .map(|(file, value)| (file.clone(), value.clone()))
        .collect();
    LimitSupport {
        limit,
        v2: cgroup.is_v2(limit),
        files,
        problem: cgroup
            .missing()
            .iter()
            .find_map(|text| Some(text.strip_prefix(limit)?.strip_prefix(": ")?.to_owned())),
    }
}
