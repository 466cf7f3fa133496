//! What a container may do to its files between scan and removal.
//!
//! In: a container, its files as they were scanned. Out: changes, and which files they touched. Nothing is ever
//! unlinked here: a file that loses its last name has lost it to podsweep (or to another file that was renamed over it,
//! which is remembered).

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use rustix::fs::{CWD, Mode, OFlags, RenameFlags, fstat, openat, renameat_with};

use super::super::super::test_bed::Pod;
use super::reference::{Files, Gone, Kind};
use super::tree::in_upper;

#[derive(Debug, Clone, Copy)]
pub(super) enum Change {
    Rename,
    Link,
    /// One byte, the size as before.
    Rewrite,
    Grow,
    /// Another file is renamed over it.
    Replace,
    Chmod,
    /// With another, in one step.
    Exchange(usize),
    /// Its directory is renamed, and a symlink to the new name put in the old place.
    MoveDirectory,
    /// Regular files only, and held to the end.
    Open,
}

pub(super) fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        Just(Change::Rename),
        Just(Change::Link),
        Just(Change::Rewrite),
        Just(Change::Grow),
        Just(Change::Replace),
        Just(Change::Chmod),
        any::<usize>().prop_map(Change::Exchange),
        Just(Change::MoveDirectory),
        Just(Change::Open),
    ]
}

/// A file under watch, held by a handle that keeps its inode from being used again and is no opening of it.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) path: Vec<u8>,
    kind: Kind,
    size: u64,
    inode: u64,
    handle: OwnedFd,
}

/// All files of a container under watch.
pub(super) struct Watch {
    container: PathBuf,
    pub(super) files: Vec<Watched>,
    /// By number: changed, and so to stay.
    pub(super) touched: BTreeSet<usize>,
    /// By number: opened, and so not to be removed; what holds a file open does not keep it from being truncated.
    pub(super) held: BTreeSet<usize>,
    /// By number: another was renamed over it.
    replaced: BTreeSet<usize>,
    newcomers: Vec<OwnedFd>,
    opened: Vec<fs::File>,
    names: u32,
}

impl Watched {
    fn new(pod: &Pod, path: &[u8], kind: Kind, size: u64, inode: u64) -> Self {
        let handle = handle(&in_upper(pod, path));
        Self { path: path.to_vec(), kind, size, inode, handle }
    }

    /// Whether it has lost its last name, or its content.
    pub(super) fn gone(&self) -> Option<Gone> {
        let now = fstat(&self.handle).unwrap();
        if now.st_nlink == 0 {
            return Some(Gone::Removed);
        }
        (now.st_size == 0 && self.size > 0).then_some(Gone::Truncated)
    }
}

fn handle(path: &Path) -> OwnedFd {
    openat(CWD, path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()).unwrap()
}

impl Watch {
    pub(super) fn new(pod: &Pod, files: &Files) -> Self {
        let watched =
            files.iter().map(|(path, file)| Watched::new(pod, path, file.kind, file.size, file.inode));
        Self {
            container: pod.inside("/"),
            files: watched.collect(),
            touched: BTreeSet::new(),
            held: BTreeSet::new(),
            replaced: BTreeSet::new(),
            newcomers: Vec::new(),
            opened: Vec::new(),
            names: 0,
        }
    }

    /// Files that podsweep has taken the last name or the content from.
    pub(super) fn gone(&self) -> impl Iterator<Item = (usize, Gone)> {
        let lost = self.files.iter().enumerate().filter(|(number, _)| !self.replaced.contains(number));
        lost.filter_map(|(number, file)| Some((number, file.gone()?)))
    }

    /// How many of the files that came after the scan are gone.
    pub(super) fn newcomers_gone(&self) -> usize {
        self.newcomers.iter().filter(|newcomer| fstat(newcomer).unwrap().st_nlink == 0).count()
    }

    /// Changes one of the files `among`, if it is still where it was scanned. What the filesystem refuses (a directory of
    /// the image cannot be renamed) changes nothing.
    pub(super) fn change(&mut self, among: &[usize], choice: usize, change: Change) {
        let Some(number) = choice.checked_rem(among.len()).map(|index| among[index]) else { return };
        let path = self.inside(number);
        if !self.is_in_place(number) {
            return;
        }
        let changed = match change {
            Change::Rename => renamed(&path, &self.fresh(&path)),
            Change::Link => fs::hard_link(&path, self.fresh(&path)).is_ok(),
            Change::Rewrite => self.is_file(number) && written(fs::File::options().write(true).open(&path)),
            Change::Grow => self.is_file(number) && written(fs::File::options().append(true).open(&path)),
            Change::Chmod => {
                self.is_file(number) && fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).is_ok()
            }
            Change::Open => return self.open(number, &path),
            Change::Replace => self.replace(number, &path),
            Change::Exchange(other) => return self.exchange(number, other % self.files.len()),
            Change::MoveDirectory => return self.move_directory(number),
        };
        if changed {
            self.touched.insert(number);
        }
    }

    fn inside(&self, number: usize) -> PathBuf {
        self.container.join(std::ffi::OsStr::from_bytes(&self.files[number].path[1..]))
    }

    /// A file that podsweep has truncated is there, and nothing that happens to it from then on keeps it as it was: the
    /// first batch (eight candidates, or as many as came within a second) is worked off before the later changes.
    fn is_in_place(&self, number: usize) -> bool {
        let same = |now: fs::Metadata| now.ino() == self.files[number].inode;
        self.files[number].gone().is_none() && fs::symlink_metadata(self.inside(number)).is_ok_and(same)
    }

    fn is_file(&self, number: usize) -> bool {
        self.files[number].kind == Kind::File
    }

    fn fresh(&mut self, beside: &Path) -> PathBuf {
        self.names += 1;
        let mut name = OsString::from(beside);
        name.push(format!(".{}", self.names));
        PathBuf::from(name)
    }

    fn open(&mut self, number: usize, path: &Path) {
        if self.is_file(number) {
            self.opened.extend(fs::File::open(path));
            self.held.insert(number);
        }
    }

    fn replace(&mut self, number: usize, path: &Path) -> bool {
        let fresh = self.fresh(path);
        fs::write(&fresh, "new").unwrap();
        // Of the merged view, unlike the others: this one was never looked up in the upper layer.
        let newcomer = handle(&fresh);
        if !renamed(&fresh, path) {
            return false;
        }
        self.newcomers.push(newcomer);
        self.replaced.insert(number)
    }

    fn exchange(&mut self, number: usize, other: usize) {
        let (one, two) = (self.inside(number), self.inside(other));
        let both = number != other && self.is_in_place(other);
        if both && renameat_with(CWD, &one, CWD, &two, RenameFlags::EXCHANGE).is_ok() {
            self.touched.extend([number, other]);
        }
    }

    fn move_directory(&mut self, number: usize) {
        let path = self.inside(number);
        let directory = path.parent().unwrap();
        let fresh = self.fresh(directory);
        if directory == self.container || !renamed(directory, &fresh) {
            return;
        }
        symlink(fresh.file_name().unwrap(), directory).unwrap();
        let below: Vec<usize> =
            (0..self.files.len()).filter(|&file| self.inside(file).starts_with(directory)).collect();
        for file in below {
            if self.is_in_place(file) {
                self.touched.insert(file);
            }
        }
    }
}

fn renamed(from: &Path, to: &Path) -> bool {
    fs::rename(from, to).is_ok()
}

fn written(file: std::io::Result<fs::File>) -> bool {
    file.and_then(|mut file| file.write_all(b"!")).is_ok()
}
