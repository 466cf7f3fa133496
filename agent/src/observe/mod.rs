//! Counts what containers create and remove, in the kernel.
//!
//! ```text
//! BTF ────────────────────────┐
//! tiers, hooks, architecture ─┴─> plan ─> load ─> self-test ─> Observer ─┬─> counts per cgroup and kind   (read: 4 times a second)
//!                                                    ├─> top directories of a burst   (read: when there is one)
//!                                                    ├─> cgroups made and removed     (a stream)
//!                                                    └─> loss and cost
//! ```
//!
//! Comes in: the running kernel. Goes out: totals by [`CgroupId`]; what they mean is for others. Whatever is lost is
//! counted, whatever cannot be seen is said ([`Observer::gaps`]).
//!
//! Must never: change anything on the node but what it loads into the kernel, which goes when the [`Observer`] does.

mod architecture;
mod batch;
mod btf;
mod cgroup_events;
mod cost;
mod counts;
mod directories;
mod gap;
mod heap;
mod hooks;
mod load;
mod observer;
mod readiness;
#[cfg(test)]
mod recorded;
mod self_test;
mod tiers;

pub use agent_common::Kind;
pub use btf::BtfError;
pub use cgroup_events::CgroupEvents;
pub use cost::ProgramCost;
pub use counts::Counts;
pub use directories::TopDirectory;
pub use gap::{Gap, GapId};
pub use observer::{Loss, ObserveError, ObserveSettings, Observer, trial};
pub use tiers::Tier;
