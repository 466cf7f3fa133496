//! What a process has used: CPU time and memory, as the kernel accounts for them.
//!
//! In: a pid. Out: [`Cpu`] and [`Memory`]. Must never: start or end anything.

use std::fs;

use anyhow::{Context as _, Result};
use serde::Serialize;

/// `/proc` counts CPU time in these on every architecture that podsweep builds on (`USER_HZ`, proc_pid_stat(5)).
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU time so far, in ticks (`utime`, `stime` of `/proc/PID/stat`): all threads, also those that have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cpu {
    user: u64,
    system: u64,
}

/// CPU of a stretch of time, percent of one core.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct CpuPercent {
    /// Both.
    pub(super) total: f64,
    pub(super) user: f64,
    pub(super) system: f64,
}

/// Memory now, KiB, from `/proc/PID/status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Memory {
    /// `VmRSS`.
    pub(super) rss: u64,
    /// `VmHWM`: the highest that it was.
    pub(super) peak: u64,
    /// `RssAnon`: its own.
    pub(super) anon: u64,
    /// `RssFile`: of its program file, which the kernel can drop at any time.
    pub(super) file: u64,
}

impl Cpu {
    pub(super) fn of(pid: i32) -> Result<Self> {
        let path = format!("/proc/{pid}/stat");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        Self::parse(&text).with_context(|| format!("{path} is not as proc_pid_stat(5) says"))
    }

    fn parse(stat: &str) -> Option<Self> {
        // The name before it may hold spaces and brackets. `utime` is field 14, the one after the name field 3.
        let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(11);
        let mut next = || fields.next()?.parse().ok();
        Some(Self { user: next()?, system: next()? })
    }

    /// Since an earlier reading, `seconds` ago.
    pub(super) fn percent_since(self, earlier: Self, seconds: f64) -> CpuPercent {
        let percent = |ticks: u64| hundredths(ticks as f64 / TICKS_PER_SECOND / seconds * 100.0);
        let user = self.user.saturating_sub(earlier.user);
        let system = self.system.saturating_sub(earlier.system);
        CpuPercent { total: percent(user + system), user: percent(user), system: percent(system) }
    }
}

impl Memory {
    pub(super) fn of(pid: i32) -> Result<Self> {
        let path = format!("/proc/{pid}/status");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        Self::parse(&text).with_context(|| format!("{path} is not as proc_pid_status(5) says"))
    }

    fn parse(status: &str) -> Option<Self> {
        let kib = |key: &str| {
            let value = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
            value.trim().strip_suffix(" kB")?.parse().ok()
        };
        Some(Self { rss: kib("VmRSS")?, peak: kib("VmHWM")?, anon: kib("RssAnon")?, file: kib("RssFile")? })
    }
}

/// The rest is noise.
pub(super) fn hundredths(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_process_does_not_shift_the_fields() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 10 20 30 40 250 150 9 9 20 0 3 0 100 1 1 1";
        let cpu = Cpu::parse(stat).unwrap();
        assert_eq!(cpu, Cpu { user: 250, system: 150 });
        let before = Cpu { user: 150, system: 100 };
        assert_eq!(cpu.percent_since(before, 100.0), CpuPercent { total: 1.5, user: 1.0, system: 0.5 });
        assert_eq!(Cpu::parse("7 (a) S 1"), None);
    }

    #[test]
    fn the_memory_of_this_process_adds_up() {
        let memory = Memory::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(memory.anon > 0 && memory.file > 0, "{memory:?}");
        assert!(memory.peak >= memory.anon + memory.file, "{memory:?}");
        assert_eq!(Memory::parse("VmRSS:\t  12 kB\n"), None);
    }
}
