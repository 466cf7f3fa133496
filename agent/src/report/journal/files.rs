//! The journal's files: a current one, one in reserve, and the rotated ones. Each has its blocks before it is
//! written to.
#![allow(clippy::disallowed_methods, reason = "rotates and cuts the journal's own files")]

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::JournalLimits;
use crate::report::state_dir::{open_private, reserve};

#[derive(Debug)]
pub(super) struct Files {
    folder: PathBuf,
    bytes_per_file: u64,
    rotated: u32,
    current: File,
    written: u64,
}

impl Files {
    pub(super) fn open(folder: &Path, limits: JournalLimits) -> io::Result<Self> {
        let files = limits.files.clamp(JournalLimits::MIN_FILES, JournalLimits::MAX_FILES);
        let bytes_per_file = (limits.max_bytes / u64::from(files)).max(JournalLimits::MIN_FILE_BYTES);
        let rotated = files - 2;
        for number in rotated + 1..=JournalLimits::MAX_FILES {
            remove_if_there(&rotated_path(folder, number))?;
        }
        let current = open_private(&current_path(folder))?;
        let written = current.metadata()?.len();
        let mut files = Self { folder: folder.to_path_buf(), bytes_per_file, rotated, current, written };
        files.end_torn_line()?;
        files.reserve_ahead();
        Ok(files)
    }

    /// All that may be there, in the order of their writing.
    pub(super) fn oldest_first(&self) -> impl Iterator<Item = PathBuf> {
        oldest_first(&self.folder, self.rotated)
    }

    /// Adds whole lines, in the next file where they do not fit into this one. After an error (a full disk), what
    /// was written of them is overwritten by the next lines.
    pub(super) fn append(&mut self, mut lines: &[u8]) -> io::Result<()> {
        while !lines.is_empty() {
            let room =
                usize::try_from(self.bytes_per_file.saturating_sub(self.written)).unwrap_or(usize::MAX);
            let fitting = match (fitting(lines, room), self.written) {
                // A line that is longer than a whole file goes alone: that is at most a few KiB over.
                (0, 0) => first_line(lines),
                (0, _) => {
                    self.rotate()?;
                    continue;
                }
                (fitting, _) => fitting,
            };
            let (now, later) = lines.split_at(fitting);
            self.current.write_all_at(now, self.written)?;
            self.written += now.len() as u64;
            lines = later;
        }
        Ok(())
    }

    /// Returns when all lines are on disk.
    pub(super) fn flush(&self) -> io::Result<()> {
        self.current.sync_data()
    }

    // The oldest goes first, so that its blocks are there for the next where none was in reserve.
    fn rotate(&mut self) -> io::Result<()> {
        self.flush()?;
        remove_if_there(&rotated_path(&self.folder, self.rotated))?;
        let next = self.spare()?;
        for number in (1..self.rotated).rev() {
            rename_if_there(&rotated_path(&self.folder, number), &rotated_path(&self.folder, number + 1))?;
        }
        rename_if_there(&current_path(&self.folder), &rotated_path(&self.folder, 1))?;
        fs::rename(spare_path(&self.folder), current_path(&self.folder))?;
        File::open(&self.folder)?.sync_all()?;
        (self.current, self.written) = (next, 0);
        self.reserve_ahead();
        Ok(())
    }

    fn spare(&self) -> io::Result<File> {
        let file = open_private(&spare_path(&self.folder))?;
        file.set_len(0)?;
        self.reserve_for(&file);
        Ok(file)
    }

    // Without the reserve the journal works as well, until the disk is full: no error.
    fn reserve_ahead(&self) {
        self.reserve_for(&self.current);
        if let Err(error) = self.spare() {
            tracing::warn!(folder = ?self.folder, %error, "no file in reserve for the audit journal");
        }
    }

    fn reserve_for(&self, file: &File) {
        if let Err(error) = reserve(file, self.bytes_per_file) {
            tracing::debug!(folder = ?self.folder, %error, "no space reserved for the audit journal");
        }
    }

    // A crash can leave half a line: it stays, on a line of its own.
    fn end_torn_line(&mut self) -> io::Result<()> {
        let mut last = [b'\n'];
        if self.written > 0 {
            self.current.read_exact_at(&mut last, self.written - 1)?;
        }
        if last != [b'\n'] {
            self.current.write_all_at(b"\n", self.written)?;
            self.written += 1;
        }
        Ok(())
    }
}

/// A journal's files, `rotated` of them rotated away, in the order of their writing.
pub(super) fn oldest_first(folder: &Path, rotated: u32) -> impl Iterator<Item = PathBuf> {
    let rotated = (1..=rotated).rev().map(|number| rotated_path(folder, number));
    rotated.chain([current_path(folder)])
}

// Length of the most whole lines that fit into `room`.
fn fitting(lines: &[u8], room: usize) -> usize {
    lines[..lines.len().min(room)].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1)
}

fn first_line(lines: &[u8]) -> usize {
    lines.iter().position(|byte| *byte == b'\n').map_or(lines.len(), |end| end + 1)
}

fn current_path(folder: &Path) -> PathBuf {
    folder.join("audit.jsonl")
}

fn spare_path(folder: &Path) -> PathBuf {
    folder.join("audit.next")
}

fn rotated_path(folder: &Path, number: u32) -> PathBuf {
    folder.join(format!("audit.{number}.jsonl"))
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    none_is_fine(fs::remove_file(path))
}

fn rename_if_there(from: &Path, to: &Path) -> io::Result<()> {
    none_is_fine(fs::rename(from, to))
}

fn none_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
