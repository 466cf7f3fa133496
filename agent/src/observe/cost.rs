//! What the programs cost and miss, as the kernel accounts for them.

use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use aya::Ebpf;

use crate::kernel::read;

/// Run time of one program. Zero unless the kernel's BPF statistics are on (`sysctl kernel.bpf_stats_enabled=1`,
/// which costs some 20 ns a run).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramCost {
    /// Name of the program.
    pub program: String,
    /// Times that it ran.
    pub runs: u64,
    /// Time that it took, all CPUs.
    pub run_time: Duration,
}

/// Of each program; one that the kernel does not tell about is left out.
pub(super) fn of(ebpf: &Ebpf, programs: &[&'static str]) -> Vec<ProgramCost> {
    programs
        .iter()
        .filter_map(|&name| {
            let info = ebpf.program(name)?.info().ok()?;
            Some(ProgramCost { program: name.to_owned(), runs: info.run_count(), run_time: info.run_time() })
        })
        .collect()
}

/// Runs that the kernel skipped because the same program was interrupted on the same CPU: each is at most one
/// operation not counted.
pub(super) fn recursion_misses(ebpf: &Ebpf, programs: &[&'static str]) -> u64 {
    programs
        .iter()
        .filter_map(|name| {
            let program = ebpf.program(name)?.fd().ok()?.as_fd().as_raw_fd();
            misses(&read(format!("/proc/self/fdinfo/{program}")).ok()?)
        })
        .sum()
}

fn misses(fdinfo: &str) -> Option<u64> {
    fdinfo.lines().find_map(|line| line.strip_prefix("recursion_misses:")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misses_are_read_from_fdinfo() {
        let fdinfo = "pos:\t0\nprog_type:\t26\nrun_time_ns:\t7\nrun_cnt:\t9\nrecursion_misses:\t42\n";
        assert_eq!(misses(fdinfo), Some(42));
        assert_eq!(misses("pos:\t0\n"), None);
    }
}
