//! What is measured: one thread that creates, closes and unlinks files; or one that does something unrelated.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::time::{ClockId, clock_gettime};

/// Files that one run creates and removes: some 0.1 s on tmpfs.
pub(super) const CREATES: u32 = 20_000;
/// System calls of one run that no hook cares about.
pub(super) const UNRELATED: u32 = 200_000;
/// Names, used in turn: the folder stays small and in the cache.
const NAMES: u32 = 512;

/// Something that costs CPU time.
#[derive(Debug)]
pub(super) struct Work {
    folder: PathBuf,
    what: What,
}

#[derive(Debug)]
enum What {
    Creates(Vec<PathBuf>),
    Unrelated,
}

impl Work {
    /// [`CREATES`] times create, close, unlink.
    pub(super) fn creates(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let names = (0..NAMES).map(|number| folder.join(number.to_string())).collect();
        Ok(Self { folder: folder.to_owned(), what: What::Creates(names) })
    }

    /// [`UNRELATED`] times getppid(2), which does nothing.
    pub(super) fn unrelated() -> Self {
        Self { folder: PathBuf::from("/"), what: What::Unrelated }
    }

    /// Where it happens.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Does it; the thread's CPU time.
    pub(super) fn run(&self) -> Result<Duration> {
        let before = thread_time()?;
        match &self.what {
            What::Creates(names) => {
                for path in names.iter().cycle().take(CREATES as usize) {
                    drop(File::create_new(path)?);
                    fs::remove_file(path)?;
                }
            }
            What::Unrelated => {
                for _ in 0..UNRELATED {
                    std::hint::black_box(nix::unistd::getppid());
                }
            }
        }
        Ok(thread_time()?.saturating_sub(before))
    }
}

/// CPU time of the calling thread so far.
pub(super) fn thread_time() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}
