//! What the control endpoint needs of the agent, and how the agent says no.

use super::view::{BreakerView, ContainerView, ExplainRequest, Status, SweepRequest, SweepsQuery};
use crate::gate::Standing;
use crate::policy::Refusal;
use crate::report::SweepRecord;

/// The agent, as the control endpoint sees it.
///
/// Every method may block for a short while (SQLite, a lock): the router calls it on a blocking thread, a bounded
/// number at a time, and gives up waiting after its request timeout.
pub trait Node: Send + Sync + 'static {
    /// The node at a glance.
    fn status(&self) -> Result<Status, Refused>;
    /// All known containers.
    fn containers(&self) -> Result<Vec<ContainerView>, Refused>;
    /// Sweeps, newest first, at most [`SweepsQuery::limit`].
    fn sweeps(&self, query: &SweepsQuery) -> Result<Vec<SweepRecord>, Refused>;
    /// One sweep; [`RefusedKind::NotFound`] where there is none.
    fn sweep(&self, id: &str) -> Result<SweepRecord, Refused>;
    /// Asks for a sweep by hand. The id of the new sweep; it may still wait for a slot.
    fn request_sweep(&self, request: SweepRequest) -> Result<String, Refused>;
    /// What every level says of a sweep of a container now. Changes nothing: takes no slot, starts no cool-down.
    fn explain(&self, request: ExplainRequest) -> Result<Standing, Refused>;
    /// Asks a sweep to stop after its batch. [`RefusedKind::Conflict`] where it has ended.
    fn cancel_sweep(&self, id: &str) -> Result<(), Refused>;
    /// Every breaker that exists.
    fn breakers(&self) -> Result<Vec<BreakerView>, Refused>;
    /// Closes a breaker.
    fn reset_breaker(&self, name: &str) -> Result<(), Refused>;
    /// No new sweeps until [`Node::resume`]; running ones stop after their batch.
    fn pause(&self, reason: &str) -> Result<(), Refused>;
    /// Sweeps may start again.
    fn resume(&self) -> Result<(), Refused>;
    /// The agent's loop turns; else a sentence that says what does not.
    fn healthy(&self) -> Result<(), String>;
    /// The agent counts, knows its containers and has read its policies; else a sentence that says what is missing.
    fn ready(&self) -> Result<(), String>;
    /// The metrics, in Prometheus' text format 0.0.4.
    fn metrics(&self) -> Result<String, Refused>;
}

/// What kind of no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusedKind {
    /// The request makes no sense as it is: 422.
    Invalid,
    /// What it names is not there: 404.
    NotFound,
    /// The state of things, or a guard, forbids it: 409.
    Conflict,
    /// The agent itself failed: 500.
    Failed,
}

/// The agent's no, with a word for programs and a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refused {
    /// What kind.
    pub kind: RefusedKind,
    /// One stable word: `TargetNotFound`, `CoolDown`, `BreakerOpen`, …
    pub reason: String,
    /// What said no, and what would change its mind.
    pub message: String,
}

impl Refused {
    /// A no.
    pub fn new(kind: RefusedKind, reason: &str, message: impl Into<String>) -> Self {
        Self { kind, reason: reason.into(), message: message.into() }
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self { kind: RefusedKind::Conflict, reason: refusal.reason, message: refusal.message }
    }
}
