//! The deleter's loop: takes over a view, confines itself before the first claim, passes claims through the door.
//!
//! In: orders. Out: answers. Must never: begin a file after the deadline, or once the container's first process has
//! ended.

use std::io::IsTerminal;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::net::SocketType;
use rustix::time::{ClockId, clock_gettime};

use super::super::audit::Fate;
use super::super::door::{self, Claim, OpenTest, Rights};
use super::super::executor::{Claimed, Means, Tested};
use super::super::held::has_ended;
use super::super::view::{Root, View};
use super::confine;
use super::order::{Answer, Order, Pass};
use super::packet::{self, MAX_BYTES, PacketError};
use crate::confinement::{ConfinementError, close_all_but_standard_streams};

/// The hidden subcommand's name.
pub const COMMAND: &str = "deleter";

/// Why the deleter cannot do its work. Its text ends up in the sweep's record.
#[derive(Debug, thiserror::Error)]
pub enum DeleterError {
    /// Started by hand.
    #[error("{COMMAND} is started by podsweep itself; to sweep a container run `podsweep sweep`")]
    ByHand,
    /// The socket.
    #[error(transparent)]
    Packet(#[from] PacketError),
    /// A privilege that could not be given up.
    #[error(transparent)]
    Confinement(#[from] ConfinementError),
    /// An order that no agent gives.
    #[error("the agent's orders make no sense: {0}")]
    Orders(&'static str),
}

/// How a deleter gives up what it does not need.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Confinement {
    /// Before there is a view.
    pub(in super::super) begin: fn(Means) -> Result<Rights, ConfinementError>,
    /// With the first view, before the first claim.
    pub(in super::super) finish: fn(BorrowedFd<'_>, &Rights, &View) -> Result<(), ConfinementError>,
}

/// Runs the deleter to its end. Call it first thing in `main`, before any thread is started: what it gives up are
/// privileges of one thread.
pub fn run() -> Result<(), DeleterError> {
    let input = std::io::stdin();
    let socket_type = rustix::net::sockopt::socket_type(&input);
    if input.is_terminal() || socket_type != Ok(SocketType::SEQPACKET) {
        return Err(DeleterError::ByHand);
    }
    close_all_but_standard_streams()?;
    // The first reading of the clock looks for the kernel's fast way to it, which the filter would not allow.
    let _ = monotonic();
    serve(input.as_fd(), Confinement { begin: confine::begin, finish: confine::finish })
}

/// Serves one sweep.
pub(in super::super) fn serve(socket: BorrowedFd<'_>, confinement: Confinement) -> Result<(), DeleterError> {
    let mut buffer = vec![0; MAX_BYTES];
    let Some((Order::Begin(means), _)) = packet::receive(socket, &mut buffer)? else {
        return Err(DeleterError::Orders("no beginning"));
    };
    let rights = (confinement.begin)(means)?;
    let (mut handles, mut batch, mut confined) = (Vec::new(), None, false);
    while let Some((order, more)) = packet::receive(socket, &mut buffer)? {
        match order {
            Order::Begin(_) => return Err(DeleterError::Orders("a second beginning")),
            Order::Handles => handles.extend(more),
            Order::View { held, lower } => {
                handles.extend(more);
                let taken = Batch::take(std::mem::take(&mut handles), held, &lower)?;
                if !confined {
                    (confinement.finish)(socket, &rights, &taken.view)?;
                    confined = true;
                }
                batch = Some(taken);
                packet::send(socket, &Answer::Ready, &[])?;
            }
            Order::Pass(pass) => {
                let batch = batch.as_ref().ok_or(DeleterError::Orders("claims without a view"))?;
                let fates = batch.pass(pass, &more, &rights)?;
                packet::send(socket, &Answer::Fates(fates), &[])?;
            }
            Order::Close => batch = None,
        }
    }
    Ok(())
}

/// What is held for the length of one batch.
struct Batch {
    process: Option<OwnedFd>,
    view: View,
}

impl Batch {
    fn take(handles: Vec<OwnedFd>, held: bool, lower: &[u16]) -> Result<Self, DeleterError> {
        let mut handles = handles.into_iter();
        let mut next = || handles.next().ok_or(DeleterError::Orders("too few handles"));
        let process = if held { Some(next()?) } else { None };
        let mut roots = Vec::with_capacity(lower.len());
        for layers in lower {
            let (merged, upper) = (next()?, next()?);
            let lower = (0..*layers).map(|_| next()).collect::<Result<_, _>>()?;
            roots.push(Root { merged, upper, lower });
        }
        match handles.next() {
            None => Ok(Self { process, view: View { roots } }),
            Some(_) => Err(DeleterError::Orders("too many handles")),
        }
    }

    fn pass(&self, pass: Pass, leases: &[OwnedFd], rights: &Rights) -> Result<Vec<Fate>, DeleterError> {
        let Pass { claims, now, deadline, mut streak } = pass;
        let (mut leases, mut fates) = (leases.iter(), Vec::with_capacity(claims.len()));
        for claim in &claims {
            let open_test = match claim.tested {
                Tested::Lease => {
                    OpenTest::Lease(leases.next().ok_or(DeleterError::Orders("too few leases"))?.as_fd())
                }
                Tested::None => OpenTest::None,
                Tested::Walked(directory) => OpenTest::Walked(directory),
                Tested::InUse => OpenTest::InUse,
            };
            if streak.is_broken() || self.must_stop(deadline) {
                break;
            }
            let fate = self.pass_one(claim, open_test, now, rights);
            streak.count(fate);
            fates.push(fate);
            if fate == Fate::Replaced {
                break;
            }
        }
        Ok(fates)
    }

    /// Both sides are walked from their roots for each file: a directory that was moved since is no longer there.
    fn pass_one(&self, claimed: &Claimed, open_test: OpenTest<'_>, now: Duration, rights: &Rights) -> Fate {
        let Claimed { root, directory, name, identity, deed, .. } = claimed;
        match self.view.parent(*root, directory) {
            Ok(parent) => door::pass(&parent, &Claim { name, identity, deed: *deed, open_test, now }, rights),
            Err(fate) => fate,
        }
    }

    /// A container that has ended may be started again on the same upper directory.
    fn must_stop(&self, deadline: Duration) -> bool {
        monotonic() >= deadline || self.process.as_ref().is_some_and(|process| has_ended(process.as_fd()))
    }
}

/// `CLOCK_MONOTONIC`: the same in agent and deleter, whatever happens to the wall clock.
pub(super) fn monotonic() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or_default())
}
