//! The attack on the counters: files made and removed as fast as the kernel can, in thousands of directories.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, open, unlinkat};

use super::program::Watch;

/// Until the test ends it. Nothing but the directories stays.
pub(super) fn storm(below: &Path, directories: u32, watch: &mut Watch<'_>) {
    let files: Vec<_> = (0..directories).map(|number| below.join(format!("d-{number}/file"))).collect();
    for directory in files.iter().filter_map(|file| file.parent()) {
        // What cannot be made shows in the count of failures below.
        let _ = fs::create_dir_all(directory);
    }
    for file in files.iter().cycle() {
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
