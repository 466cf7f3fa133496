//! A FUSE filesystem whose server hangs: what is left of an s3fs or gcsfuse whose network is gone. Whoever asks it
//! anything waits until this is dropped; that anybody did can be told.
//!
//! No library: the server says one word at most, and then has to say nothing.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use nix::mount::{MntFlags, umount2};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::fs::CWD;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, move_mount,
};

/// How far its server gets before it hangs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hangs {
    /// It never answers FUSE_INIT: whoever asks waits before a request is even sent.
    FromTheStart,
    /// It answers FUSE_INIT, and nothing after it.
    AfterInit,
}

/// What is at its root. A filesystem whose root is a file can be mounted on a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Root {
    /// A directory.
    Directory,
    /// A regular file.
    File,
}

/// Opcode of FUSE_INIT, and sizes of its messages (linux/fuse.h).
const FUSE_INIT: u32 = 26;
const IN_HEADER: usize = 40;
const OUT_HEADER: usize = 16;
const INIT_OUT: usize = 64;
/// The protocol spoken: 7.31, which every kernel since 5.4 speaks.
const PROTOCOL: (u32, u32) = (7, 31);
/// `FUSE_MIN_READ_BUFFER`: the kernel refuses to be read with less.
const READ_BUFFER: usize = 8192;

/// Such a filesystem, mounted on a path of the host, in the calling thread's mount namespace. When it is dropped,
/// everybody who waits for it gets an error.
#[derive(Debug)]
pub struct HungFuse {
    // Taken first when this is dropped: from then on nothing can wait for it.
    server: Option<File>,
    hangs: Hangs,
    mount_point: PathBuf,
}

impl HungFuse {
    /// Mounts it on `mount_point`, which must be there and be what `root` says. Root of the host may ask it
    /// (`allow_other`): nobody is spared the wait.
    pub fn mount(mount_point: &Path, root: Root, hangs: Hangs) -> Result<Self> {
        let server = OpenOptions::new().read(true).write(true).open("/dev/fuse").context("/dev/fuse")?;
        let fs = fsopen("fuse", FsOpenFlags::FSOPEN_CLOEXEC).context("cannot open a FUSE filesystem")?;
        let mode = match root {
            Root::Directory => "40755",
            Root::File => "100644",
        };
        let number = server.as_raw_fd().to_string();
        for (key, value) in [("fd", number.as_str()), ("rootmode", mode), ("user_id", "0"), ("group_id", "0")]
        {
            fsconfig_set_string(&fs, key, value).with_context(|| format!("FUSE option {key}"))?;
        }
        fsconfig_set_flag(&fs, "allow_other")?;
        fsconfig_create(&fs).context("cannot make a FUSE filesystem")?;
        let tree = fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
        move_mount(&tree, "", CWD, mount_point, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
            .with_context(|| format!("cannot mount on {}", mount_point.display()))?;
        let mut mounted = Self { server: Some(server), hangs, mount_point: mount_point.to_owned() };
        if hangs == Hangs::AfterInit {
            mounted.answer_init()?;
        }
        Ok(mounted)
    }

    /// Where the host has it.
    pub fn mount_point(&self) -> &Path {
        &self.mount_point
    }

    /// How far its server gets.
    pub fn hangs(&self) -> Hangs {
        self.hangs
    }

    /// Whether anybody has asked it anything, and so waits. One that hangs from the start cannot tell.
    pub fn was_asked(&self) -> Result<bool> {
        let Some(server) = self.server.as_ref().filter(|_| self.hangs == Hangs::AfterInit) else {
            bail!("a server that never answered FUSE_INIT is sent no request");
        };
        Ok(poll(&mut [PollFd::new(server.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO)? > 0)
    }

    fn answer_init(&mut self) -> Result<()> {
        let mut server = self.server.as_ref().context("no server")?;
        let mut request = vec![0; READ_BUFFER];
        let read = server.read(&mut request).context("cannot read FUSE_INIT")?;
        let opcode = request.get(4..8).and_then(|bytes| bytes.try_into().ok()).map(u32::from_ne_bytes);
        if read < IN_HEADER || opcode != Some(FUSE_INIT) {
            bail!("the kernel's first request is {opcode:?}, not FUSE_INIT");
        }
        let mut answer = Vec::with_capacity(OUT_HEADER + INIT_OUT);
        answer.extend(u32::try_from(OUT_HEADER + INIT_OUT)?.to_ne_bytes());
        answer.extend(0_i32.to_ne_bytes());
        answer.extend(&request[8..16]); // the request's own number
        answer.extend(PROTOCOL.0.to_ne_bytes());
        answer.extend(PROTOCOL.1.to_ne_bytes());
        answer.resize(OUT_HEADER + INIT_OUT, 0);
        server.write_all(&answer).context("cannot answer FUSE_INIT")
    }
}

impl Drop for HungFuse {
    fn drop(&mut self) {
        self.server = None;
        if let Err(error) = umount2(&self.mount_point, MntFlags::MNT_DETACH) {
            eprintln!("{} stays mounted: {error}", self.mount_point.display());
        }
    }
}
