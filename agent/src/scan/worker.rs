//! The scan worker: the process that `podsweep scan-worker` is. Started by the agent, never by a person.
//!
//! In: one [`ScanRequest`] on stdin, sent once the agent has put this process under its limits. Out: [`ScanMessage`]s
//! on stdout, ending in a report; what a person should know on stderr. Must never: do anything before the request
//! is there, change anything at all, outlive the agent (the end of stdin ends it, at the latest with its next
//! write).
//!
//! [`ScanMessage`]: super::ScanMessage

use std::io::{IsTerminal, Stdin, Stdout, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::io::Errno;

use super::confine::confine;
use super::findings::Findings;
use super::judge::Judge;
use super::stream::Stream;
use super::walk::{OpenRoot, Walk};
use super::wire::{self, WireError};
use super::{ScanRequest, ScanRoot, tree};
use crate::confinement::{ConfinementError, close_all_but_standard_streams};
use crate::policy::JunkError;

/// The hidden subcommand's name.
pub const COMMAND: &str = "scan-worker";

/// Why the worker cannot do its work. Its text ends up in the agent's log.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// Started by hand.
    #[error("{COMMAND} is started by the agent; to look at a directory run `podsweep scan dir:PATH`")]
    ByHand,
    /// The pipes.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The rules.
    #[error(transparent)]
    Rules(#[from] JunkError),
    /// A root or one of its layers cannot be opened: without it nobody can say what is junk.
    #[error("cannot open {path:?}: {errno}")]
    Open {
        /// The directory.
        path: PathBuf,
        /// Why.
        errno: Errno,
    },
    /// A privilege that could not be given up.
    #[error(transparent)]
    Confine(#[from] ConfinementError),
}

/// Runs the worker to its end. Call it first thing in `main`, before any thread is started: limits and filter are
/// those of one thread.
pub fn run() -> Result<(), WorkerError> {
    let (input, output) = (std::io::stdin(), std::io::stdout());
    if input.is_terminal() {
        return Err(WorkerError::ByHand);
    }
    close_all_but_standard_streams()?;
    match wire::read_request(input.lock())? {
        Some(request) => scan(&request, &input, output),
        None => Ok(()),
    }
}

fn scan(request: &ScanRequest, input: &Stdin, output: Stdout) -> Result<(), WorkerError> {
    let judge = Judge::compile(&request.junk, &request.never, request.now)?;
    let roots = request.roots.iter().map(open).collect::<Result<_, _>>()?;
    confine()?;
    let stream = Stream::new(Unbuffered(output), Instant::now);
    let findings = Findings::new(&request.settings, stream, || has_ended(input));
    Walk::new(request, &judge, findings).run(roots)?;
    Ok(())
}

pub(super) fn open(root: &ScanRoot) -> Result<OpenRoot, WorkerError> {
    let opened = |path: &Path, handle: Result<OwnedFd, Errno>| {
        handle.map_err(|errno| WorkerError::Open { path: path.to_path_buf(), errno })
    };
    Ok(OpenRoot {
        directory: opened(&root.host, tree::open_root(&root.host))?,
        lower: root
            .lower
            .iter()
            .map(|layer| opened(layer, tree::open_lower_root(layer)))
            .collect::<Result<_, _>>()?,
    })
}

/// The agent says nothing after the request, so whatever happens on stdin is its end.
fn has_ended(input: &Stdin) -> bool {
    let mut watched = [PollFd::new(input.as_fd(), PollFlags::POLLIN)];
    poll(&mut watched, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

/// Stdout without the standard library's line buffer, which would cut frames at each byte that is a newline.
#[derive(Debug)]
struct Unbuffered(Stdout);

impl Write for Unbuffered {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Ok(rustix::io::retry_on_intr(|| rustix::io::write(&self.0, bytes))?)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
