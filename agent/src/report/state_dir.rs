//! The folder that outlives the agent (`/var/lib/podsweep`): written by root only, used by one process at a time.
//!
//! In: the folder's path. Out: the right to it, and files in it. Must never: write through a link that somebody else
//! may have put there, so a folder that others can write to is refused.
#![allow(clippy::disallowed_methods, reason = "cuts its own lock file")]

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::libc::{ELOOP, O_NOFOLLOW};
use rustix::fs::{FallocateFlags, FlockOperation};

/// Longest text read back from the lock file: a pid.
const MAX_PID_TEXT: u64 = 16;
/// Mode of a folder that is made.
const FOLDER_MODE: u32 = 0o700;
/// Mode bits by which others than the owner may write.
const WRITABLE_BY_OTHERS: u32 = 0o022;

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
    /// Others could put links in the place of podsweep's files.
    #[error(
        "{path}: mode {mode:04o} lets others than its owner write there, who could make podsweep write elsewhere; \
         run: chmod go-w {path:?}"
    )]
    WritableByOthers {
        /// The folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The owner could, too.
    #[error(
        "{path}: belongs to uid {owner}, who could make podsweep (uid {user}) write elsewhere; \
         run: chown {user} {path:?}"
    )]
    OwnedByOther {
        /// The folder.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Whom this process acts as.
        user: u32,
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
        make_folder(folder)?;
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

/// The process that is at work in the folder, by what it wrote down (`?` where it did not get to that); `None` where
/// nobody is. Changes nothing.
pub fn state_holder(folder: &Path) -> Result<Option<String>, StateDirError> {
    let path = folder.join("lock");
    let failed = |operation| move |source| StateDirError::Io { operation, path: folder.join("lock"), source };
    let mut file = match open_to_read(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("open")(error)),
    };
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(None),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(Some(holder(&mut file))),
        Err(errno) => Err(failed("look at the lock")(errno.into())),
    }
}

/// Makes the folder where it is missing; refuses one that others than this process's user can write to. The path may
/// lead over symlinks: who may set those is up to the folders they are in.
pub(super) fn make_folder(folder: &Path) -> Result<(), StateDirError> {
    let made = DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder);
    made.map_err(|source| StateDirError::Io {
        operation: "make folder",
        path: folder.to_path_buf(),
        source,
    })?;
    check_state_folder(folder)
}

/// Whether a folder that is there is fit for the agent's state: nobody but this process's user can write to it.
pub fn check_state_folder(folder: &Path) -> Result<(), StateDirError> {
    let found = std::fs::metadata(folder).map_err(|source| StateDirError::Io {
        operation: "look at",
        path: folder.to_path_buf(),
        source,
    })?;
    let (path, mode, owner) = (folder.to_path_buf(), found.mode() & 0o7777, found.uid());
    let user = rustix::process::geteuid().as_raw();
    if owner != user {
        return Err(StateDirError::OwnedByOther { path, owner, user });
    }
    if mode & WRITABLE_BY_OTHERS != 0 {
        return Err(StateDirError::WritableByOthers { path, mode });
    }
    Ok(())
}

/// Opens a file for reading and writing, made for root only where it is missing. Follows no symlink.
pub(super) fn open_private(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    open_itself(path, &mut options)
}

/// Opens a file for reading. Follows no symlink.
pub(super) fn open_to_read(path: &Path) -> std::io::Result<File> {
    open_itself(path, OpenOptions::new().read(true))
}

fn open_itself(path: &Path, options: &mut OpenOptions) -> std::io::Result<File> {
    options.custom_flags(O_NOFOLLOW).open(path).map_err(|error| match error.raw_os_error() {
        Some(ELOOP) => std::io::Error::other(format!(
            "{} is a symlink, which podsweep never makes; remove it",
            path.display()
        )),
        _ => error,
    })
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
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

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
    fn who_is_at_work_is_told_without_a_change() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(state_holder(folder.path()).unwrap(), None);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        let lock = StateLock::take(folder.path()).unwrap();
        assert_eq!(state_holder(folder.path()).unwrap(), Some(std::process::id().to_string()));
        drop(lock);
        assert_eq!(state_holder(folder.path()).unwrap(), None);
    }

    fn set_mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_folder_is_made_for_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/state");
        let _lock = StateLock::take(&path).unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o700);
    }

    #[test]
    fn a_folder_that_others_can_write_to_is_refused_with_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        for mode in [0o720, 0o702, 0o1777, 0o770] {
            set_mode(folder.path(), mode);
            let error = StateLock::take(folder.path()).unwrap_err();
            assert!(matches!(error, StateDirError::WritableByOthers { .. }), "{mode:o}: {error}");
            let remedy = format!("chmod go-w {:?}", folder.path());
            assert!(error.to_string().ends_with(&remedy), "{error}");
            assert!(!folder.path().join("lock").exists());
        }
        for mode in [0o700, 0o750, 0o755] {
            set_mode(folder.path(), mode);
            StateLock::take(folder.path()).unwrap();
        }
    }

    #[test]
    fn a_folder_of_somebody_else_is_refused_with_the_remedy() {
        let user = rustix::process::geteuid();
        assert!(user.is_root(), "this test gives a folder away: run it as root");
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::chown(folder.path(), Some(65534), None).unwrap();
        let error = StateLock::take(folder.path()).unwrap_err();
        assert!(matches!(error, StateDirError::OwnedByOther { owner: 65534, .. }), "{error}");
        assert!(error.to_string().ends_with(&format!("chown 0 {:?}", folder.path())), "{error}");
    }

    #[test]
    fn a_symlink_in_a_files_place_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (target, link) = (folder.path().join("target"), folder.path().join("lock"));
        std::fs::write(&target, "precious").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let error = StateLock::take(folder.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("{} is a symlink", link.display())), "{error}");
        assert!(open_to_read(&link).is_err());
        assert_eq!(std::fs::read(&target).unwrap(), b"precious");
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), "").unwrap();
        let message = StateLock::take(&folder.path().join("file/state")).unwrap_err().to_string();
        assert!(message.contains("file/state"), "{message}");
    }
}
