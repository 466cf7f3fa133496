//! Attacks that repeat one thing without end: exchanging names, moving a directory away, mounting over one.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::program::Watch;

/// How long a directory stays away: some hundred removals in an unoptimised build.
const AWAY: Duration = Duration::from_millis(300);
/// How long nothing may go from a directory before its attacker waits no more for the next sweep.
const LOOK_EVERY: Duration = Duration::from_micros(200);

/// Exchanges two names.
pub(super) fn exchange(one: &Path, other: &Path) -> rustix::io::Result<()> {
    renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)
}

/// Each pair in turn; at the end everything is where it was.
pub(super) fn flip(pairs: &[(PathBuf, PathBuf)], watch: &mut Watch<'_>) {
    let mut turned = vec![false; pairs.len()];
    for index in (0..pairs.len()).cycle() {
        if watch.is_over() {
            break;
        }
        let (one, other) = &pairs[index];
        let result = exchange(one, other);
        turned[index] ^= result.is_ok();
        watch.tally.swap(result);
    }
    for ((one, other), _) in pairs.iter().zip(turned).filter(|(_, turned)| *turned) {
        watch.tally.swap(exchange(one, other));
    }
}

/// Waits until files of `from` go, moves it to `to` and back.
pub(super) fn move_away(from: &Path, to: &Path, watch: &mut Watch<'_>) {
    while wait_for_removal(from, watch) {
        let gone = renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE);
        let away = gone.is_ok();
        watch.tally.swap(gone);
        if !away {
            continue;
        }
        let (at_first, since) = (files(to), Instant::now());
        while since.elapsed() < AWAY && !watch.is_over() {
            sleep(LOOK_EVERY);
        }
        watch.tally.moved.push((at_first, files(to)));
        watch.tally.swap(renameat_with(CWD, to, CWD, from, RenameFlags::NOREPLACE));
    }
}

// False where the test is over.
fn wait_for_removal(directory: &Path, watch: &mut Watch<'_>) -> bool {
    let at_first = files(directory);
    while !watch.is_over() {
        if files(directory) < at_first {
            return true;
        }
        sleep(LOOK_EVERY);
    }
    false
}

fn files(directory: &Path) -> u64 {
    fs::read_dir(directory).map_or(0, |entries| entries.count() as u64)
}

/// Mounts over a directory and unmounts; at the end nothing is mounted there.
pub(super) fn cover(target: &Path, source: Option<&Path>, watch: &mut Watch<'_>) {
    while !watch.is_over() {
        let mounted = put_over(target, source);
        let is_there = mounted.is_ok();
        watch.tally.swap(mounted);
        if is_there {
            watch.tally.swap(umount2(target, MntFlags::MNT_DETACH).map_err(errno));
        }
    }
}

fn put_over(target: &Path, source: Option<&Path>) -> rustix::io::Result<()> {
    let none: Option<&str> = None;
    match source {
        Some(source) => mount(Some(source), target, none, MsFlags::MS_BIND, none),
        None => mount(Some("tmpfs"), target, Some("tmpfs"), MsFlags::empty(), none),
    }
    .map_err(errno)
}

fn errno(errno: nix::errno::Errno) -> Errno {
    Errno::from_raw_os_error(errno as i32)
}
