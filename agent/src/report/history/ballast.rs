//! A file that takes up space so that it can be given up when the disk is full.
#![allow(clippy::disallowed_methods, reason = "removes its own reserve")]

use std::path::{Path, PathBuf};

use crate::report::state_dir::{free_bytes, open_private, reserve};

/// Size of the ballast: some hundred sweeps' records, or one agent's life on a disk that stays full.
pub const BALLAST_BYTES: u64 = 8 << 20;
/// The ballast is made (again) only where this many times its size is free: a nearly full disk is not filled further.
const ROOM_FACTOR: u64 = 4;

#[derive(Debug)]
pub(super) struct Ballast {
    folder: PathBuf,
    file: PathBuf,
    held: bool,
}

impl Ballast {
    /// Takes over the ballast that a former agent left.
    pub(super) fn new(folder: &Path) -> Self {
        let file = folder.join("ballast");
        let held = file.exists();
        Self { folder: folder.to_path_buf(), file, held }
    }

    /// Takes the space up where it is missing and there is room. Failure is no error: then there is no ballast.
    pub(super) fn fill(&mut self) {
        if self.held || !free_bytes(&self.folder).is_ok_and(|free| free >= BALLAST_BYTES * ROOM_FACTOR) {
            return;
        }
        match open_private(&self.file).and_then(|file| reserve(&file, BALLAST_BYTES)) {
            Ok(()) => self.held = true,
            Err(error) => {
                tracing::debug!(file = ?self.file, %error, "no reserve against a full disk");
                let _ = std::fs::remove_file(&self.file);
            }
        }
    }

    /// Frees the space; false where there was none to free.
    pub(super) fn give_up(&mut self) -> bool {
        std::mem::take(&mut self.held) && std::fs::remove_file(&self.file).is_ok()
    }
}
