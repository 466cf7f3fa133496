//! The walk: every directory that a rule may reach, depth first, one system call per entry where its type is
//! known and one more where a rule names it.
//!
//! In: opened roots and compiled rules. Out: what it finds, told to [`Findings`].
//! Must never: follow a symlink, enter another mount, hold more than the bounds below, whatever the tree is like.
//!
//! A directory is read twice where it has children: first its files, then its subdirectories. So what
//! `keepNewest` holds back is one directory's, and a level of the stack holds names from one getdents buffer only.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::{CStr, CString};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, FileType, RawDir, SeekFrom};
use rustix::io::Errno;

use super::findings::{Findings, Halt};
use super::judge::Judge;
use super::lower::LowerDirectories;
use super::newest::{Newest, NewestOfDirectory};
use super::tree::{self, MountOf};
use super::wire::WireError;
use super::{Candidate, Identity, Kept, ScanEnd, ScanRequest, ScanRoot};
use crate::policy::Judgement;

/// Levels of directories, each of which holds one handle open.
pub(super) const MAX_DEPTH: usize = 1024;

/// Longest path below a root, bytes: eight times the kernel's PATH_MAX (a tree may be deeper than a path can say),
/// and well inside one frame.
pub(super) const MAX_PATH: usize = 32 * 1024;

/// Handles on lower layers, all levels together. A directory that would need more is counted as an error and not
/// entered: without them nobody can say what the image has.
pub(super) const MAX_LOWER_HANDLES: usize = 4096;

/// One getdents call's worth, bytes; what glibc's readdir asks for, too.
const READ_BUFFER: usize = 32 * 1024;

/// One getdents call's worth of subdirectories, bytes: held per level, so 8 MiB at [`MAX_DEPTH`].
const DESCENT_BUFFER: usize = 8 * 1024;

/// One root with its handles.
#[derive(Debug)]
pub(super) struct OpenRoot {
    pub(super) directory: OwnedFd,
    pub(super) lower: Vec<OwnedFd>,
}

/// A directory whose subdirectories are being walked.
#[derive(Debug)]
struct Level {
    directory: OwnedFd,
    lower: LowerDirectories,
    /// Length of [`Walk::path`] for this directory.
    path_len: usize,
    pending: VecDeque<CString>,
}

/// The tree that is being walked now.
struct Tree<'r> {
    index: u16,
    root: &'r ScanRoot,
    mounts: BTreeSet<&'r [u8]>,
    mount: MountOf,
    /// Length of the part of [`Walk::path`] that is `seen_at`.
    base_len: usize,
}

/// One walk over all roots.
pub(super) struct Walk<'r, W, Stop> {
    request: &'r ScanRequest,
    judge: &'r Judge,
    findings: Findings<W, Stop>,
    /// The current path as the container sees it, without a trailing slash (the root itself is empty).
    path: Vec<u8>,
    lower_handles: usize,
}

impl<'r, W: Write, Stop: FnMut() -> bool> Walk<'r, W, Stop> {
    pub(super) fn new(request: &'r ScanRequest, judge: &'r Judge, findings: Findings<W, Stop>) -> Self {
        Self { request, judge, findings, path: Vec::new(), lower_handles: 0 }
    }

    /// Walks all roots and tells the end. An error is the pipe's: nobody is left to tell.
    pub(super) fn run(mut self, roots: Vec<OpenRoot>) -> Result<(), WireError> {
        let end = match self.walk_all(roots) {
            Ok(()) => ScanEnd::Complete,
            Err(Halt::End(end)) => end,
            Err(Halt::Pipe(error)) => return Err(error),
        };
        self.findings.finish(end)
    }

    fn walk_all(&mut self, roots: Vec<OpenRoot>) -> Result<(), Halt> {
        let request = self.request;
        for ((index, root), open) in (0..).zip(&request.roots).zip(roots) {
            let seen_at = root.seen_at.as_os_str().as_bytes();
            self.path.clear();
            self.path.extend_from_slice(seen_at.strip_suffix(b"/").unwrap_or(seen_at));
            let tree = Tree {
                index,
                root,
                mounts: root.mounts.iter().map(|path| path.as_os_str().as_bytes()).collect(),
                mount: match tree::mount_of(&open.directory) {
                    Ok(mount) => mount,
                    Err(errno) => {
                        self.findings.error(&self.path, errno);
                        continue;
                    }
                },
                base_len: self.path.len(),
            };
            self.lower_handles = open.lower.len();
            self.walk_tree(&tree, open.directory, LowerDirectories::new(open.lower))?;
        }
        Ok(())
    }

