//! What a scan's cgroup has used, from whichever hierarchy counts it.
//!
//! In: the cgroup's directories. Out: figures; zero where this host does not count them. Must never: write.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::device::Disk;
use crate::kernel;

/// Figures of one scan.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Usage {
    /// CPU time. `cpu.stat` of cgroup2 counts it with or without the cpu controller.
    pub(super) cpu: Duration,
    /// Time held back by the CPU quota.
    pub(super) throttled: Duration,
    /// Bytes read from devices.
    pub(super) read_bytes: u64,
    /// Reads of devices.
    pub(super) reads: u64,
    /// Processes killed for want of memory.
    pub(super) oom_kills: u64,
}

/// Reads all of them. The same directory never holds both forms of a file.
pub(super) fn read(directories: &[PathBuf], disks: &BTreeSet<Disk>) -> Usage {
    let mut usage = Usage::default();
    for directory in directories {
        let cpu = text(directory, "cpu.stat");
        usage.cpu += Duration::from_micros(keyed(&cpu, "usage_usec"));
        usage.throttled += Duration::from_micros(keyed(&cpu, "throttled_usec"));
        usage.throttled += Duration::from_nanos(keyed(&cpu, "throttled_time"));
        let io = text(directory, "io.stat");
        usage.read_bytes += v2_sum(&io, disks, "rbytes=");
        usage.reads += v2_sum(&io, disks, "rios=");
        usage.read_bytes += v1_reads(&text(directory, "blkio.throttle.io_service_bytes"), disks);
        usage.reads += v1_reads(&text(directory, "blkio.throttle.io_serviced"), disks);
        usage.oom_kills += keyed(&text(directory, "memory.events"), "oom_kill");
        usage.oom_kills += keyed(&text(directory, "memory.oom_control"), "oom_kill");
    }
    usage
}

/// Empty where this hierarchy has no such file.
fn text(directory: &Path, file: &str) -> String {
    kernel::read(directory.join(file)).unwrap_or_default()
}

/// `KEY VALUE` lines.
fn keyed(text: &str, key: &str) -> u64 {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(name, _)| *name == key)
        .and_then(|(_, value)| value.trim().parse().ok())
        .unwrap_or_default()
}

/// `MAJ:MIN rbytes=N wbytes=N …`, one line per device.
fn v2_sum(text: &str, disks: &BTreeSet<Disk>, key: &str) -> u64 {
    of_disks(text, disks)
        .flat_map(str::split_whitespace)
        .filter_map(|word| word.strip_prefix(key)?.parse::<u64>().ok())
        .sum()
}

/// `MAJ:MIN Read N`, one line per device and direction.
fn v1_reads(text: &str, disks: &BTreeSet<Disk>) -> u64 {
    of_disks(text, disks)
        .filter_map(|figures| figures.strip_prefix("Read ")?.trim().parse::<u64>().ok())
        .sum()
}

/// The figures of the disks that the limits are for. What lies below one (the file of a loop device, the disks of a
/// logical volume) is told of as well, and would be counted twice.
fn of_disks<'t>(text: &'t str, disks: &BTreeSet<Disk>) -> impl Iterator<Item = &'t str> {
    let names: Vec<_> = disks.iter().map(ToString::to_string).collect();
    let figures = text.lines().filter_map(|line| line.split_once(' '));
    figures.filter(move |(device, _)| names.iter().any(|name| name == device)).map(|(_, figures)| figures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read() {
        let disks = BTreeSet::from([Disk { major: 7, minor: 0 }, Disk { major: 8, minor: 1 }]);
        // 8:0 holds the loop device's file.
        let io = "7:0 rbytes=10 wbytes=5 rios=1\n8:0 rbytes=10 rios=1\n8:1 rbytes=7 wbytes=0 rios=2\n";
        assert_eq!((v2_sum(io, &disks, "rbytes="), v2_sum(io, &disks, "rios=")), (17, 3));
        assert_eq!(v1_reads("7:0 Read 10\n7:0 Write 3\n8:0 Read 10\n8:1 Read 7\nTotal 30\n", &disks), 17);
        assert_eq!(keyed("usage_usec 12\nuser_usec 9\n", "user_usec"), 9);
        assert_eq!(keyed("oom_kill_disable 0\noom_kill 2\n", "oom_kill"), 2);
    }
}
