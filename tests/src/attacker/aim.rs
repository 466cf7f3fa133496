//! The attack on the last microseconds: a file that no rule names takes the name of one that is removed next.
//!
//! The removal goes through a directory in the order in which it is read; so the attacker reads it, too, watches which
//! name went last, and swaps the next one, or the one after it. Each swap changes a file's ctime and with it its age:
//! a name is good for one swap. When the removal has passed, the file goes back to where it was: under a name that a
//! rule covers it would be junk as soon as it is old.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, RenameFlags, renameat, renameat_with, statat};
use rustix::io::Errno;

use super::flip::exchange;
use super::order::By;
use super::program::Watch;

/// How far ahead of the last name that went it swaps, in turn: how far a removal gets meanwhile differs.
const LEADS: [usize; 4] = [1, 2, 3, 1];
/// Names looked at in one round; one that stays must not hold the attack up.
const WINDOW: usize = 4;

/// Until the test ends the attack, or no name is left.
pub(super) fn aim(doomed: &Path, precious: &Path, by: By, watch: &mut Watch<'_>) {
    let names = in_reading_order(doomed);
    let files = in_reading_order(precious);
    let mut leads = LEADS.iter().cycle();
    let (mut next, mut file) = (0, 0);
    while let Some(gone) = wait_for_one_of(&names, next, watch) {
        let target = gone + leads.next().unwrap_or(&1);
        let (Some(name), Some(precious)) = (names.get(target), files.get(file)) else { return };
        let put = put(precious, name, by);
        let is_there = put.is_ok();
        watch.tally.swap(put);
        next = target + 1;
        if is_there {
            // Another name went: this one's turn is over.
            let _ = wait_for_one_of(&names, next, watch);
            take_back(precious, name, by, watch);
            file += 1;
        }
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

fn take_back(file: &Path, name: &Path, by: By, watch: &mut Watch<'_>) {
    let taken = match by {
        By::Exchange => exchange(name, file),
        By::RenameOver => renameat_with(CWD, name, CWD, file, RenameFlags::NOREPLACE),
    };
    if taken == Err(Errno::NOENT) {
        watch.tally.lost += 1;
    }
}

/// The last name that went, of the next few: the removal may have jumped over some.
fn wait_for_one_of(names: &[PathBuf], next: usize, watch: &mut Watch<'_>) -> Option<usize> {
    while !watch.is_over() && next < names.len() {
        let mut window = (next..names.len()).take(WINDOW).rev();
        if let Some(index) = window.find(|index| !is_there(&names[*index])) {
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
    let files = entries.filter(|entry| !entry.file_name().to_string_lossy().starts_with('.'));
    files.map(|entry| entry.path()).collect()
}
