//! Who uses a file, where no lease can tell: one walk over `/proc` for a whole batch. Slower than a lease, and a
//! picture of a moment ago; used for named pipes, sockets, directories, truncation (a mapping or a lock forbids it,
//! an open descriptor does not), and on filesystems without leases.
//!
//! In: what a batch wants to know of. Out: [`InUse`]. Must never: say "not in use" of what it could not read.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, Dir, FileType, Mode, OFlags, openat};
use rustix::io::Errno;

use super::held::is_in;
use super::identity::{file_type, look_behind, same_file};
use crate::scan::Identity;

/// Descriptors looked at in one walk. A busy node has some hundred thousand; past this the walk gives up, and all
/// that it was asked about stays.
const MAX_DESCRIPTORS: usize = 2_000_000;
/// Network namespaces whose sockets are read in one walk; past it, as above.
const MAX_NETWORKS: usize = 4096;

/// What a batch wants to know of.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    /// By inode number. The device is not compared, because a descriptor in a container shows overlayfs's: all the
    /// other fields are, ctime to the nanosecond among them.
    files: HashMap<u64, Vec<Identity>>,
    /// Device and inode, as the container sees them.
    directories: HashSet<(u64, u64)>,
    /// Last components of socket paths.
    sockets: HashSet<Vec<u8>>,
    /// Mappings and locks, too.
    mapped_and_locked: bool,
}

impl Wanted {
    /// A file, as it was scanned.
    pub(super) fn file(&mut self, name: &[u8], identity: &Identity) {
        match file_type(identity) {
            FileType::Socket => {
                self.sockets.insert(name.to_vec());
            }
            FileType::RegularFile => self.mapped_and_locked = true,
            _ => {}
        }
        self.files.entry(identity.inode).or_default().push(*identity);
    }

    /// A directory, as the container sees it.
    pub(super) fn directory(&mut self, identity: &Identity) {
        self.directories.insert((identity.device, identity.inode));
    }
}

/// Who can have what is asked for open at all. A process that cannot be read (`EACCES`; one whose memory belongs to
/// another user namespace, say) counts as having everything open, unless it cannot.
#[derive(Debug, Clone, Copy)]
pub(super) enum Reach<'a> {
    /// Any process of the host: volumes and plain directories.
    Host,
    /// Processes in this cgroup and below: nobody else has a container's writable layer in its view.
    Cgroup(&'a str),
}

/// What is in use.
#[derive(Debug, Default)]
pub(super) struct InUse {
    descriptors: HashSet<u64>,
    directories: HashSet<(u64, u64)>,
    mapped_or_locked: HashSet<u64>,
    sockets: HashSet<Vec<u8>>,
    doubt: Option<String>,
}

impl InUse {
    /// Walks `/proc`. This process itself is left out: it holds handles on the very directories it is working on.
    pub(super) fn look(wanted: &Wanted, reach: Reach<'_>) -> Self {
        let mut found = Self::default();
        if let Err(why) = found.walk(wanted, reach) {
            tracing::warn!(why, "open files could not be read in full: what they were asked for stays");
            found.doubt = Some(why);
        }
        found
    }

    /// Whether a process has it open, mapped, locked, bound, or as its working directory or root.
    pub(super) fn holds(&self, name: &[u8], identity: &Identity) -> bool {
        let key = (identity.device, identity.inode);
        self.doubt.is_some()
            || self.descriptors.contains(&identity.inode)
            || self.mapped_or_locked.contains(&identity.inode)
            || (file_type(identity) == FileType::Directory && self.directories.contains(&key))
            || (file_type(identity) == FileType::Socket && self.binds(name))
    }

    /// Whether a process has it mapped or locked; an open descriptor alone does not count.
    pub(super) fn maps_or_locks(&self, identity: &Identity) -> bool {
        self.doubt.is_some() || self.mapped_or_locked.contains(&identity.inode)
    }

    /// Why nothing could be said, if so.
    pub(super) fn doubt(&self) -> Option<&str> {
        self.doubt.as_deref()
    }

    // /proc/net/unix separates by newlines, so a name with one cannot be found there.
    fn binds(&self, name: &[u8]) -> bool {
        self.sockets.contains(name) || name.contains(&b'\n')
    }

    fn walk(&mut self, wanted: &Wanted, reach: Reach<'_>) -> Result<(), String> {
        let proc = open_directory(CWD, b"/proc").map_err(|errno| format!("/proc: {errno}"))?;
        let own = std::process::id().to_string();
        let mut walk = Walk { wanted, descriptors: 0, networks: HashSet::new() };
        for name in names(&proc).map_err(|errno| format!("/proc: {errno}"))? {
            let name = name.map_err(|errno| format!("/proc: {errno}"))?;
            if !name.iter().all(u8::is_ascii_digit) || name == own.as_bytes() {
                continue;
            }
            let process = match open_directory(proc.as_fd(), &name) {
                Ok(process) => process,
                Err(Errno::NOENT | Errno::SRCH) => continue,
                Err(errno) => return Err(format!("/proc/{}: {errno}", String::from_utf8_lossy(&name))),
            };
            match walk.process(&process, self) {
                Ok(()) | Err(Errno::NOENT | Errno::SRCH) => walk.within_bounds()?,
                Err(Errno::ACCESS | Errno::PERM) if !reach.includes(&process) => {}
                Err(errno) => return Err(format!("/proc/{}: {errno}", String::from_utf8_lossy(&name))),
            }
        }
        if wanted.mapped_and_locked {
            self.read_locks(wanted).map_err(|error| format!("/proc/locks: {error}"))?;
        }
        Ok(())
    }

