//! The attack on the counters: files made and removed, as fast as the kernel can or at a rate, in many directories.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, open, unlinkat};

use super::program::Watch;

/// Short against the second over which rates are taken.
const TICK: Duration = Duration::from_millis(10);

/// Until the test ends it. Nothing but the directories stays.
pub(super) fn storm(below: &Path, directories: u32, per_second: Option<u32>, watch: &mut Watch<'_>) {
    let files: Vec<_> = (0..directories).map(|number| below.join(format!("d-{number}/file"))).collect();
    for directory in files.iter().filter_map(|file| file.parent()) {
        // What cannot be made shows in the count of failures below.
        let _ = fs::create_dir_all(directory);
    }
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    watch.tally.began = u64::try_from(since_1970.as_micros()).unwrap_or(u64::MAX);
    let began = Instant::now();
    for file in files.iter().cycle() {
        while per_second
            .is_some_and(|rate| watch.tally.swaps as f64 > began.elapsed().as_secs_f64() * f64::from(rate))
        {
            sleep(TICK);
        }
        if watch.is_over() {
            return;
        }
        watch.tally.swap(make_and_remove(file));
    }
}

fn make_and_remove(file: &PathBuf) -> rustix::io::Result<()> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    open(file, flags, Mode::RUSR).map(drop)?;
    unlinkat(CWD, file, AtFlags::empty())
}
