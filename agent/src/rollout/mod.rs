//! Which sweep of a cluster runs next, and which must not: the coordinator's decisions. Pure.
//!
//! In: Sweeps, slot Leases, policies and Breakers as the API server shows them, with the time on the coordinator's own
//! monotonic clock. Out: [`Step`]s, each one write. Everything is worked out anew from what is known: a step that was
//! not carried out is asked for again, and a new leader that has seen the same objects asks for the same steps. Must
//! never: compare clocks of two machines, or grant a slot that somebody may still hold.
//!
//! ```text
//! sweeps, slots, rules ──► index ──► decide ──► Step
//!                            │         ├─ observe   how the workloads of what runs fare ◄── neighbours, guards
//!                            │         ├─ crowd     who runs beside whom
//!                            │         ├─ waves     how many of a workload before the next observation
//!                            └─────────┴─ circuits  where nothing flows
//! ```

mod batch;
mod circuits;
mod crowd;
mod decide;
mod entry;
mod guards;
mod harms;
mod index;
mod key;
mod neighbours;
mod notes;
mod observation;
mod observe;
mod rules;
mod slots;
mod step;
mod wait;
mod waves;

pub use batch::{Next, Target};
pub use circuits::GLOBAL;
pub use decide::{Circumstances, Figures};
pub use guards::{ASK_EVERY, Answer, Question};
pub use index::{Index, MAX_SWEEPS, Settings, Wants};
pub use key::{Holder, SweepKey};
pub use neighbours::{MAX_PODS, Neighbour};
pub use rules::Rules;
pub use slots::SlotSeen;
pub use step::Step;
