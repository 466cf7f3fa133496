//! Everything that is said to and heard from a Kubernetes API server, and nothing that decides.
//!
//! ```text
//! resources   the custom resources, as Rust types
//! crds        the CRDs, made from them: deploy/base/crds.yaml
//! labels      keys of labels and annotations, and what a label may hold
//! client      one connection, with its limits and counts
//!
//! watches ── watch ── view ──────── pods, namespaces, policies ──── index
//! which       list and  what was     each a bounded collection      what is asked
//! there are   watch     told, and    of plain data: pod, workload,  of them, by
//!                       its pulse    annotation                     container
//! events      Events on pods, few, for their owners
//! exec        runs the sweep stage's rm in a container
//! ```
//!
//! Must never: answer a question from memory that has gone stale without saying so.

mod annotation;
pub mod client;
pub mod crds;
pub mod events;
pub mod exec;
#[cfg(test)]
pub(crate) mod fixtures;
mod index;
pub mod labels;
mod namespaces;
mod pod;
mod pods;
mod policies;
mod pulse;
pub mod resources;
pub mod slot;
mod view;
mod watch;
pub mod watches;
mod workload;

pub use annotation::Annotation;
pub use index::{Index, Known, Membership, PodNames, WatchState};
pub use namespaces::{MAX_NAMESPACES, Namespaces};
pub use pod::{MAX_CONTAINERS, MAX_LABELS, Pod, PodContainer};
pub use pods::{MAX_PODS, Pods, Touched};
pub use policies::Policies;
pub use pulse::{MAX_CUT, MAX_SILENCE, Pulse, Stale};
pub use view::{Collection, View};
pub use watch::{Selection, WATCH_SECONDS, Watch, WatchCounts};
pub use workload::workload;
