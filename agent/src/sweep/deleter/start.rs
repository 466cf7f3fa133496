//! The agent's end of a deleter: starting it, handing it a view, asking it to pass claims, ending it.
//!
//! In: how far it may go, views, claims with leases. Out: fates. Must never: wait for it without a limit, or leave it
//! behind.

use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use serde::Serialize;

use super::super::audit::Fate;
use super::super::end::End;
use super::super::executor::{Bounds, Executor, Lot, Means, Passed, Tested};
use super::super::view::View;
use super::order::{Answer, MAX_CLAIMS, MAX_PATHS, Order, Pass};
use super::packet::{self, MAX_BYTES, MAX_HANDLES, PacketError};
use super::serve::{COMMAND, monotonic};

/// Longest wait for an answer; shorter where the sweep's time is up sooner. A deleter asks filesystems a few times for
/// each of [`MAX_CLAIMS`] claims; half a minute means that a device is gone.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Longest wait for a deleter to end by itself, and then for a killed one to be gone: one that is stuck in the kernel
/// cannot be killed.
const ENDS_WITHIN: Duration = Duration::from_secs(2);

/// From one look at whether it has ended to the next.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// What is read of the stderr of a deleter that failed, bytes.
const MAX_STDERR: u64 = 4096;

/// Starts deleters.
pub trait Deleters: Send + Sync + std::fmt::Debug {
    /// One more, with `socket` as its standard input. `None`: it is no process of its own, as in tests.
    fn start(&self, socket: OwnedFd) -> std::io::Result<Option<Child>>;
}

/// The program that has the deleter: `/proc/self/exe`, which stays the same program when the file on disk is upgraded.
#[derive(Debug, Clone)]
pub struct Program(PathBuf);

impl Program {
    /// This program.
    pub fn this() -> Self {
        Self(PathBuf::from("/proc/self/exe"))
    }
}

impl Deleters for Program {
    fn start(&self, socket: OwnedFd) -> std::io::Result<Option<Child>> {
        use std::os::unix::process::CommandExt;
        Command::new(&self.0)
            .arg(COMMAND)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(socket))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // Not the terminal's group: an interrupt is for the agent, which ends the sweep after its batch.
            .process_group(0)
            .spawn()
            .map(Some)
    }
}

/// Why a deleter gives no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(in super::super) struct Failed(String);

/// A deleter that runs. Dropping it ends it.
#[derive(Debug)]
pub(in super::super) struct Deleter {
    socket: OwnedFd,
    process: Process,
    buffer: Vec<u8>,
}

/// Its process; locked for a look.
#[derive(Debug)]
struct Process(Mutex<Option<Child>>);

impl Deleter {
    /// Starts one that may go this far.
    pub(in super::super) fn start(deleters: &dyn Deleters, means: Means) -> Result<Self, Failed> {
        let (ours, theirs) = pair().map_err(|errno| Failed(format!("no socket for the deleter: {errno}")))?;
        let process =
            deleters.start(theirs).map_err(|error| Failed(format!("cannot start the deleter: {error}")))?;
        let mut deleter =
            Self { socket: ours, process: Process(Mutex::new(process)), buffer: vec![0; MAX_BYTES] };
        deleter.send(&Order::Begin(means), &[])?;
        Ok(deleter)
    }

    fn show(&mut self, view: &View, process: Option<BorrowedFd<'_>>) -> Result<(), Failed> {
        let of_roots = view.roots.iter().flat_map(|root| {
            [root.merged.as_fd(), root.upper.as_fd()].into_iter().chain(root.lower.iter().map(AsFd::as_fd))
        });
        let handles: Vec<_> = process.into_iter().chain(of_roots).collect();
        let layers = |root: &super::super::view::Root| u16::try_from(root.lower.len());
        let lower = view.roots.iter().map(layers).collect::<Result<_, _>>();
        let lower = lower.map_err(|_| Failed("an image has more layers than overlayfs takes".into()))?;
        let mut packets = handles.chunks(MAX_HANDLES).peekable();
        while let Some(packet) = packets.next_if(|packet| packet.len() == MAX_HANDLES) {
            self.send(&Order::Handles, packet)?;
        }
        let rest = packets.next().unwrap_or_default();
        self.send(&Order::View { held: process.is_some(), lower }, rest)?;
        match self.answer()? {
            Answer::Ready => Ok(()),
            Answer::Fates(_) => Err(self.failed("it answers what it was not asked")),
        }
    }