    fn walk_tree(&mut self, tree: &Tree<'_>, root: OwnedFd, lower: LowerDirectories) -> Result<(), Halt> {
        let mut levels = Vec::new();
        levels.extend(self.read_files(tree, root, lower)?);
        loop {
            let depth = levels.len();
            let Some(level) = levels.last_mut() else { return Ok(()) };
            self.path.truncate(level.path_len);
            if let Some(name) = self.next_child(level) {
                self.findings.check()?;
                if let Some((directory, lower)) = self.enter(tree, level, &name, depth) {
                    levels.extend(self.read_files(tree, directory, lower)?);
                }
            } else {
                self.lower_handles -= level.lower.len();
                levels.pop();
            }
        }
    }

    /// First reading: everything but the subdirectories. Hands the directory back if it has any.
    fn read_files(
        &mut self,
        tree: &Tree<'_>,
        directory: OwnedFd,
        lower: LowerDirectories,
    ) -> Result<Option<Level>, Halt> {
        self.findings.directory();
        let path_len = self.path.len();
        let mut newest = NewestOfDirectory::default();
        let mut has_children = false;
        let mut buffer = Vec::with_capacity(READ_BUFFER);
        let mut entries = RawDir::new(&directory, buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(errno) => {
                    self.findings.error(&self.path, errno);
                    break;
                }
            };
            let name = entry.file_name();
            if is_dot(name) {
                continue;
            }
            self.findings.entry()?;
            if entry.file_type() == FileType::Directory {
                has_children = true;
                continue;
            }
            self.push(name);
            has_children |= self.look(tree, &directory, &lower, name, entry.file_type(), &mut newest)?;
            self.path.truncate(path_len);
        }
        self.findings.keep(Kept::Newest, newest.finish());
        if has_children {
            match rustix::fs::seek(&directory, SeekFrom::Start(0)) {
                Ok(_) => return Ok(Some(Level { directory, lower, path_len, pending: VecDeque::new() })),
                Err(errno) => self.findings.error(&self.path, errno),
            }
        }
        self.lower_handles -= lower.len();
        Ok(None)
    }

    /// Second reading: the next subdirectory; `None` after the last.
    fn next_child(&mut self, level: &mut Level) -> Option<CString> {
        while level.pending.is_empty() {
            let mut buffer = Vec::with_capacity(DESCENT_BUFFER);
            let mut entries = RawDir::new(&level.directory, buffer.spare_capacity_mut());
            loop {
                match entries.next() {
                    None => break,
                    Some(Err(errno)) => {
                        self.findings.error(&self.path, errno);
                        return None;
                    }
                    // An unknown type is tried: opening it as a directory tells.
                    Some(Ok(entry))
                        if matches!(entry.file_type(), FileType::Directory | FileType::Unknown) =>
                    {
                        if !is_dot(entry.file_name()) {
                            level.pending.push_back(entry.file_name().to_owned());
                        }
                    }
                    Some(Ok(_)) => {}
                }
                // The handle remembers where the next buffer starts.
                if entries.is_buffer_empty() && !level.pending.is_empty() {
                    break;
                }
            }
            if level.pending.is_empty() {
                return None;
            }
        }
        level.pending.pop_front()
    }

    /// Opens a subdirectory if it is in scope and a rule may match below it.
    fn enter(
        &mut self,
        tree: &Tree<'_>,
        parent: &Level,
        name: &CStr,
        depth: usize,
    ) -> Option<(OwnedFd, LowerDirectories)> {
        self.push(name);
        if !self.judge.may_match_below(tree.root.kind, &self.path) {
            return None;
        }
        if tree.mounts.contains(self.path.as_slice()) {
            self.findings.keep(Kept::MountInside, 1);
            return None;
        }
        if depth >= MAX_DEPTH || self.path.len() > MAX_PATH {
            self.findings.error(&self.path, Errno::NAMETOOLONG);
            return None;
        }
        match self.open(tree, parent, name) {
            Ok(opened) => opened,
            // Removed or replaced since it was listed.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => None,
            Err(errno) => {
                self.findings.error(&self.path, errno);
                None
            }
        }
    }

    fn open(
        &mut self,
        tree: &Tree<'_>,
        parent: &Level,
        name: &CStr,
    ) -> Result<Option<(OwnedFd, LowerDirectories)>, Errno> {
        let directory = tree::open_child(&parent.directory, name)?;
        if tree::mount_of(&directory)? != tree.mount {
            self.findings.keep(Kept::MountInside, 1);
            return Ok(None);
        }
        if self.lower_handles + parent.lower.len() > MAX_LOWER_HANDLES {
            return Err(Errno::MFILE);
        }
        let lower = parent.lower.child(name)?;
        self.lower_handles += lower.len();
        Ok(Some((directory, lower)))
    }

    /// Looks at one entry that getdents did not call a directory. True: it is one after all.
    fn look(
        &mut self,
        tree: &Tree<'_>,
        directory: &OwnedFd,
        lower: &LowerDirectories,
        name: &CStr,
        listed_as: FileType,
        newest: &mut NewestOfDirectory,
    ) -> Result<bool, Halt> {
        let kind = tree.root.kind;
        if listed_as != FileType::Unknown && !self.judge.names(kind, &self.path) {
            return Ok(false);
        }
        let stat = match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(false),
            Err(errno) => {
                self.findings.error(&self.path, errno);
                return Ok(false);
            }
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => return Ok(true),
            // Overlayfs's whiteout: to the container there is no such file.
            FileType::CharacterDevice if stat.st_rdev == 0 => return Ok(false),
            _ => {}
        }
        let identity = Identity::from(&stat);
        match self.judge.judge(kind, &self.path, &identity) {
            Judgement::NotNamed => {}
            Judgement::Kept(reason) => self.findings.keep(reason, 1),
            Judgement::Junk { rule, action } => {
                if let Some(reason) = self.hidden(tree, lower, name) {
                    self.findings.keep(reason, 1);
                    return Ok(false);
                }
                let path = self.path[tree.base_len + 1..].to_vec();
                let allocated = allocated(&stat);
                self.found(Candidate { root: tree.index, path, rule, action, identity, allocated }, newest)?;
            }
        }
        Ok(false)
    }

    /// What the rules cannot see: another mount on the file, the image's layers, a path too long to tell.
    fn hidden(&mut self, tree: &Tree<'_>, lower: &LowerDirectories, name: &CStr) -> Option<Kept> {
        if tree.mounts.contains(self.path.as_slice()) {
            return Some(Kept::MountInside);
        }
        match lower.have(name) {
            Ok(false) => None,
            Ok(true) => Some(Kept::LowerLayer),
            Err(errno) => {
                self.findings.error(&self.path, errno);
                Some(Kept::LowerLayer)
            }
        }
    }

    fn found(&mut self, candidate: Candidate, newest: &mut NewestOfDirectory) -> Result<(), Halt> {
        let keep = self.judge.keep_newest(candidate.rule);
        if keep == 0 {
            return self.findings.candidate(candidate);
        }
        match newest.offer(candidate, keep) {
            Newest::Held => Ok(()),
            Newest::Falls(older) => self.findings.candidate(older),
            Newest::Stays(reason) => {
                self.findings.keep(reason, 1);
                Ok(())
            }
        }
    }

    fn push(&mut self, name: &CStr) {
        self.path.push(b'/');
        self.path.extend_from_slice(name.to_bytes());
    }
}

fn is_dot(name: &CStr) -> bool {
    matches!(name.to_bytes(), b"." | b"..")
}

/// `st_blocks` counts 512-byte units on every filesystem (stat(2)).
fn allocated(stat: &rustix::fs::Stat) -> u64 {
    u64::try_from(stat.st_blocks).unwrap_or_default() * 512
}
