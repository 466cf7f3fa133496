//! Whether a file of the writable layer also exists in a layer of the image.
//!
//! In: handles of one directory as each lower layer has it, topmost first. Out: yes or no for a name in it; the
//! handles of a child directory. Removing a file that a lower layer has, too, frees nothing that stays free and
//! leaves a whiteout, so such files are kept. A whiteout in a lower layer counts as the file: cautious, and rare.
//!
//! Names are compared at the same path. Where overlayfs has redirected a renamed directory (`redirect_dir=on`, not
//! the default of any runtime) the lower file is elsewhere and not found; the sweep then leaves a whiteout, and
//! nothing that a rule does not name is lost.

use std::ffi::CStr;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

/// One directory in each lower layer that has it.
#[derive(Debug, Default)]
pub(super) struct LowerDirectories(Vec<OwnedFd>);

impl LowerDirectories {
    /// The layers' roots, opened `O_PATH`.
    pub(super) fn new(roots: Vec<OwnedFd>) -> Self {
        Self(roots)
    }

    /// Handles held.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The child directory `name` in each layer that has it. A symlink or a file of that name is no directory:
    /// overlayfs does not merge it either.
    pub(super) fn child(&self, name: &CStr) -> Result<Self, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut children = Vec::new();
        for directory in &self.0 {
            match rustix::fs::openat(directory, name, flags, Mode::empty()) {
                Ok(child) => children.push(child),
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(Self(children))
    }

    /// Whether any layer has an entry `name`, of whatever type.
    pub(super) fn have(&self, name: &CStr) -> Result<bool, Errno> {
        for directory in &self.0 {
            match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(_) => return Ok(true),
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(false)
    }
}
