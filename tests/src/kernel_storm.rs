//! A storm: threads and short-lived children that make and remove files, all at once.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;
use std::thread;

use serde::{Deserialize, Serialize};

/// A storm of creations; each file is removed at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Storm {
    /// Threads of the worker.
    pub threads: u32,
    /// Children that each thread starts, one after another.
    pub children: u32,
    /// Files that each thread makes itself, and each of its children too.
    pub files: u32,
}

impl Storm {
    /// Twice as many creators as the smallest machine has CPUs, so that they interrupt each other. No fewer than
    /// `files` in all.
    pub fn of(files: u32) -> Self {
        let (threads, children) = (4, 5);
        Self { threads, children, files: files.div_ceil(threads * (1 + children)) }
    }

    /// Files made in all.
    pub const fn total(self) -> u64 {
        self.threads as u64 * (1 + self.children as u64) * self.files as u64
    }
}

/// A short-lived child of a storm: makes and removes files.
pub fn child(folder: &Path, name: &str, files: u32) -> io::Result<()> {
    for number in 0..files {
        // A few hundred names in turn: the folder stays small.
        let path = folder.join(format!("{name}-{}", number % 256));
        fs::File::create_new(&path)?;
        fs::remove_file(&path)?;
    }
    Ok(())
}

/// Does it, in `root`.
pub(crate) fn rage(root: &Path, storm: Storm) -> io::Result<()> {
    thread::scope(|scope| {
        let threads: Vec<_> =
            (0..storm.threads).map(|thread| scope.spawn(move || one_thread(root, thread, storm))).collect();
        threads.into_iter().try_for_each(|thread| {
            thread.join().map_err(|_| io::Error::other("a thread of the storm panicked"))?
        })
    })
}

fn one_thread(root: &Path, thread: u32, storm: Storm) -> io::Result<()> {
    for number in 0..storm.children {
        let status = Command::new(std::env::current_exe()?)
            .arg("storm")
            .arg(root)
            .args([format!("{thread}-{number}"), storm.files.to_string()])
            .status()?;
        if !status.success() {
            return Err(io::Error::other(format!("a child of the storm: {status}")));
        }
    }
    child(root, &thread.to_string(), storm.files)
}

#[cfg(test)]
mod tests {
    use super::Storm;

    #[test]
    fn a_storm_makes_no_fewer_files_than_asked_for() {
        for files in [1, 24, 20_000] {
            let total = Storm::of(files).total();
            assert!((u64::from(files)..u64::from(files) + 24).contains(&total), "{files}: {total}");
        }
    }
}
