//! What counting costs those who create files: `cargo xtask bench hooks`.
//!
//! ```text
//! for each filesystem, each round:  nothing | nothing | each of podsweep's ways | each peer's way   (order rotates)
//!                                        └─ work (create, close, unlink) on one thread, its CPU time ─┘
//! ```
//!
//! In: nothing. Out: [`Figures`]. Must never: compare what was not measured in the same round.

mod figures;
mod kernel_memory;
mod watcher;
mod work;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use podsweep::observe::{Tier, trial};
use tempfile::TempDir;

pub use figures::Figures;
use figures::{Measured, Program, Rounds};
use kernel_memory::KernelMemory;
use watcher::{Watcher, Watching};
use work::{CREATES, Work};

use crate::kernel_filesystems::{Filesystem, Size, leave_host};
use crate::progress::say;

/// Rounds of each, where nobody says otherwise: odd, so that the median is one of them.
pub const ROUNDS: usize = 15;

/// Where files are made.
const FILESYSTEMS: [Filesystem; 3] = [Filesystem::Tmpfs, Filesystem::Ext4, Filesystem::Overlay];

/// The filesystems, in a mount namespace of this process's own.
struct Places(TempDir);

impl Places {
    fn mount() -> Result<Self> {
        let places = Self(TempDir::with_prefix("podsweep-bench-")?);
        leave_host().context("cannot make a mount namespace")?;
        show_tracepoints();
        for filesystem in FILESYSTEMS {
            let mounted = filesystem.mount(places.0.path(), Size::Roomy);
            mounted.with_context(|| format!("cannot mount {} to measure on", filesystem.as_str()))?;
        }
        Ok(places)
    }

    fn folder(&self, filesystem: Filesystem) -> PathBuf {
        filesystem.root(self.0.path(), Size::Roomy).join("bench-hooks")
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        // So that the folder can go. Where one stays mounted, it is gone with the process.
        for filesystem in FILESYSTEMS {
            let root = filesystem.root(self.0.path(), Size::Roomy);
            for mount_point in [root.clone(), root.with_extension("layers")] {
                let _ = umount2(&mount_point, MntFlags::MNT_DETACH);
            }
        }
    }
}

/// Tools that hang on tracepoints look for them there. Where it cannot be mounted, they are left out.
fn show_tracepoints() {
    const PLACE: &str = "/sys/kernel/tracing";
    if !Path::new(PLACE).join("events").exists() {
        let none: Option<&str> = None;
        let _ = mount(Some("tracefs"), PLACE, Some("tracefs"), MsFlags::empty(), none);
    }
}

/// Measures everything, in so many rounds. Needs root; mounts in a mount namespace of its own.
pub fn run(rounds: usize) -> Result<Figures> {
    let places = Places::mount()?;
    let (watchers, mut left_out) = watchers();
    let mut measured = Vec::new();
    for filesystem in FILESYSTEMS {
        let place = places.folder(filesystem);
        let work = Work::creates(&place)?;
        let (here, not_here) = possible(&watchers, &place);
        left_out.extend(not_here.into_iter().map(|reason| format!("{}: {reason}", filesystem.as_str())));
        measured.extend(measure(rounds, &work, &here, filesystem.as_str())?.figures(CREATES));
    }
    let (here, _) = possible(&watchers, Path::new("/"));
    let unrelated = measure(rounds, &Work::unrelated(), &here, "getppid")?.figures(work::UNRELATED);
    let (programs, memory) = accounted(&watchers, &places.folder(Filesystem::Tmpfs))?;
    say("");
    Ok(Figures::new(rounds, measured, unrelated, programs, memory, left_out))
}

/// Every way that this kernel takes, and a sentence for each that it does not.
fn watchers() -> (Vec<Watcher>, Vec<String>) {
    let mut found = vec![Watcher::Nothing, Watcher::NothingAgain];
    let mut left_out = Vec::new();
    for (tier, tried) in trial() {
        match tried {
            Ok(_) => {
                found.extend(
                    [false, true].map(|with_directories| Watcher::Podsweep { tier, with_directories }),
                );
            }
            Err(reason) => left_out.push(format!("podsweep, tier {tier}: {reason}")),
        }
    }
    found.extend([Watcher::EventPerFile, Watcher::Fanotify, Watcher::Inotify]);
    (found, left_out)
}

/// Those of the watchers that can watch there, and why the others cannot: fanotify wants file handles, which not
/// every overlayfs has.
fn possible(watchers: &[Watcher], place: &Path) -> (Vec<Watcher>, Vec<String>) {
    let (mut found, mut left_out) = (Vec::new(), Vec::new());
    for watcher in watchers {
        match Watching::begin(*watcher, place).and_then(Watching::end) {
            Ok(_) => found.push(*watcher),
            Err(reason) => left_out.push(format!("{reason:#}")),
        }
    }
    (found, left_out)
}

/// Every watcher in turn, in each round from another one on: what else the machine does falls on all of them.
fn measure<'w>(rounds: usize, work: &Work, watchers: &'w [Watcher], on: &str) -> Result<Rounds<'w>> {
    work.run()?;
    let mut measured = Rounds::new(on, watchers);
    for round in 0..rounds {
        say(&format!("{on}: round {} of {rounds}", round + 1));
        for turn in 0..watchers.len() {
            let index = (round + turn) % watchers.len();
            let watching = Watching::begin(watchers[index], work.folder())?;
            let spent = work.run()?;
            let reader = watching.end()?;
            measured.add(index, Measured { spent, reader });
        }
    }
    Ok(measured)
}

/// What the kernel itself says of podsweep's programs: time by its statistics, memory by its accounts.
fn accounted(watchers: &[Watcher], place: &Path) -> Result<(Vec<Program>, Vec<KernelMemory>)> {
    let work = Work::creates(place)?;
    let (mut programs, mut memory) = (Vec::new(), Vec::new());
    for watcher in watchers {
        let Watcher::Podsweep { tier, with_directories: true } = *watcher else { continue };
        let before = KernelMemory::of_this_process(tier.as_str())?;
        let observer = watcher::observer(tier, true)?;
        memory.push(KernelMemory::of_this_process(tier.as_str())?.less(&before));
        programs.extend(timed_by_the_kernel(tier, &observer, &work)?);
    }
    Ok((programs, memory))
}

fn timed_by_the_kernel(
    tier: Tier,
    observer: &podsweep::observe::Observer,
    work: &Work,
) -> Result<Vec<Program>> {
    let before = observer.costs();
    let statistics =
        aya::sys::enable_stats(aya::sys::Stats::RunTime).context("cannot turn BPF statistics on")?;
    work.run()?;
    drop(statistics);
    let after = observer.costs();
    Ok(after
        .iter()
        .zip(&before)
        .filter_map(|(after, before)| Program::between(tier, before, after))
        .collect())
}
