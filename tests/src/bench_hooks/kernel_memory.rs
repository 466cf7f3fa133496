//! Kernel memory that this process's eBPF maps and programs take, as the kernel accounts for it.

use std::fs;

use anyhow::{Context as _, Result};
use aya::programs::loaded_programs;
use serde::Serialize;

/// Of one tier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct KernelMemory {
    /// Which.
    pub tier: String,
    /// Bytes of maps (`memlock` in `/proc/self/fdinfo`).
    pub map_bytes: u64,
    /// Bytes of machine code that the kernel made of the programs.
    pub jit_bytes: u64,
    /// Programs.
    pub programs: u64,
}

impl KernelMemory {
    pub(super) fn of_this_process(tier: &str) -> Result<Self> {
        let mut found = Self { tier: tier.to_owned(), map_bytes: 0, jit_bytes: 0, programs: 0 };
        let mut ids = std::collections::BTreeSet::new();
        for entry in fs::read_dir("/proc/self/fdinfo").context("cannot list /proc/self/fdinfo")? {
            // The list's own descriptor is gone by now.
            let Ok(text) = fs::read_to_string(entry?.path()) else { continue };
            if let Some(program) = figure(&text, "prog_id:") {
                ids.insert(program);
            } else if figure(&text, "map_id:").is_some() {
                found.map_bytes += figure(&text, "memlock:").unwrap_or_default();
            }
        }
        for program in loaded_programs() {
            let program = program?;
            if ids.contains(&u64::from(program.id())) {
                found.jit_bytes += u64::from(program.size_jitted());
                found.programs += 1;
            }
        }
        Ok(found)
    }

    pub(super) fn less(mut self, before: &Self) -> Self {
        self.map_bytes = self.map_bytes.saturating_sub(before.map_bytes);
        self.jit_bytes = self.jit_bytes.saturating_sub(before.jit_bytes);
        self.programs = self.programs.saturating_sub(before.programs);
        self
    }
}

fn figure(fdinfo: &str, name: &str) -> Option<u64> {
    fdinfo.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::figure;

    #[test]
    fn figures_are_found_by_name() {
        let map = "pos:\t0\nmap_type:\t5\nmax_entries:\t4096\nmemlock:\t1234\nmap_id:\t7\n";
        assert_eq!(
            (figure(map, "memlock:"), figure(map, "map_id:"), figure(map, "prog_id:")),
            (Some(1234), Some(7), None)
        );
    }
}
