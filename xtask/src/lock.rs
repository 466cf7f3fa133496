//! One at a time: a folder that several runs of xtask would change. In: the folder. Out: a lock that the kernel gives
//! back when its holder ends, however it ends.

use std::fs::{self, TryLockError};
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::command::step;

/// Waits until nobody else uses `folder`; it is ours until the file is dropped, or the process ends.
pub(crate) fn alone_in(folder: &Path) -> Result<fs::File> {
    let path = folder.join("lock");
    let lock = fs::File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
    match lock.try_lock() {
        Ok(()) => return Ok(lock),
        Err(TryLockError::WouldBlock) => {
            step(&format!("waiting for another xtask that is at work in {}", folder.display()));
        }
        Err(TryLockError::Error(error)) => {
            return Err(error).with_context(|| format!("cannot lock {}", path.display()));
        }
    }
    lock.lock().with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(lock)
}
