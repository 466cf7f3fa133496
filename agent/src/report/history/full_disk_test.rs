//! History on a filesystem that is really full.

use std::path::Path;

use super::tests::{ended, record};
use super::*;
use crate::report::small_disk::{fill, on_small_disk};

const LIMITS: HistoryLimits = HistoryLimits { max_sweeps: 100_000, max_age: Duration::from_hours(1) };

fn large(number: usize) -> SweepRecord {
    SweepRecord { notes: vec!["x".repeat(100_000)], ..ended(&format!("01{number:06}")) }
}

fn ballast_size(folder: &Path) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    folder.join("state/ballast").metadata().ok().map(|found| found.blocks() * 512)
}

#[test]
fn a_full_disk_costs_the_ballast_then_an_error_and_never_the_data() {
    on_small_disk(64, |disk| {
        let folder = disk.join("state");
        let history = History::open(&folder, LIMITS).unwrap();
        assert_eq!(ballast_size(disk), Some(BALLAST_BYTES));
        history.begin(&record("00A")).unwrap();
        fill(disk);

        let (mut kept, mut after_ballast) = (0, 0);
        let error = loop {
            match history.begin(&large(kept)) {
                Ok(()) => kept += 1,
                Err(error) => break error,
            }
            after_ballast += usize::from(ballast_size(disk).is_none());
            assert!(kept < 1000, "the disk is not full");
        };
        assert!(error.is_full(), "{error}");
        assert!(after_ballast > 50, "the ballast carried {after_ballast} records of 100 kB");

        drop(history);
        let history = History::open(&folder, LIMITS).unwrap();
        assert_eq!(history.list(MAX_LIST, None, None).unwrap().len(), kept + 1);
        std::fs::remove_file(disk.join("storm")).unwrap();
        history.update(&ended("00A")).unwrap();
        assert_eq!(ballast_size(disk), Some(BALLAST_BYTES), "made again when there is room");
    });
}

#[test]
fn a_sweep_can_be_ended_on_record_after_the_ballast_is_used_up() {
    on_small_disk(64, |disk| {
        let history = History::open(&disk.join("state"), LIMITS).unwrap();
        history.begin(&record("00A")).unwrap();
        fill(disk);
        let mut number = 0;
        while history.begin(&large(number)).is_ok() {
            number += 1;
        }
        // Not a block is left now but those that history has already.
        fill(disk);
        history.update(&ended("00A")).unwrap();
    });
}

#[test]
fn on_a_nearly_full_disk_there_is_no_ballast() {
    on_small_disk(16, |disk| {
        let history = History::open(&disk.join("state"), LIMITS).unwrap();
        history.begin(&record("00A")).unwrap();
        assert_eq!(ballast_size(disk), None);
    });
}
