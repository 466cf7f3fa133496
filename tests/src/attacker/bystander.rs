//! What a service does in its own directories while it is swept: creates, renames, removes, makes directories and
//! takes them away. None of it may fail because of podsweep; ESTALE least of all.
//!
//! It holds its directories open, as services do: so its work goes to the very directories, wherever they are.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

use rustix::fs::{AtFlags, Mode, OFlags, mkdirat, open, openat, renameat, unlinkat};
use rustix::io::Result;

use super::counts::Tally;

/// Between two rounds through all directories: a service, not a second attacker.
const PAUSE: Duration = Duration::from_millis(2);
/// Files left behind at most, whatever the sweeps do.
const MOST_SUPPLIED: u64 = 200_000;

/// The directories, opened before anything is swapped.
pub(super) fn hold(directories: &[PathBuf]) -> Result<Vec<OwnedFd>> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    directories.iter().map(|path| open(path, flags, Mode::empty())).collect()
}

/// Until `over`; `told` hears what went wrong after each round.
pub(super) fn bystand(directories: &[OwnedFd], supply: bool, over: &AtomicBool, told: &dyn Fn(&Tally)) {
    let mut tally = Tally::default();
    while !over.load(Ordering::Relaxed) {
        for directory in directories {
            round(directory, supply && tally.rounds < MOST_SUPPLIED, &mut tally);
        }
        told(&tally);
        sleep(PAUSE);
    }
}

fn round(directory: &OwnedFd, supply: bool, tally: &mut Tally) {
    let number = tally.rounds;
    tally.rounds += 1;
    let (new, renamed) = ("bystander-new", "bystander-renamed");
    tally.worked("create", create(directory, new));
    tally.worked("rename", renameat(directory, new, directory, renamed));
    tally.worked("unlink", unlinkat(directory, renamed, AtFlags::empty()));
    tally.worked("mkdir", mkdirat(directory, new, Mode::RWXU));
    tally.worked("rename of a directory", renameat(directory, new, directory, renamed));
    tally.worked("rmdir", unlinkat(directory, renamed, AtFlags::REMOVEDIR));
    if supply {
        tally.worked("supply", create(directory, &format!("s-{number}.tmp")));
    }
}

fn create(directory: &OwnedFd, name: &str) -> Result<()> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    openat(directory, name, flags, Mode::RUSR | Mode::WUSR).map(drop)
}
