//! The folder that outlives the agent (`/var/lib/podsweep`): made for root only, used by one process at a time.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, FlockOperation};

/// Longest text read back from the lock file: a pid.
const MAX_PID_TEXT: u64 = 16;

/// The folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateDirError {
    /// Another process has it.
    #[error("{path}: in use by process {pid}; stop that one first (only one agent may keep history here)")]
    Held {
        /// The folder.
        path: PathBuf,
        /// The holder as it wrote itself down; `?` where it did not get to that.
        pid: String,
    },
    /// A system call failed.
    #[error("cannot {operation} {path}: {source}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// The right to write in the folder; the kernel takes it back when the process ends, however it ends.
#[derive(Debug)]
pub struct StateLock {
    _file: File,
}

impl StateLock {
    /// Makes the folder where it is missing, and takes it.
    pub fn take(folder: &Path) -> Result<Self, StateDirError> {
        let failed = |operation, path: &Path| {
            let path = path.to_path_buf();
            move |source| StateDirError::Io { operation, path, source }
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(failed("make folder", folder))?;
        let path = folder.join("lock");
        let mut file = open_private(&path).map_err(failed("open", &path))?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(StateDirError::Held { path: folder.to_path_buf(), pid: holder(&mut file) });
            }
            Err(errno) => return Err(failed("lock", &path)(errno.into())),
        }
        // The pid is for people only: a full disk that has no room for it must not keep the agent from starting.
        let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Self { _file: file })
    }
}

/// Opens a file for reading and writing, made for root only where it is missing.
pub(super) fn open_private(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Gives the file its blocks before they are needed. Its length stays: readers see only what was written.
pub(super) fn reserve(file: &File, bytes: u64) -> std::io::Result<()> {
    Ok(rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, 0, bytes)?)
}

/// Bytes of the filesystem that holds `folder` that this process may still use.
pub(super) fn free_bytes(folder: &Path) -> std::io::Result<u64> {
    let stat = rustix::fs::statvfs(folder)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.take(MAX_PID_TEXT).read_to_string(&mut text);
    match (read, text.trim()) {
        (Err(_), _) | (_, "") => "?".to_owned(),
        (Ok(_), pid) => pid.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_told_who_holds_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let lock = StateLock::take(&path).unwrap();
        let message = StateLock::take(&path).unwrap_err().to_string();
        assert!(message.contains(&std::process::id().to_string()), "{message}");
        drop(lock);
        StateLock::take(&path).unwrap();
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), "").unwrap();
        let message = StateLock::take(&folder.path().join("file/state")).unwrap_err().to_string();
        assert!(message.contains("file/state"), "{message}");
    }
}
