//! The limits of a scan, one function each: written through cgroups-rs's controllers, then read back from the kernel
//! file that holds them.
//!
//! In: a directory of our own in the hierarchy that has the controller, and what the policy allows. Out: name and
//! value of each kernel file as read back. Must never: write outside that directory.
//!
//! Of cgroups-rs the controllers are used, not its `Cgroup`: that makes a child in every v1 hierarchy there is, looks
//! for cgroup2 at `/sys/fs/cgroup` only, and so never sees it on a hybrid host; and it drops errors of the I/O
//! limits.

use std::path::{Path, PathBuf};

use cgroups_rs::fs::MaxValue;
use cgroups_rs::fs::blkio::BlkIoController;
use cgroups_rs::fs::cpu::CpuController;
use cgroups_rs::fs::memory::{MemController, SetMemory};
use cgroups_rs::fs::pid::PidController;

use super::device::Disk;
use crate::kernel::{self, KernelError};
use crate::units::{Bytes, Percent};

/// The kernel's default bandwidth period, microseconds (sched-bwc.rst).
const PERIOD_US: u32 = 100_000;
/// Its longest, for shares of which [`PERIOD_US`] holds less than [`MIN_QUOTA_US`].
const LONG_PERIOD_US: u32 = 1_000_000;
/// Its smallest quota.
const MIN_QUOTA_US: u32 = 1_000;
/// Processes in the scan's cgroup: the worker. It starts none.
const PROCESSES: i64 = 1;

/// The kernel rounds memory limits down to whole pages; 64 KiB are the largest of any architecture.
const LARGEST_PAGE: u64 = 64 * 1024;

/// A limit that is not in force.
#[derive(Debug, thiserror::Error)]
pub enum LimitError {
    /// The write was refused.
    #[error("{file}: {source}")]
    Write {
        /// Kernel file.
        file: String,
        /// As cgroups-rs tells it.
        source: cgroups_rs::fs::error::Error,
    },
    /// Reading back failed.
    #[error(transparent)]
    Read(#[from] KernelError),
    /// Written without an error, and yet the file says something else.
    #[error("{path}: asked for {asked:?}, reads back {found:?}")]
    ReadBack {
        /// Kernel file.
        path: PathBuf,
        /// What was asked for.
        asked: String,
        /// What is there.
        found: String,
    },
}

/// Where a controller's files for this scan are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Home {
    pub(super) directory: PathBuf,
    pub(super) v2: bool,
}

/// Kernel file and value, as read back.
pub(super) type InForce = Vec<(String, String)>;

impl Home {
    fn path(&self, file: &str) -> PathBuf {
        self.directory.join(file)
    }

    fn pick<'f>(&self, v2: &'f str, v1: &'f str) -> &'f str {
        if self.v2 { v2 } else { v1 }
    }

    fn read_back(&self, file: &str, asked: &str, holds: impl Fn(&str) -> bool) -> Result<String, LimitError> {
        let path = self.path(file);
        let found = kernel::read(&path)?.trim().to_owned();
        if holds(&found) { Ok(found) } else { Err(LimitError::ReadBack { path, asked: asked.into(), found }) }
    }
}

