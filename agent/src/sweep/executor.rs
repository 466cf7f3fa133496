//! The seam between a batch and what removes its files. Behind it: the deleter's process on this host ([`super::deleter`]),
//! and `rm` in the container ([`super::exec`]).
//!
//! In: a view, claims on names in it. Out: their fates, as the host sees them afterwards. Must never: remove what its
//! own checks, made right before, have not cleared.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::audit::Fate;
use super::deleter::{Deleter, Deleters};
use super::door::Deed;
use super::end::End;
use super::exec::{PodExec, Prepared};
use super::plan::Plan;
use super::streak::Streak;
use super::view::View;
use crate::policy::{Action, Executor as Wanted, JunkRule, Mode};
use crate::scan::Identity;

/// Removes what it is handed claims on. One for each sweep; dropping it ends it.
pub(super) trait Executor: Send {
    /// How much it takes at a time.
    fn bounds(&self) -> Bounds;

    /// A batch begins: the view that its claims are about, and the process that the view belongs to.
    fn begin_batch(&mut self, view: &View, process: Option<BorrowedFd<'_>>) -> Result<(), End>;

    /// Sees to some claims, in order.
    fn pass(&mut self, view: &View, lot: Lot<'_>) -> Passed;

    /// The batch is over: nothing of its view may be held any longer.
    fn end_batch(&mut self) -> Result<(), End>;
}

/// The bounds of one [`Lot`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    /// Claims.
    pub(super) claims: usize,
    /// Bytes of their paths; reached, the lot is full, so that one claim may exceed it.
    pub(super) path_bytes: usize,
}

/// Claims that are seen to together.
pub(super) struct Lot<'a> {
    /// Which.
    pub(super) claims: Vec<Claimed>,
    /// One for each claim that was [`Tested::Lease`], in their order. Held for as long as the lot takes.
    pub(super) leases: &'a [BorrowedFd<'a>],
    /// Wall clock, since 1970.
    pub(super) now: Duration,
    /// No file is touched after it.
    pub(super) deadline: Instant,
    /// Refusals in a row so far, and how many are too many.
    pub(super) streak: Streak,
}

/// What became of a lot.
#[derive(Debug, Default)]
pub(super) struct Passed {
    /// In the order of the claims. Shorter than these where it stopped before the next.
    pub(super) fates: Vec<Fate>,
    /// Something that an author of policies should know.
    pub(super) note: Option<String>,
    /// Set where the sweep must not go on.
    pub(super) end: Option<End>,
}

/// A claim on one name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claimed {
    /// Which root of the view.
    pub(super) root: u16,
    /// Below the root, no leading slash.
    pub(super) directory: Vec<u8>,
    /// In that directory.
    pub(super) name: Vec<u8>,
    /// What it was when it was scanned.
    pub(super) identity: Identity,
    /// What is to be done.
    pub(super) deed: Deed,
    /// What the agent found out.
    pub(super) tested: Tested,
}

/// What the agent says to "is it open?". See [`OpenTest`](super::door::OpenTest).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Tested {
    /// A lease, whose handle comes along.
    Lease,
    /// A symlink, or what the agent could not make out: then the door finds out why.
    None,
    /// A walk over `/proc`.
    Walked(Option<Identity>),
    /// In use.
    InUse,
}

/// How far one sweep's executor may go. Cannot be changed once it is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Means {
    /// A dry run: look only.
    Look,
    /// Remove.
    Remove,
    /// Remove, and truncate: one of the policy's rules asks for it.
    RemoveAndTruncate,
}

impl Means {
    /// No further than this sweep needs.
    fn of(plan: &Plan) -> Self {
        let truncates = |rule: &JunkRule| rule.action == Action::Truncate;
        match plan.mode {
            Mode::Enforce if plan.policy.spec.junk.iter().any(truncates) => Self::RemoveAndTruncate,
            Mode::Enforce => Self::Remove,
            Mode::DryRun | Mode::Observe => Self::Look,
        }
    }
}

/// Which executor a sweep has. Decided once, before a scan is spent on it.
#[derive(Debug, Clone)]
pub(super) enum Chosen {
    /// The deleter.
    Host(Arc<dyn Deleters>),
    /// `rm`.
    Exec(Prepared),
}

impl Chosen {
    /// As the policy says. With `Exec` the pod is asked whether it can: this waits for the API server.
    pub(super) fn by_policy(
        plan: &Arc<Plan>,
        deleters: &Arc<dyn Deleters>,
        pods: Option<&Arc<dyn PodExec>>,
    ) -> Result<Self, End> {
        match plan.policy.spec.sweep.executor {
            Wanted::Host => Ok(Self::Host(Arc::clone(deleters))),
            Wanted::Exec => Prepared::of(plan, pods, Means::of(plan)).map(Self::Exec),
        }
    }

    /// One for this sweep.
    pub(super) fn start(&self, plan: &Plan) -> Result<Box<dyn Executor>, End> {
        Ok(match self {
            Self::Host(deleters) => Box::new(Deleter::start(&**deleters, Means::of(plan))?),
            Self::Exec(prepared) => prepared.start(),
        })
    }
}
