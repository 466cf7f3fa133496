//! Every operation that must be counted, or must not be, and what each must count.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;

use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, OpenHow, RenameFlags, openat2, renameat2};
use nix::libc;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::{Mode, SFlag, mknod};
use nix::unistd::linkat;
use podsweep::observe::{Counts, Kind, Tier};

use crate::kernel_filesystems::Filesystem;
use crate::kernel_raw as raw;

/// One operation, in a folder of its own.
#[derive(Debug, Clone, Copy)]
pub struct Operation {
    /// For people.
    pub name: &'static str,
    /// What must be there first; not measured.
    prepare: fn(&Path) -> io::Result<()>,
    /// What is measured.
    run: fn(&Path) -> io::Result<()>,
    /// What it must count, and nothing else.
    expected: &'static [(Kind, u64)],
    /// Needs a file of a lower layer.
    overlay_only: bool,
}

impl Operation {
    /// Its folder's name.
    pub fn folder(&self) -> String {
        self.name.replace(|letter: char| !letter.is_ascii_alphanumeric(), "-")
    }

    /// Whether it makes sense there.
    pub fn applies_to(&self, filesystem: Filesystem) -> bool {
        !self.overlay_only || filesystem == Filesystem::Overlay
    }

    /// What a tier must have counted: no tier that reads system calls can see that a rename removed its target.
    pub fn expected(&self, tier: Tier) -> Counts {
        let visible = |kind: Kind| tier != Tier::SysExit || kind != Kind::RenameOver;
        self.expected.iter().copied().filter(|(kind, _)| visible(*kind)).collect()
    }

    /// Makes what it needs, below the root of a filesystem.
    pub fn prepare(&self, root: &Path) -> io::Result<()> {
        let folder = root.join(self.folder());
        fs::create_dir_all(&folder)?;
        (self.prepare)(&folder)
    }

    /// Does it.
    pub fn run(&self, root: &Path) -> io::Result<()> {
        (self.run)(&root.join(self.folder()))
    }
}

const fn counted(
    name: &'static str,
    prepare: fn(&Path) -> io::Result<()>,
    run: fn(&Path) -> io::Result<()>,
    expected: &'static [(Kind, u64)],
) -> Operation {
    Operation { name, prepare, run, expected, overlay_only: false }
}

const fn on_lower(
    name: &'static str,
    prepare: fn(&Path) -> io::Result<()>,
    run: fn(&Path) -> io::Result<()>,
    expected: &'static [(Kind, u64)],
) -> Operation {
    Operation { name, prepare, run, expected, overlay_only: true }
}