    fn read_locks(&mut self, wanted: &Wanted) -> std::io::Result<()> {
        for line in BufReader::new(File::open("/proc/locks")?).lines() {
            self.mapped_or_locked
                .extend(locked_inode(&line?).filter(|inode| wanted.files.contains_key(inode)));
        }
        Ok(())
    }
}

impl Reach<'_> {
    // What cannot be told is included.
    fn includes(self, process: &OwnedFd) -> bool {
        let Self::Cgroup(container) = self else { return true };
        let mut lines = match lines(process, b"cgroup") {
            Ok(lines) => lines,
            // It has ended, and holds nothing any more.
            Err(Errno::NOENT | Errno::SRCH) => return false,
            Err(_) => return true,
        };
        let cgroup = lines.find_map(|line| line.ok()?.strip_prefix(b"0::").map(<[u8]>::to_vec));
        cgroup.is_none_or(|cgroup| std::str::from_utf8(&cgroup).map_or(true, |path| is_in(path, container)))
    }
}

struct Walk<'a> {
    wanted: &'a Wanted,
    descriptors: usize,
    networks: HashSet<u64>,
}

impl Walk<'_> {
    fn within_bounds(&self) -> Result<(), String> {
        if self.descriptors > MAX_DESCRIPTORS {
            return Err(format!("more than {MAX_DESCRIPTORS} open descriptors on this host"));
        }
        if self.networks.len() > MAX_NETWORKS {
            return Err(format!("more than {MAX_NETWORKS} network namespaces on this host"));
        }
        Ok(())
    }

    fn process(&mut self, process: &OwnedFd, found: &mut InUse) -> Result<(), Errno> {
        if !self.wanted.files.is_empty() || !self.wanted.directories.is_empty() {
            self.open_descriptors(process, found)?;
        }
        if !self.wanted.directories.is_empty() {
            for link in [&b"cwd"[..], b"root"] {
                self.link(process.as_fd(), link, found)?;
            }
        }
        if self.wanted.mapped_and_locked {
            self.mappings(process, found)?;
        }
        if !self.wanted.sockets.is_empty() {
            self.bound_sockets(process, found)?;
        }
        Ok(())
    }

    fn open_descriptors(&mut self, process: &OwnedFd, found: &mut InUse) -> Result<(), Errno> {
        let directory = open_directory(process.as_fd(), b"fd")?;
        for name in names(&directory)? {
            self.descriptors += 1;
            self.link(directory.as_fd(), &name?, found)?;
        }
        Ok(())
    }

    fn link(&self, directory: BorrowedFd<'_>, name: &[u8], found: &mut InUse) -> Result<(), Errno> {
        let seen = match look_behind(directory, name) {
            Ok(seen) => seen.identity,
            // Closed meanwhile; or a file of a dead server, which is none of ours.
            Err(Errno::NOENT | Errno::SRCH | Errno::STALE | Errno::IO) => return Ok(()),
            Err(errno) => return Err(errno),
        };
        let wanted = self.wanted.files.get(&seen.inode);
        if wanted.is_some_and(|same_inode| same_inode.iter().any(|one| same_file(one, &seen))) {
            found.descriptors.insert(seen.inode);
        }
        let key = (seen.device, seen.inode);
        if self.wanted.directories.contains(&key) {
            found.directories.insert(key);
        }
        Ok(())
    }

    // By inode number alone: maps shows overlayfs's device, and btrfs's is not the one that stat shows.
    fn mappings(&self, process: &OwnedFd, found: &mut InUse) -> Result<(), Errno> {
        for line in lines(process, b"maps")? {
            let inode = line?.split(|&byte| byte == b' ').nth(4).and_then(number);
            found.mapped_or_locked.extend(inode.filter(|inode| self.wanted.files.contains_key(inode)));
        }
        Ok(())
    }

    fn bound_sockets(&mut self, process: &OwnedFd, found: &mut InUse) -> Result<(), Errno> {
        let network = look_behind(process.as_fd(), b"ns/net")?.identity.inode;
        if !self.networks.insert(network) {
            return Ok(());
        }
        for line in lines(process, b"net/unix")? {
            let name = bound_name(&line?).map(<[u8]>::to_vec);
            found.sockets.extend(name.filter(|name| self.wanted.sockets.contains(name)));
        }
        Ok(())
    }
}