    /// Passes claims through the door. Fewer fates than claims: the rest was not tried.
    fn ask(&mut self, lot: Lot<'_>) -> Result<Vec<Fate>, Failed> {
        let Lot { claims, leases, now, deadline, streak } = lot;
        let count = claims.len();
        debug_assert_eq!(leases.len(), claims.iter().filter(|claim| claim.tested == Tested::Lease).count());
        let left = deadline.saturating_duration_since(Instant::now());
        let wait = ANSWER_WITHIN.min(left + ENDS_WITHIN);
        set_socket_timeout(&self.socket, Timeout::Recv, Some(wait))
            .map_err(|errno| Failed(format!("no limit to the wait for the deleter: {errno}")))?;
        let deadline = monotonic() + left;
        self.send(&Order::Pass(Pass { claims, now, deadline, streak }), leases)?;
        match self.answer()? {
            Answer::Fates(fates) if fates.len() <= count => Ok(fates),
            _ => Err(self.failed("it answers what it was not asked")),
        }
    }

    fn send(&mut self, order: &impl Serialize, handles: &[BorrowedFd<'_>]) -> Result<(), Failed> {
        packet::send(self.socket.as_fd(), order, handles).map_err(|error| self.broken(&error))
    }

    fn answer(&mut self) -> Result<Answer, Failed> {
        match packet::receive(self.socket.as_fd(), &mut self.buffer) {
            Ok(Some((answer, _))) => Ok(answer),
            Ok(None) => Err(self.failed("it has ended")),
            Err(error) => Err(self.broken(&error)),
        }
    }

    fn broken(&self, error: &PacketError) -> Failed {
        match error {
            PacketError::Socket(Errno::AGAIN) => {
                self.failed("it does not answer in time; a device or a filesystem may hang")
            }
            PacketError::Socket(Errno::PIPE | Errno::CONNRESET) => self.failed("it has ended"),
            other => self.failed(&other.to_string()),
        }
    }

    fn failed(&self, what: &str) -> Failed {
        Failed(format!("the deleter failed: {what}{}", self.process.last_words()))
    }
}

impl Executor for Deleter {
    fn bounds(&self) -> Bounds {
        Bounds { claims: MAX_CLAIMS, path_bytes: MAX_PATHS }
    }

    fn begin_batch(&mut self, view: &View, process: Option<BorrowedFd<'_>>) -> Result<(), End> {
        self.show(view, process).map_err(End::from)
    }

    fn pass(&mut self, _: &View, lot: Lot<'_>) -> Passed {
        let count = lot.claims.len();
        match self.ask(lot) {
            Ok(fates) => Passed { fates, ..Passed::default() },
            // It may have seen to some of them, and it may have not.
            Err(failed) => {
                Passed { fates: vec![Fate::Unknown; count], end: Some(failed.into()), ..Passed::default() }
            }
        }
    }

    fn end_batch(&mut self) -> Result<(), End> {
        self.send(&Order::Close, &[]).map_err(End::from)
    }
}

impl From<Failed> for End {
    fn from(failed: Failed) -> Self {
        Self::DeleterFailed(failed.to_string())
    }
}

impl Drop for Deleter {
    fn drop(&mut self) {
        // Tells it that its agent is done with it.
        let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both);
        self.process.end();
    }
}

impl Process {
    fn lock(&self) -> MutexGuard<'_, Option<Child>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees it off.
    fn end(&self) {
        let mut process = self.lock();
        let Some(process) = process.as_mut() else { return };
        if has_gone(process) {
            return;
        }
        // An error means that it is gone already.
        let _ = process.kill();
        if !has_gone(process) {
            tracing::error!(pid = process.id(), "the deleter is stuck in the kernel and cannot be killed");
        }
    }

    /// How it ended and what it said, where it has ended; the rest of a sentence.
    fn last_words(&self) -> String {
        let mut process = self.lock();
        let Some(process) = process.as_mut() else { return String::new() };
        if !has_gone(process) {
            return String::new();
        }
        let status = process.try_wait().ok().flatten().map(|status| format!("; {status}"));
        let said = process.stderr.take().map(first_bytes).unwrap_or_default();
        let said = said.lines().last().map(|line| format!("; it said: {line}")).unwrap_or_default();
        format!("{}{said}", status.unwrap_or_default())
    }
}

fn has_gone(process: &mut Child) -> bool {
    let began = Instant::now();
    loop {
        match process.try_wait() {
            Ok(None) if began.elapsed() < ENDS_WITHIN => std::thread::sleep(LOOK_AGAIN),
            Ok(None) => return false,
            Ok(Some(_)) | Err(_) => return true,
        }
    }
}

// Of a process that has ended, so this does not wait.
fn first_bytes(stderr: ChildStderr) -> String {
    let mut bytes = Vec::new();
    // What was read before an error is all there is.
    let _ = stderr.take(MAX_STDERR).read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

fn pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    let pair = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    for wait in [Timeout::Recv, Timeout::Send] {
        set_socket_timeout(&pair.0, wait, Some(ANSWER_WITHIN))?;
    }
    Ok(pair)
}