/// All of them.
pub const OPERATIONS: &[Operation] = &[
    // Creations.
    counted("openat, new", nothing, |d| create_new(&d.join("new")), &[(Kind::Create, 1)]),
    counted("open, new", nothing, |d| raw::open(&d.join("new"), CREATE).map(drop), &[(Kind::Create, 1)]),
    counted("creat, new", nothing, |d| raw::creat(&d.join("new")).map(drop), &[(Kind::Create, 1)]),
    counted("openat2, new", nothing, |d| open_how(&d.join("new")), &[(Kind::Create, 1)]),
    counted("open through a dangling symlink", dangling, |d| create(&d.join("link")), &[(Kind::Create, 1)]),
    counted("O_TMPFILE", nothing, |d| tmpfile(d).map(drop), &[(Kind::Tmpfile, 1)]),
    counted("O_TMPFILE, then linked", nothing, link_tmpfile, &[(Kind::Tmpfile, 1), (Kind::Link, 1)]),
    counted("mkdir", nothing, |d| fs::create_dir(d.join("new")), &[(Kind::Mkdir, 1)]),
    counted("mknod, FIFO", nothing, |d| node(d, SFlag::S_IFIFO), &[(Kind::Mknod, 1)]),
    counted("mknod, regular file", nothing, |d| node(d, SFlag::S_IFREG), &[(Kind::Mknod, 1)]),
    counted("symlink", nothing, |d| symlink("nowhere", d.join("new")), &[(Kind::Symlink, 1)]),
    counted("link", file, |d| fs::hard_link(d.join("file"), d.join("new")), &[(Kind::Link, 1)]),
    counted("bind of a path", nothing, bind_path, &[(Kind::SockBind, 1)]),
    // Removals.
    counted("unlink", file, |d| fs::remove_file(d.join("file")), &[(Kind::Unlink, 1)]),
    counted("rmdir", folder, |d| fs::remove_dir(d.join("folder")), &[(Kind::Rmdir, 1)]),
    counted(
        "unlinkat, folder and file",
        folder_and_file,
        remove_tree,
        &[(Kind::Unlink, 1), (Kind::Rmdir, 1)],
    ),
    // Renames.
    counted("rename to a new name", file, |d| rename(d, "file", "new", NO_FLAGS), &[(Kind::Rename, 1)]),
    counted(
        "rename over a file",
        two_files,
        |d| rename(d, "file", "other", NO_FLAGS),
        &[(Kind::Rename, 1), (Kind::RenameOver, 1)],
    ),
    counted(
        "rename, exchange",
        two_files,
        |d| rename(d, "file", "other", RenameFlags::RENAME_EXCHANGE),
        &[(Kind::Rename, 1)],
    ),
    counted(
        "rename of two names of one file",
        two_names,
        |d| rename(d, "file", "other", NO_FLAGS),
        &[(Kind::Rename, 1)],
    ),
    // 32-bit programs, whose numbers mean other things.
    counted("32-bit open, new", nothing, |d| raw::compat::create(&d.join("new")), &[(Kind::Create, 1)]),
    counted("32-bit mkdir", nothing, |d| raw::compat::mkdir(&d.join("new")), &[(Kind::Mkdir, 1)]),
    counted("32-bit unlink", file, |d| raw::compat::unlink(&d.join("file")), &[(Kind::Unlink, 1)]),
    counted(
        "32-bit symlink",
        nothing,
        |d| raw::compat::symlink(Path::new("nowhere"), &d.join("new")),
        &[(Kind::Symlink, 1)],
    ),
    // Nothing was made or removed.
    counted("open with O_CREAT of an existing file", file, |d| create(&d.join("file")), &[]),
    counted("openat2 of an existing file", file, |d| open_how(&d.join("file")), &[]),
    counted("open with O_TRUNC", file, |d| fs::File::create(d.join("file")).map(drop), &[]),
    counted("exclusive open of an existing file", file, |d| fails(create_new(&d.join("file"))), &[]),
    counted("open of a name too long", nothing, |d| fails(create(&d.join("x".repeat(300)))), &[]),
    counted("open in a missing folder", nothing, |d| fails(create(&d.join("missing/new"))), &[]),
    counted("mkdir of an existing folder", folder, |d| fails(fs::create_dir(d.join("folder"))), &[]),
    counted(
        "link to an existing name",
        two_files,
        |d| fails(fs::hard_link(d.join("file"), d.join("other"))),
        &[],
    ),
    counted("unlink of a missing file", nothing, |d| fails(fs::remove_file(d.join("missing"))), &[]),
    counted("rmdir of a folder in use", folder_and_file, |d| fails(fs::remove_dir(d.join("folder"))), &[]),
    counted("bind of an abstract name", nothing, bind_abstract, &[]),
    counted("memfd", nothing, |_| Ok(memfd_create("podsweep-test", MFdFlags::empty()).map(drop)?), &[]),
    // Overlayfs does its own work on the upper layer, which is no operation of the container's.
    on_lower("copy-up", nothing, |d| OpenOptions::new().write(true).open(d.join("lower")).map(drop), &[]),
    on_lower(
        "unlink of an image's file",
        nothing,
        |d| fs::remove_file(d.join("lower")),
        &[(Kind::Unlink, 1)],
    ),
    on_lower("create over a whiteout", whiteout, |d| create_new(&d.join("lower")), &[(Kind::Create, 1)]),
    on_lower("mkdir over a whiteout", whiteout, |d| fs::create_dir(d.join("lower")), &[(Kind::Mkdir, 1)]),
    on_lower(
        "rename of an image's file",
        nothing,
        |d| rename(d, "lower", "new", NO_FLAGS),
        &[(Kind::Rename, 1)],
    ),
];