fn open_directory(at: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    openat(at, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

fn names(directory: &OwnedFd) -> Result<impl Iterator<Item = Result<Vec<u8>, Errno>> + use<>, Errno> {
    let entries =
        Dir::read_from(directory)?.map(|entry| entry.map(|entry| entry.file_name().to_bytes().to_vec()));
    Ok(entries.filter(|name| !matches!(name.as_deref(), Ok(b"." | b".."))))
}

fn lines(
    process: &OwnedFd,
    name: &[u8],
) -> Result<impl Iterator<Item = Result<Vec<u8>, Errno>> + use<>, Errno> {
    let file = File::from(openat(process, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?);
    let lines = BufReader::new(file).split(b'\n');
    Ok(lines.map(|line| line.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))))
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// `1: FLOCK  ADVISORY  WRITE 4711 00:27:10010695 0 EOF` (proc(5), also with `->` for a waiter): the inode.
fn locked_inode(line: &str) -> Option<u64> {
    let file = line.split_whitespace().find(|field| field.matches(':').count() == 2)?;
    file.rsplit(':').next()?.parse().ok()
}

/// `Num RefCount Protocol Flags Type St Inode Path` (unix(7), `/proc/net/unix`): the path's last component. The path
/// is as it was given to bind, perhaps relative, so its last component is all that can be compared.
fn bound_name(line: &[u8]) -> Option<&[u8]> {
    let path = (0..7).try_fold(line, |rest, _| {
        let field_end = rest.iter().position(|&byte| byte == b' ')?;
        Some(rest[field_end..].trim_ascii_start())
    })?;
    (!path.is_empty() && !path.starts_with(b"@")).then(|| path.rsplit(|&byte| byte == b'/').next())?
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::super::identity::look;
    use super::*;

    /// A process of its own that holds `file` as its standard input, in `directory`.
    struct Holder(Child);

    impl Holder {
        fn new(directory: &std::path::Path, input: Stdio) -> Self {
            let mut sleep = Command::new("sleep");
            Self(sleep.arg("60").current_dir(directory).stdin(input).spawn().unwrap())
        }
    }

    impl Drop for Holder {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    /// On a machine where some process cannot be read (a sandbox's own, say), it is none in this cgroup.
    const REACH: Reach<'_> = Reach::Cgroup("/podsweep-test-no-such-cgroup");

    fn identity(directory: &std::path::Path, name: &str) -> Identity {
        look(File::open(directory).unwrap().as_fd(), name.as_bytes()).unwrap().identity
    }

    #[test]
    fn a_descriptor_of_another_process_is_found_and_its_end_too() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("a"), "x").unwrap();
        std::fs::write(directory.path().join("b"), "x").unwrap();
        let (a, b) = (identity(directory.path(), "a"), identity(directory.path(), "b"));
        let mut wanted = Wanted::default();
        wanted.file(b"a", &a);
        wanted.file(b"b", &b);
        let holder = Holder::new(directory.path(), File::open(directory.path().join("a")).unwrap().into());
        let found = InUse::look(&wanted, REACH);
        assert_eq!(found.doubt(), None);
        assert!(found.holds(b"a", &a) && !found.holds(b"b", &b) && !found.maps_or_locks(&a));
        drop(holder);
        assert!(!InUse::look(&wanted, REACH).holds(b"a", &a));
    }

    #[test]
    fn a_working_directory_is_in_use() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("d")).unwrap();
        let one = identity(directory.path(), "d");
        let mut wanted = Wanted::default();
        wanted.directory(&one);
        let holder = Holder::new(&directory.path().join("d"), Stdio::null());
        assert!(InUse::look(&wanted, REACH).holds(b"d", &one));
        drop(holder);
        assert!(!InUse::look(&wanted, REACH).holds(b"d", &one));
    }

    #[test]
    fn a_bound_socket_is_in_use_until_it_is_closed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("podsweep-open-files.sock");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let one = identity(directory.path(), "podsweep-open-files.sock");
        let mut wanted = Wanted::default();
        wanted.file(b"podsweep-open-files.sock", &one);
        assert!(InUse::look(&wanted, REACH).holds(b"podsweep-open-files.sock", &one));
        drop(listener);
        let found = InUse::look(&wanted, REACH);
        assert_eq!(found.doubt(), None);
        assert!(!found.holds(b"podsweep-open-files.sock", &one));
    }

    #[test]
    fn kernel_lines_are_read_as_documented() {
        assert_eq!(locked_inode("1: FLOCK  ADVISORY  WRITE 15368 00:27:10010695 0 EOF"), Some(10_010_695));
        assert_eq!(locked_inode("1: -> POSIX  ADVISORY  READ 15368 fe:01:12 0 EOF"), Some(12));
        let line = b"00000000a1431c8a: 00000002 00000000 00010000 0001 01    57 /run/my app.sock";
        assert_eq!(bound_name(line), Some(&b"my app.sock"[..]));
        assert_eq!(bound_name(b"00000000a1431c8a: 00000003 00000000 00000000 0001 03  1057"), None);
        assert_eq!(bound_name(b"00000000a1431c8a: 00000003 00000000 00000000 0001 03  1057 @abstract"), None);
    }
}
