//! Random trees: what a container's owner may leave lying about, of every type, in the image and above it.
//!
//! In: a random description. Out: a container that has it, and what the host sees in its upper layer.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use rustix::fs::{AtFlags, CWD, Mode, Timespec, Timestamps, mknodat, utimensat};

use super::super::super::test_bed::Pod;
use super::reference::{File, Files, Kind};

const DIRECTORIES: [&str; 7] = ["tmp", "tmp/a", "tmp/a/b", "tmp/.d", "cache", "cache/[x]", "var/log"];

/// None of a directory above, or planting one would be refused.
const NAMES: [&[u8]; 13] = [
    b"x.log",
    b"y.log",
    b"z.tmp",
    b".keep",
    b"core.1",
    b"core.22",
    b"*",
    b"[y]",
    b"with space",
    b"new\nline",
    b"\xff\xfe",
    "\u{e9}".as_bytes(),
    b"\x1b[31m",
];

/// Where symlinks lead: into the tree, out of it, nowhere.
const TARGETS: [&str; 4] = ["/cache", "x.log", "../../../../etc/passwd", "nowhere"];

/// mtimes from the present, seconds; 0: as it comes. Tests judge an hour from now, so that these are 40 minutes, 10
/// minutes and minus 10 minutes old, and the first as old as its ctime: an hour.
const MTIMES: [i64; 5] = [-18_000, 0, 1200, 3000, 4200];

#[derive(Debug, Clone, Copy)]
enum What {
    File(u16),
    Symlink(&'static str),
    Fifo,
    Socket,
    /// To the file planted before it.
    Link,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layer {
    /// Made by the container.
    Upper,
    /// Of the image, untouched.
    Lower,
    /// Of the image, changed by the container.
    CopiedUp,
    /// Of the image, removed by the container.
    WhitedOut,
}

#[derive(Debug, Clone)]
struct Planted {
    what: What,
    uid: u32,
    mtime: i64,
    layer: Layer,
}

/// A tree to be: by path below the root.
#[derive(Debug, Clone)]
pub(super) struct Tree(BTreeMap<PathBuf, Planted>);

pub(super) fn tree() -> impl Strategy<Value = Tree> {
    let what = prop_oneof![
        6 => (0u16..3000).prop_map(What::File),
        1 => prop::sample::select(&TARGETS[..]).prop_map(What::Symlink),
        1 => Just(What::Fifo),
        1 => Just(What::Socket),
        1 => Just(What::Link),
    ];
    let layer = prop_oneof![
        8 => Just(Layer::Upper),
        1 => Just(Layer::Lower),
        1 => Just(Layer::CopiedUp),
        1 => Just(Layer::WhitedOut),
    ];
    let uid = prop::sample::select(&[0u32, 0, 1000, 65_534][..]);
    let planted = (what, uid, prop::sample::select(&MTIMES[..]), layer)
        .prop_map(|(what, uid, mtime, layer)| Planted { what, uid, mtime, layer });
    let path = (prop::sample::select(&DIRECTORIES[..]), prop::sample::select(&NAMES[..]))
        .prop_map(|(directory, name)| Path::new(directory).join(std::ffi::OsStr::from_bytes(name)));
    prop::collection::btree_map(path, planted, 0..80).prop_map(Tree)
}

impl Tree {
    /// A container that has it.
    pub(super) fn plant(&self) -> Pod {
        let image = |lower: &Path| {
            for (path, _) in self.0.iter().filter(|(_, planted)| planted.layer != Layer::Upper) {
                let path = lower.join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, "of the image").unwrap();
            }
        };
        let pod = Pod::start(image, |_| {});
        let mut before = None;
        for (path, planted) in &self.0 {
            let path = pod.inside("/").join(path);
            match planted.layer {
                Layer::Upper => planted.make(&path, before.as_deref()),
                Layer::CopiedUp => {
                    fs::File::options().append(true).open(&path).unwrap().write_all(b"!").unwrap();
                }
                Layer::WhitedOut => fs::remove_file(&path).unwrap(),
                Layer::Lower => {}
            }
            before = (planted.layer == Layer::Upper).then_some(path);
        }
        pod
    }
}

impl Planted {
    fn make(&self, path: &Path, before: Option<&Path>) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let node = |kind| mknodat(CWD, path, kind, Mode::RUSR | Mode::WUSR, 0).unwrap();
        match (self.what, before) {
            (What::File(size), _) => fs::write(path, vec![b'x'; size.into()]).unwrap(),
            (What::Symlink(target), _) => symlink(target, path).unwrap(),
            (What::Fifo, _) => node(rustix::fs::FileType::Fifo),
            (What::Socket, _) => node(rustix::fs::FileType::Socket),
            (What::Link, Some(before)) => fs::hard_link(before, path).unwrap(),
            (What::Link, None) => fs::write(path, "alone").unwrap(),
        }
        std::os::unix::fs::lchown(path, Some(self.uid), None).unwrap();
        if self.mtime != 0 {
            let time = Timespec { tv_sec: present() + self.mtime, tv_nsec: 0 };
            let times = Timestamps { last_access: time, last_modification: time };
            utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
        }
    }
}

fn present() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    i64::try_from(since.unwrap_or(Duration::ZERO).as_secs()).unwrap()
}

/// Where the host sees a path of the container's own making.
pub(super) fn in_upper(pod: &Pod, path: &[u8]) -> PathBuf {
    pod.upper().join(std::ffi::OsStr::from_bytes(&path[1..]))
}

/// The files and the directories of the upper layer.
pub(super) fn upper(pod: &Pod) -> (Files, BTreeSet<Vec<u8>>) {
    let (mut files, mut directories) = (Files::new(), BTreeSet::new());
    look_below(pod, b"", &mut files, &mut directories);
    (files, directories)
}

fn look_below(pod: &Pod, directory: &[u8], files: &mut Files, directories: &mut BTreeSet<Vec<u8>>) {
    let (upper, image) = (pod.upper(), pod.upper().with_file_name("lower"));
    let here = std::ffi::OsStr::from_bytes(directory.strip_prefix(b"/").unwrap_or_default());
    for entry in fs::read_dir(upper.join(here)).unwrap() {
        let name = entry.unwrap().file_name();
        let path = [directory, b"/", name.as_bytes()].concat();
        let metadata = fs::symlink_metadata(upper.join(here).join(&name)).unwrap();
        if metadata.is_dir() {
            directories.insert(path.clone());
            look_below(pod, &path, files, directories);
            continue;
        }
        let in_image = fs::symlink_metadata(image.join(here).join(&name)).is_ok();
        files.insert(path, file(&metadata, in_image));
    }
}

fn file(metadata: &fs::Metadata, in_image: bool) -> File {
    let file_type = metadata.file_type();
    let kind = match file_type {
        _ if file_type.is_file() => Kind::File,
        _ if file_type.is_symlink() => Kind::Symlink,
        _ if file_type.is_socket() => Kind::Socket,
        _ if file_type.is_fifo() => Kind::Fifo,
        _ => Kind::Other,
    };
    let mtime = (metadata.mtime(), metadata.mtime_nsec());
    File {
        kind,
        uid: metadata.uid(),
        links: metadata.nlink(),
        size: metadata.size(),
        touched: mtime.max((metadata.ctime(), metadata.ctime_nsec())),
        inode: metadata.ino(),
        in_image,
    }
}
