//! The attack on the last microseconds: a file that no rule names takes the name of one that is removed next.
//!
//! The removal goes through a directory in the order in which it is read; so the attacker reads it, too, watches which
//! name went last, and swaps the next one, or the one after it. Each swap changes a file's ctime and with it its age:
//! a name is good for one swap.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, renameat, statat};
use rustix::io::Errno;

use super::flip::exchange;
use super::order::By;
use super::program::Watch;

/// How far ahead of the last name that went it swaps, in turn: how far a removal gets meanwhile differs.
const LEADS: [usize; 4] = [1, 2, 3, 1];

/// Until the test ends the attack, or nothing is left to swap.
pub(super) fn aim(doomed: &Path, precious: &Path, by: By, watch: &mut Watch<'_>) {
    let names = in_reading_order(doomed);
    let mut precious = in_reading_order(precious).into_iter();
    let mut leads = LEADS.iter().cycle();
    let mut next = 0;
    while let Some(gone) = wait_for_one_of(&names, next, watch) {
        let target = gone + leads.next().unwrap_or(&1);
        let (Some(name), Some(file)) = (names.get(target), precious.next()) else { return };
        watch.tally.swap(put(&file, name, by));
        next = target + 1;
    }
}

fn put(file: &Path, name: &Path, by: By) -> rustix::io::Result<()> {
    match by {
        By::Exchange => exchange(file, name),
        // What comes too late must not make a file where there is none any more.
        By::RenameOver if !is_there(name) => Err(Errno::NOENT),
        By::RenameOver => renameat(CWD, file, CWD, name),
    }
}

/// The first of the names from `next` on that is gone: the removal may have jumped over some.
fn wait_for_one_of(names: &[PathBuf], next: usize, watch: &mut Watch<'_>) -> Option<usize> {
    /// Names looked at in one round; one that stays must not hold the attack up.
    const WINDOW: usize = 4;
    while !watch.is_over() && next < names.len() {
        let window = names.iter().enumerate().skip(next).take(WINDOW);
        if let Some((index, _)) = window.rev().find(|(_, name)| !is_there(name)) {
            return Some(index);
        }
    }
    None
}

fn is_there(name: &Path) -> bool {
    statat(CWD, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
}

fn in_reading_order(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}
