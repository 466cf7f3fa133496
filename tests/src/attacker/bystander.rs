//! What a service does in its own directories while it is swept: creates, renames, removes, makes directories and
//! takes them away. None of it may fail because of podsweep; ESTALE least of all.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

use super::counts::Tally;

/// Between two rounds through all directories: a service, not a second attacker.
const PAUSE: Duration = Duration::from_millis(2);
/// Files left behind at most, whatever the sweeps do.
const MOST_SUPPLIED: u64 = 200_000;

/// Until `over`; what went wrong. `told` hears of each round.
pub(super) fn bystand(directories: &[PathBuf], supply: bool, over: &AtomicBool, told: &dyn Fn(&Tally)) {
    let mut tally = Tally::default();
    while !over.load(Ordering::Relaxed) {
        for directory in directories {
            round(directory, supply && tally.rounds < MOST_SUPPLIED, &mut tally);
        }
        told(&tally);
        sleep(PAUSE);
    }
    told(&tally);
}

fn round(directory: &std::path::Path, supply: bool, tally: &mut Tally) {
    let number = tally.rounds;
    tally.rounds += 1;
    let (new, renamed) = (directory.join("bystander-new"), directory.join("bystander-renamed"));
    tally.worked("create", fs::write(&new, "a service's own"));
    tally.worked("rename", fs::rename(&new, &renamed));
    tally.worked("unlink", fs::remove_file(&renamed));
    tally.worked("mkdir", fs::create_dir(&new));
    tally.worked("rename of a directory", fs::rename(&new, &renamed));
    tally.worked("rmdir", fs::remove_dir(&renamed));
    if supply {
        tally.worked("supply", fs::write(directory.join(format!("s-{number}.tmp")), ""));
    }
}
