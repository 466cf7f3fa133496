//! The policy's rules as the walk asks them: by what `statx` shows, at one moment for the whole scan.
//!
//! In: a path as the container sees it and what the file is. Out: junk by which rule, kept and why, or not named.
//! Must never: touch a file.

use super::Identity;
use crate::inventory::VolumeKind;
use crate::policy::Judgement;
use crate::policy::{FileFacts, FileType, Junk, JunkError, JunkRule};

/// The compiled rules of one request.
#[derive(Debug)]
pub(super) struct Judge {
    junk: Junk,
    keep_newest: Vec<u32>,
    now: (i64, u32),
}

impl Judge {
    pub(super) fn compile(rules: &[JunkRule], never: &[String], now: (i64, u32)) -> Result<Self, JunkError> {
        let keep_newest = rules.iter().map(|rule| rule.keep_newest).collect();
        Ok(Self { junk: Junk::compile(rules, never)?, keep_newest, now })
    }

    /// Whether any rule's paths cover `path`: worth a look at the file itself.
    pub(super) fn names(&self, kind: VolumeKind, path: &[u8]) -> bool {
        self.junk.covers(kind, path)
    }

    pub(super) fn judge(&self, kind: VolumeKind, path: &[u8], file: &Identity) -> Judgement {
        self.junk.judge(kind, path, &facts(file), self.now)
    }

    pub(super) fn may_match_below(&self, kind: VolumeKind, directory: &[u8]) -> bool {
        self.junk.may_match_below(kind, directory)
    }

    pub(super) fn keep_newest(&self, rule: u16) -> u32 {
        self.keep_newest.get(usize::from(rule)).copied().unwrap_or(0)
    }
}

/// An identity as the rules ask for it.
pub fn facts(file: &Identity) -> FileFacts {
    FileFacts {
        file_type: file_type(file.mode),
        mode: file.mode,
        uid: file.uid,
        links: file.links,
        size: file.size,
        mtime: file.mtime,
        ctime: file.ctime,
    }
}

fn file_type(mode: u32) -> Option<FileType> {
    match rustix::fs::FileType::from_raw_mode(mode) {
        rustix::fs::FileType::RegularFile => Some(FileType::File),
        rustix::fs::FileType::Symlink => Some(FileType::Symlink),
        rustix::fs::FileType::Socket => Some(FileType::Socket),
        rustix::fs::FileType::Fifo => Some(FileType::Fifo),
        _ => None,
    }
}