/// CPU time: quota per period.
pub(super) fn cpu(home: &Home, share: Percent) -> Result<InForce, LimitError> {
    let (quota, period) = bandwidth(share);
    CpuController::new(home.directory.clone(), PathBuf::new(), home.v2)
        .set_cfs_quota_and_period(Some(i64::from(quota)), Some(u64::from(period)))
        .map_err(|source| LimitError::Write {
            file: home.pick("cpu.max", "cpu.cfs_quota_us").into(),
            source,
        })?;
    let expected = if home.v2 {
        vec![("cpu.max", format!("{quota} {period}"))]
    } else {
        vec![("cpu.cfs_quota_us", quota.to_string()), ("cpu.cfs_period_us", period.to_string())]
    };
    expected
        .into_iter()
        .map(|(file, asked)| Ok((file.to_owned(), home.read_back(file, &asked, |found| found == asked)?)))
        .collect()
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the type just before")]
fn bandwidth(share: Percent) -> (u32, u32) {
    let quota = |period: u32| (share.0 / 100.0 * f64::from(period)).clamp(0.0, f64::from(u32::MAX)) as u32;
    match quota(PERIOD_US) {
        enough if enough >= MIN_QUOTA_US => (enough, PERIOD_US),
        _ => (quota(LONG_PERIOD_US).max(MIN_QUOTA_US), LONG_PERIOD_US),
    }
}

/// Reads of one disk: bytes and operations a second.
pub(super) fn reads(home: &Home, disk: Disk, bytes: Bytes, operations: u64) -> Result<InForce, LimitError> {
    let controller = BlkIoController::new(home.directory.clone(), PathBuf::new(), home.v2);
    let (major, minor) = (u64::from(disk.major), u64::from(disk.minor));
    let bytes_file = home.pick("io.max", "blkio.throttle.read_bps_device");
    controller
        .throttle_read_bps_for_device(major, minor, bytes.0)
        .map_err(|source| LimitError::Write { file: bytes_file.into(), source })?;
    let operations_file = home.pick("io.max", "blkio.throttle.read_iops_device");
    controller
        .throttle_read_iops_for_device(major, minor, operations)
        .map_err(|source| LimitError::Write { file: operations_file.into(), source })?;
    let expected = if home.v2 {
        vec![("io.max", vec![format!("rbps={}", bytes.0), format!("riops={operations}")])]
    } else {
        vec![(bytes_file, vec![bytes.0.to_string()]), (operations_file, vec![operations.to_string()])]
    };
    expected
        .into_iter()
        .map(|(file, words)| {
            let asked = format!("{disk} {}", words.join(" "));
            let found = home.read_back(file, &asked, |found| device_line_has(found, disk, &words))?;
            Ok((file.to_owned(), found))
        })
        .collect()
}

/// Both `MAJ:MIN VALUE` (v1) and `MAJ:MIN rbps=VALUE wbps=max …` (v2), one line per device.
fn device_line_has(text: &str, disk: Disk, words: &[String]) -> bool {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .filter(|(device, _)| *device == disk.to_string())
        .any(|(_, rest)| words.iter().all(|word| rest.split(' ').any(|found| found == word)))
}

/// Memory, with the page cache, dentries and inodes that the walk drags in.
pub(super) fn memory(home: &Home, bytes: Bytes) -> Result<InForce, LimitError> {
    let file = home.pick("memory.max", "memory.limit_in_bytes");
    MemController::new(home.directory.clone(), PathBuf::new(), home.v2)
        .set_limit(i64::try_from(bytes.0).unwrap_or(i64::MAX))
        .map_err(|source| LimitError::Write { file: file.into(), source })?;
    let found = home.read_back(file, &bytes.0.to_string(), |found| rounded_down(found, bytes.0))?;
    let mut in_force = vec![(file.to_owned(), found)];
    in_force.extend(high(home, bytes)?);
    in_force.extend(swap(home, bytes)?);
    Ok(in_force)
}

/// An eighth below the limit, cgroup2 begins to have caches given back and slows the process down for it. Where the
/// limit is met without that, a walk that fills it faster than dentries are given back may be ended as out of memory
/// (a worker died on 6.12 under 16 MiB, once of two times; that this was why is inferred). v1 has nothing of the kind.
fn high(home: &Home, memory: Bytes) -> Result<Option<(String, String)>, LimitError> {
    let file = "memory.high";
    if !home.v2 || !home.path(file).exists() {
        return Ok(None);
    }
    let high = memory.0 - memory.0 / 8;
    let wanted = SetMemory { high: Some(maximum(high)), ..SetMemory::default() };
    MemController::new(home.directory.clone(), PathBuf::new(), true)
        .set_mem(wanted)
        .map_err(|source| LimitError::Write { file: file.into(), source })?;
    let found = home.read_back(file, &high.to_string(), |found| rounded_down(found, high))?;
    Ok(Some((file.to_owned(), found)))
}

fn maximum(bytes: u64) -> MaxValue {
    i64::try_from(bytes).map_or(MaxValue::Max, MaxValue::Value)
}

/// No swap: a scan that runs out of memory must end, not push others' pages out. v1 limits memory and swap together.
/// A kernel that does not account for swap has no such file, and then nothing is limited.
fn swap(home: &Home, memory: Bytes) -> Result<Option<(String, String)>, LimitError> {
    let (file, value) =
        if home.v2 { ("memory.swap.max", 0) } else { ("memory.memsw.limit_in_bytes", memory.0) };
    if !home.path(file).exists() {
        return Ok(None);
    }
    MemController::new(home.directory.clone(), PathBuf::new(), home.v2)
        .set_memswap_limit(i64::try_from(value).unwrap_or(i64::MAX))
        .map_err(|source| LimitError::Write { file: file.into(), source })?;
    let found = home.read_back(file, &value.to_string(), |found| rounded_down(found, value))?;
    Ok(Some((file.to_owned(), found)))
}

fn rounded_down(found: &str, asked: u64) -> bool {
    found.parse().is_ok_and(|found: u64| found <= asked && asked - found < LARGEST_PAGE)
}

/// Processes.
pub(super) fn processes(home: &Home) -> Result<InForce, LimitError> {
    let file = "pids.max";
    PidController::new(home.directory.clone(), PathBuf::new(), home.v2)
        .set_pid_max(MaxValue::Value(PROCESSES))
        .map_err(|source| LimitError::Write { file: file.into(), source })?;
    let asked = PROCESSES.to_string();
    Ok(vec![(file.to_owned(), home.read_back(file, &asked, |found| found == asked)?)])
}

/// Asks cgroup2 to hand `controllers` on to the children of `parent`; whether it did shows when a limit is written.
pub(super) fn hand_on(parent: &Path, controllers: &[&str]) -> std::io::Result<()> {
    let file = parent.join("cgroup.subtree_control");
    let on: Vec<_> = std::fs::read_to_string(&file)?.split_whitespace().map(str::to_owned).collect();
    for controller in controllers.iter().filter(|controller| !on.iter().any(|name| name == *controller)) {
        std::fs::write(&file, format!("+{controller}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_becomes_a_quota_that_the_kernel_takes() {
        assert_eq!(bandwidth(Percent(20.0)), (20_000, 100_000));
        assert_eq!(bandwidth(Percent(250.0)), (250_000, 100_000));
        assert_eq!(bandwidth(Percent(0.5)), (5_000, 1_000_000));
        assert_eq!(bandwidth(Percent(0.0)), (1_000, 1_000_000));
    }

    #[test]
    fn a_limit_of_another_disk_is_not_ours() {
        let disk = Disk { major: 8, minor: 0 };
        let words = ["rbps=5".to_owned(), "riops=7".to_owned()];
        assert!(device_line_has("8:16 rbps=1\n8:0 rbps=5 wbps=max riops=7 wiops=max", disk, &words));
        assert!(!device_line_has("8:16 rbps=5 riops=7", disk, &words));
        assert!(!device_line_has("8:0 rbps=50 riops=7", disk, &words));
    }

    fn home_with(files: &[(&str, &str)]) -> (tempfile::TempDir, Home) {
        let directory = tempfile::tempdir().unwrap();
        for (file, content) in files {
            std::fs::write(directory.path().join(file), content).unwrap();
        }
        let home = Home { directory: directory.path().to_path_buf(), v2: true };
        (directory, home)
    }

    #[test]
    fn cgroup2_files_get_cgroup2_text() {
        let (_directory, home) = home_with(&[("cpu.max", "max 100000\n")]);
        assert_eq!(cpu(&home, Percent(20.0)).unwrap(), [("cpu.max".into(), "20000 100000".into())]);
        assert_eq!(memory(&home, Bytes(64 << 20)).unwrap(), [("memory.max".into(), "67108864".into())]);
        assert_eq!(processes(&home).unwrap(), [("pids.max".into(), "1".into())]);
    }

    #[test]
    fn caches_are_given_back_before_the_limit_is_met() {
        let (_directory, home) = home_with(&[("memory.high", "max\n")]);
        let limits = memory(&home, Bytes(64 << 20)).unwrap();
        assert_eq!(limits[1..], [("memory.high".into(), "58720256".into())]);
    }

    #[test]
    fn a_kernel_that_accounts_for_swap_gives_none() {
        let (_directory, home) = home_with(&[("memory.swap.max", "max\n")]);
        let limits = memory(&home, Bytes(64 << 20)).unwrap();
        assert_eq!(limits[1..], [("memory.swap.max".into(), "0".into())]);
    }

    #[test]
    fn a_write_that_changes_nothing_is_not_believed() {
        let (directory, home) = home_with(&[]);
        std::os::unix::fs::symlink("/dev/null", directory.path().join("memory.max")).unwrap();
        assert!(matches!(memory(&home, Bytes(1 << 20)), Err(LimitError::ReadBack { .. })));
    }

    #[test]
    fn controllers_that_are_handed_on_are_not_asked_for_again() {
        let (directory, _home) = home_with(&[("cgroup.subtree_control", "cpu memory\n")]);
        hand_on(directory.path(), &["cpu", "memory"]).unwrap();
        let file = directory.path().join("cgroup.subtree_control");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "cpu memory\n");
        hand_on(directory.path(), &["cpu", "io"]).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "+io");
    }
}
