//! The most memory that an agent and the processes it starts have had: what the kernel remembers of each (`VmHWM`),
//! read while they live.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, sleep};
use std::time::Duration;

use anyhow::{Context as _, Result};

/// A process of podsweep that ends between two looks is a scan of nothing.
const PAUSE: Duration = Duration::from_millis(10);

/// Peak in KiB by what the process is: `agent`, or the hidden subcommand that it runs.
pub type Peaks = BTreeMap<String, u64>;

/// What written to `/proc/PID/clear_refs` makes the kernel forget a process's peak (proc_pid_clear_refs(5)).
const FORGET_PEAK: &str = "5";

/// Does `work`, and says what the agent of this pid and its children came to meanwhile.
pub fn peaks_during<T>(agent: i32, work: impl FnOnce() -> T) -> Result<(T, Peaks)> {
    // Its start, which reads all types of the kernel, would hide what a sweep needs.
    let file = format!("/proc/{agent}/clear_refs");
    fs::write(&file, FORGET_PEAK).with_context(|| format!("cannot write {file}"))?;
    let over = AtomicBool::new(false);
    Ok(thread::scope(|scope| {
        let watcher = scope.spawn(|| watch(agent, &over));
        let done = work();
        over.store(true, Ordering::Relaxed);
        (done, watcher.join().unwrap_or_default())
    }))
}

fn watch(agent: i32, over: &AtomicBool) -> Peaks {
    let mut peaks = Peaks::new();
    while !over.load(Ordering::Relaxed) {
        note(&mut peaks, "agent".into(), agent);
        for child in children(agent) {
            if let Some(what) = subcommand(child) {
                note(&mut peaks, what, child);
            }
        }
        sleep(PAUSE);
    }
    peaks
}

fn note(peaks: &mut Peaks, what: String, pid: i32) {
    if let Some(peak) = peak(pid) {
        let known = peaks.entry(what).or_default();
        *known = peak.max(*known);
    }
}

fn peak(pid: i32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Of every thread: the kernel lists children with the thread that started them.
fn children(agent: i32) -> Vec<i32> {
    let threads = fs::read_dir(format!("/proc/{agent}/task")).into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .collect()
}

fn subcommand(pid: i32) -> Option<String> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let word = line.split(|byte| *byte == 0).nth(1)?;
    Some(String::from_utf8_lossy(word).into_owned())
}