const CREATE: i32 = libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY;
const NO_FLAGS: RenameFlags = RenameFlags::empty();

#[expect(clippy::unnecessary_wraps, reason = "one of the table's functions")]
fn nothing(_: &Path) -> io::Result<()> {
    Ok(())
}

fn file(folder: &Path) -> io::Result<()> {
    fs::write(folder.join("file"), "content")
}

fn two_files(folder: &Path) -> io::Result<()> {
    file(folder)?;
    fs::write(folder.join("other"), "content")
}

fn two_names(folder: &Path) -> io::Result<()> {
    file(folder)?;
    fs::hard_link(folder.join("file"), folder.join("other"))
}

fn folder(folder: &Path) -> io::Result<()> {
    fs::create_dir(folder.join("folder"))
}

fn folder_and_file(parent: &Path) -> io::Result<()> {
    folder(parent)?;
    fs::write(parent.join("folder/file"), "content")
}

fn dangling(folder: &Path) -> io::Result<()> {
    symlink("target", folder.join("link"))
}

fn whiteout(folder: &Path) -> io::Result<()> {
    fs::remove_file(folder.join("lower"))
}

fn create_new(path: &Path) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).open(path).map(drop)
}

fn create(path: &Path) -> io::Result<()> {
    OpenOptions::new().write(true).create(true).truncate(false).open(path).map(drop)
}

fn open_how(path: &Path) -> io::Result<()> {
    let how = OpenHow::new().flags(OFlag::O_CREAT | OFlag::O_WRONLY).mode(Mode::S_IRUSR | Mode::S_IWUSR);
    Ok(openat2(AT_FDCWD, path, how).map(drop)?)
}

fn tmpfile(folder: &Path) -> io::Result<fs::File> {
    let flags = OFlag::O_TMPFILE | OFlag::O_RDWR;
    Ok(nix::fcntl::open(folder, flags, Mode::S_IRUSR | Mode::S_IWUSR)?.into())
}

fn link_tmpfile(folder: &Path) -> io::Result<()> {
    let file = tmpfile(folder)?;
    let source = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(linkat(AT_FDCWD, source.as_str(), AT_FDCWD, &folder.join("new"), AtFlags::AT_SYMLINK_FOLLOW)?)
}

fn node(folder: &Path, kind: SFlag) -> io::Result<()> {
    Ok(mknod(&folder.join("new"), kind, Mode::S_IRUSR | Mode::S_IWUSR, 0)?)
}

fn bind_path(folder: &Path) -> io::Result<()> {
    // A socket's path is short (108 bytes): a relative one always fits.
    std::env::set_current_dir(folder)?;
    let bound = UnixListener::bind("new").map(drop);
    std::env::set_current_dir("/")?;
    bound
}

fn bind_abstract(_: &Path) -> io::Result<()> {
    use std::os::linux::net::SocketAddrExt;
    let name = format!("podsweep-test-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
    UnixListener::bind_addr(&address).map(drop)
}

fn remove_tree(folder: &Path) -> io::Result<()> {
    fs::remove_dir_all(folder.join("folder"))
}

fn rename(folder: &Path, from: &str, to: &str, flags: RenameFlags) -> io::Result<()> {
    Ok(renameat2(AT_FDCWD, &folder.join(from), AT_FDCWD, &folder.join(to), flags)?)
}

/// The operation must fail: had it worked, its counts would prove nothing.
fn fails(result: io::Result<()>) -> io::Result<()> {
    result.err().map(drop).ok_or_else(|| io::Error::other("worked, but was meant to fail"))
}
