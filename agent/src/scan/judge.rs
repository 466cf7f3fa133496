//! The scan's view of `policy::junk`: the rules of one request, judged at the request's time.
//!
//! In: a path as the container sees it and what the file is. Out: junk by which rule, kept and why, or not named.
//! Must never: touch a file.

use rustix::fs::FileType as RawType;

use super::Identity;
use crate::inventory::VolumeKind;
use crate::policy::{FileFacts, FileType, Judgement, Junk, JunkError, JunkRule};

/// Facts for asking about a path alone: whether any rule covers it does not depend on them.
const NO_FACTS: FileFacts =
    FileFacts { file_type: None, mode: 0, uid: 0, links: 0, size: 0, mtime: (0, 0), ctime: (0, 0) };

/// The compiled rules of one request.
#[derive(Debug)]
pub(super) struct Judge {
    junk: Junk,
    /// `keepNewest` of each rule.
    keep_newest: Vec<u32>,
    now: (i64, u32),
}

impl Judge {
    pub(super) fn compile(rules: &[JunkRule], never: &[String], now: (i64, u32)) -> Result<Self, JunkError> {
        let keep_newest = rules.iter().map(|rule| rule.keep_newest).collect();
        Ok(Self { junk: Junk::compile(rules, never)?, keep_newest, now })
    }

    /// Whether any rule's paths cover `path`: worth a look at the file itself, which may cost a read of the disk.
    pub(super) fn names(&self, kind: VolumeKind, path: &[u8]) -> bool {
        self.junk.judge(kind, path, &NO_FACTS, self.now) != Judgement::NotNamed
    }

    pub(super) fn judge(&self, kind: VolumeKind, path: &[u8], file: &Identity) -> Judgement {
        self.junk.judge(kind, path, &facts(file), self.now)
    }

    pub(super) fn may_match_below(&self, kind: VolumeKind, directory: &[u8]) -> bool {
        self.junk.may_match_below(kind, directory)
    }

    pub(super) fn keep_newest(&self, rule: u16) -> u32 {
        self.keep_newest.get(usize::from(rule)).copied().unwrap_or_default()
    }
}

fn facts(file: &Identity) -> FileFacts {
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
    match RawType::from_raw_mode(mode) {
        RawType::RegularFile => Some(FileType::File),
        RawType::Symlink => Some(FileType::Symlink),
        RawType::Socket => Some(FileType::Socket),
        RawType::Fifo => Some(FileType::Fifo),
        _ => None,
    }
}
