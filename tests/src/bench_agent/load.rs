//! One container of the load: a process in a cgroup, on an overlayfs root and with a tmpfs of its own, that makes and
//! removes empty files at the pace of its [`Order`].
//!
//! In: the order, one line of JSON on standard input. Out: what was really done ([`Carried`]), one line. Must never:
//! outlive the benchmark; make up for a stall by a storm, which would be a burst that nobody ordered.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result};
use nix::mount::{MsFlags, mount};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use super::clock;
use super::schedule::Order;
use crate::isolation::private_mounts;

/// What a wake makes at most: what these microseconds ask for.
const LONGEST_SPAN: u64 = 200_000;

/// A line of a container.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Said {
    /// It is a container now.
    Ready,
    /// It has done its order.
    Done(Carried),
    /// Something failed: the run is void.
    Failed(String),
}

/// What a container has really done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Carried {
    /// Files made, in all.
    pub(super) created: u64,
    /// And in each phase.
    pub(super) by_phase: [u64; 3],
    /// As ordered.
    pub(super) bursts: Vec<Burst>,
}

/// One burst, as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Burst {
    /// When it really began, microseconds since 1970.
    pub(super) began: u64,
    /// The longest that passed between two wakes in it.
    pub(super) longest_gap: u64,
}

/// Folders that a container needs: made from outside, or they would count as its own creations.
pub(super) fn prepare(folder: &Path) -> Result<()> {
    for name in ["lower/tmp", "upper", "work", "root"] {
        let path = folder.join(name);
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
    }
    Ok(())
}

/// Is a container until its standard input ends.
pub fn serve(folder: &Path, cgroup: &Path) -> Result<()> {
    if let Err(error) = work(folder, cgroup) {
        say(&Said::Failed(format!("{error:#}")))?;
    }
    // The container stays until nobody looks at it any more.
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

fn work(folder: &Path, cgroup: &Path) -> Result<()> {
    set_pdeathsig(Signal::SIGKILL)?;
    let procs = cgroup.join("cgroup.procs");
    fs::write(&procs, "0").with_context(|| format!("cannot write {}", procs.display()))?;
    enter(folder)?;
    say(&Said::Ready)?;
    let mut line = String::new();
    io::stdin().read_line(&mut line)?;
    if line.is_empty() {
        return Ok(()); // the benchmark ended before it began
    }
    let order: Order = serde_json::from_str(&line).context("an order that is none")?;
    say(&Said::Done(carry_out(&order)?))?;
    Ok(())
}

/// The root and the mounts of a container, as far as the agent looks at them.
fn enter(folder: &Path) -> Result<()> {
    private_mounts()?;
    let [lower, upper, work, root] = ["lower", "upper", "work", "root"].map(|name| folder.join(name));
    let options =
        format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display());
    mount(Some("overlay"), &root, Some("overlay"), MsFlags::empty(), Some(options.as_str()))
        .context("cannot mount an overlayfs")?;
    let files = root.join("tmp");
    mount(Some("tmpfs"), &files, Some("tmpfs"), MsFlags::empty(), Some("size=1m"))
        .context("cannot mount a tmpfs")?;
    std::os::unix::fs::chroot(&root).context("cannot change the root")?;
    std::env::set_current_dir("/tmp")?;
    Ok(())
}

fn carry_out(order: &Order) -> io::Result<Carried> {
    let mut carried = Carried { created: 0, by_phase: [0; 3], bursts: Vec::new() };
    let (mut last, mut credit) = (clock::now(), 0);
    while last < order.end() {
        clock::sleep_until(order.next_wake(last));
        let now = clock::now();
        let files = due(&mut credit, order.rate(last), now.saturating_sub(last));
        make_and_remove(carried.created, files)?;
        carried.note(order, last, now, files);
        last = now.max(last);
    }
    Ok(carried)
}

/// Whole files to make after `span` at `rate`; what is left of a file stays in `credit` (millionths).
fn due(credit: &mut u64, rate: u32, span: u64) -> u64 {
    const FILE: u64 = 1_000_000;
    *credit += u64::from(rate) * span.min(LONGEST_SPAN);
    let files = *credit / FILE;
    *credit %= FILE;
    files
}

// A name of its own for each: a watcher may merge events that are the same.
fn make_and_remove(first: u64, files: u64) -> io::Result<()> {
    for number in first..first + files {
        let name = number.to_string();
        drop(File::create(&name)?);
        fs::remove_file(&name)?;
    }
    Ok(())
}

fn say(said: &Said) -> io::Result<()> {
    let mut line = serde_json::to_string(said)?;
    line.push('\n');
    io::stdout().lock().write_all(line.as_bytes())
}

impl Carried {
    fn note(&mut self, order: &Order, last: u64, now: u64, files: u64) {
        self.created += files;
        let phase = order.phases.all().iter().position(|phase| phase.contains(last));
        if let Some(made) = phase.and_then(|phase| self.by_phase.get_mut(phase)) {
            *made += files;
        }
        // A burst that was slept through has begun as well: its container was not fit to carry it, and that shows.
        while order.bursts.get(self.bursts.len()).is_some_and(|burst| burst.from <= now) {
            self.bursts.push(Burst { began: now, longest_gap: 0 });
        }
        if let Some(burst) = order.burst_at(last).and_then(|index| self.bursts.get_mut(index)) {
            burst.longest_gap = burst.longest_gap.max(now.saturating_sub(last));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::schedule::Schedule;
    use super::*;

    #[test]
    fn no_part_of_a_file_is_lost_between_wakes() {
        let mut credit = 0;
        let made: u64 = (0..1_000).map(|_| due(&mut credit, 300, 1_000)).sum();
        assert_eq!((made, credit), (300, 0));
    }

    #[test]
    fn a_stall_is_not_made_up_for() {
        assert_eq!(due(&mut 0, 40, 60_000_000), 8);
    }

    #[test]
    fn a_burst_begins_with_the_first_wake_in_it_and_keeps_its_longest_gap() {
        let order = Schedule::new(1_000_000_000, 60).order(0);
        let burst = order.bursts[0];
        let mut carried = Carried { created: 0, by_phase: [0; 3], bursts: Vec::new() };
        for (last, now) in [
            (burst.from - 10, burst.from - 1),
            (burst.from - 1, burst.from + 7),
            (burst.from + 7, burst.from + 90),
            (burst.from + 90, burst.from + 100),
            (burst.to, burst.to + 500),
        ] {
            carried.note(&order, last, now, 1);
        }
        assert_eq!(carried.bursts, [Burst { began: burst.from + 7, longest_gap: 83 }]);
        // What a wake makes is owed for the time before it.
        assert_eq!((carried.created, carried.by_phase), (5, [2, 3, 0]));
    }
}
