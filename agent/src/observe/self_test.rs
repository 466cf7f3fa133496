//! Proves that a tier counts before it is trusted: one file made and removed must show, opening one that exists must
//! not.
//!
//! This guards what BTF does not describe (the value of `FMODE_CREATED`), and an LSM program that attaches but
//! never runs because `bpf` is not in the LSM list. Other processes of the same cgroup may work meanwhile: they
//! can raise the counts, so the test asks for "at least" where something must show, and gives the other question
//! several rounds.
#![allow(
    clippy::disallowed_methods,
    reason = "removes the file that it has made to see whether it is counted"
)]

use std::fs::{self, OpenOptions};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use agent_common::Kind;

use super::counts::Counts;
use crate::inventory::CgroupId;
use crate::kernel::{Cgroups, cgroup_of};

/// Opens with `O_CREAT` of a file that exists, in one round.
const REOPENS: u64 = 100;

/// Rounds of reopening: other work in the same cgroup would have to make 100 files in each of them, during some 200
/// microseconds, to fail the test.
const ROUNDS: u32 = 5;

/// Runs the test; the error says what was not as expected.
pub(super) fn run(totals: impl Fn(CgroupId) -> Result<Counts, String>) -> Result<(), String> {
    let own = own_cgroup()?;
    let folder = scratch_folder()?;
    let file = folder.path().join("file");
    let measure = |what: &dyn Fn() -> std::io::Result<()>| -> Result<Counts, String> {
        let before = totals(own)?;
        what().map_err(|error| format!("self-test in {}: {error}", folder.path().display()))?;
        Ok(totals(own)?.since(&before))
    };

    let made = measure(&|| OpenOptions::new().write(true).create_new(true).open(&file).map(drop))?;
    if made.get(Kind::Create) < 1 {
        return Err(format!("self-test: a file was made but not counted in this process's cgroup {}", own.0));
    }
    let reopen = || OpenOptions::new().write(true).create(true).truncate(false).open(&file).map(drop);
    let mut miscounted = true;
    for _ in 0..ROUNDS {
        let reopened = measure(&|| (0..REOPENS).try_for_each(|_| reopen()))?;
        miscounted = reopened.get(Kind::Create) >= REOPENS;
        if !miscounted {
            break;
        }
    }
    if miscounted {
        return Err("self-test: opening a file that exists was counted as making it".to_owned());
    }
    let removed = measure(&|| fs::remove_file(&file))?;
    if removed.get(Kind::Unlink) < 1 {
        return Err("self-test: a file was removed but not counted".to_owned());
    }
    Ok(())
}

/// The cgroup of this thread, as the kernel numbers it.
fn own_cgroup() -> Result<CgroupId, String> {
    let path = cgroup_of("thread-self").map_err(|error| error.to_string())?;
    let folder = Cgroups::find().map_err(|error| error.to_string())?.directory(&path);
    let found = fs::metadata(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    Ok(CgroupId(found.ino()))
}

/// A folder of our own in the first place that takes one; removed when dropped.
fn scratch_folder() -> Result<tempfile::TempDir, String> {
    let places: [PathBuf; 3] = [std::env::temp_dir(), "/dev/shm".into(), "/run".into()];
    let make = |place: &Path| tempfile::Builder::new().prefix("podsweep-self-test-").tempdir_in(place);
    places.iter().find_map(|place| make(place).ok()).ok_or_else(|| {
        format!("self-test: none of {places:?} can be written to; name a folder that can in TMPDIR")
    })
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// A counter that answers each reading with the next of `creates`, and counts removals rightly.
    fn counting(creates: impl Fn(u32) -> u64) -> impl Fn(CgroupId) -> Result<Counts, String> {
        let reading = Cell::new(0);
        move |_| {
            let now = reading.replace(reading.get() + 1);
            Ok([(Kind::Create, creates(now)), (Kind::Unlink, u64::from(now))].into_iter().collect())
        }
    }

    #[test]
    fn a_counter_that_never_moves_is_refused() {
        assert!(run(|_| Ok(Counts::default())).unwrap_err().contains("made but not counted"));
    }

    #[test]
    fn counting_every_open_is_refused() {
        let every_open = counting(|reading| u64::from(reading) * REOPENS);
        assert!(run(every_open).unwrap_err().contains("opening a file that exists"));
    }

    #[test]
    fn work_of_others_in_one_round_is_forgiven() {
        // Readings 0 and 1 frame the new file, 2 and 3 the first round, 4 and 5 the second.
        let noisy = counting(|reading| [0, 1, 1, 1000, 1000, 1001][usize::try_from(reading.min(5)).unwrap()]);
        assert_eq!(run(noisy), Ok(()));
    }
}
