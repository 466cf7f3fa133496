//! Admission: may this sweep run now, beside what runs already.
//!
//! In: a [`Request`]. Out: a [`Permit`] with a deadline, or a refusal of level 7. On one node without a cluster the
//! answer is [`LocalAdmission`]'s; in a cluster, a Lease that the coordinator granted. Must never: let more sweeps
//! run than there are slots, or take a slot away from a sweep that still runs.

mod hours;
pub mod lease;
mod local;
mod slots;
mod until;

pub use hours::{HoursError, Window};
pub use local::{LocalAdmission, LocalSettings};
pub use until::Until;

use std::future::Future;
use std::time::{Duration, Instant};

use crate::policy::{Refusal, SerialBy, Spec};

/// Time that a permit gives beyond what the policy's own limits add up to: to finish a batch, read the vitals a last
/// time and write the record.
pub const MARGIN: Duration = Duration::from_mins(1);

/// Grants the right to run one sweep. Answers at once: who is refused asks again later.
pub trait Admission: Send + Sync {
    /// Asks for a permit.
    fn ask(&self, request: &Request) -> impl Future<Output = Result<Permit, Refusal>> + Send;
}

/// What admission must know of a sweep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Name of the policy.
    pub policy: String,
    /// The container's workload ([`crate::breaker::workload_key`]).
    pub workload: String,
    /// Its namespace, where it has one.
    pub namespace: Option<String>,
    /// Sweeps of this policy at a time.
    pub max_parallel: u32,
    /// Dimensions in which it wants to be alone.
    pub serial_by: Vec<SerialBy>,
    /// How long sweep and observation may take at most.
    pub time: Duration,
}

impl Request {
    /// For a sweep by this policy.
    pub fn new(policy: &str, spec: &Spec, workload: String, namespace: Option<String>) -> Self {
        // Candidates are removed while the scan still finds them, so the longer of the two limits bounds both.
        let work = spec.sweep.timeout.0.max(spec.scan.timeout.0);
        Self {
            policy: policy.to_owned(),
            workload,
            namespace,
            max_parallel: spec.rollout.max_parallel,
            serial_by: spec.rollout.serial_by.clone(),
            time: work.saturating_add(spec.rollout.observe.0).saturating_add(MARGIN),
        }
    }
}

/// The right to run one sweep. Dropping it gives the slot back.
///
/// The holder stops by itself at the deadline. The slot stays taken until the permit is dropped, even after that: a
/// sweep that overran still touches the container, and another one beside it would exceed the cap.
pub struct Permit {
    until: Until,
    _slot: Box<dyn Send + Sync>,
}

impl Permit {
    /// A permit; dropping `slot` must give the slot back.
    pub fn new(deadline: Instant, slot: impl Send + Sync + 'static) -> Self {
        Self { until: Until::at(deadline), _slot: Box::new(slot) }
    }

    /// Until when it holds: the holder must have stopped by then.
    pub fn until(&self) -> Until {
        self.until.clone()
    }
}

impl std::fmt::Debug for Permit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Permit").field("until", &self.until).finish_non_exhaustive()
    }
}
