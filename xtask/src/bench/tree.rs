//! The tree that is walked: made anew, old enough to be junk, removed afterwards.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::command::{run, step};

const DIRECTORIES: u32 = 200;
const FILES_EACH: u32 = 1000;

/// Files in the tree.
pub(super) const FILES: u32 = DIRECTORIES * FILES_EACH;

/// Podsweep names nothing that is younger than ten seconds, by mtime or ctime, and nobody can set a ctime.
const OLD_ENOUGH: Duration = Duration::from_secs(11);

/// A tree of empty files.
pub(super) struct Tree {
    folder: PathBuf,
}

impl Tree {
    pub(super) fn make() -> Result<Self> {
        step(&format!("a tree of {FILES} files, {} s old", OLD_ENOUGH.as_secs()));
        let tree =
            Self { folder: Path::new("/var/tmp").join(format!("podsweep-bench-{}", std::process::id())) };
        for directory in 0..DIRECTORIES {
            let directory = tree.root().join(directory.to_string());
            fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
            for file in 0..FILES_EACH {
                File::create(directory.join(file.to_string()))?;
            }
        }
        // Or its writing would be measured with the first runs.
        run(Command::new("sync").arg("-f").arg(&tree.folder))?;
        std::thread::sleep(OLD_ENOUGH);
        Ok(tree)
    }

    /// The benchmark's own folder, for files that are not to be found.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the files begin.
    pub(super) fn root(&self) -> PathBuf {
        self.folder.join("tree")
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            eprintln!("{} stays: {error}", self.folder.display());
        }
    }
}
