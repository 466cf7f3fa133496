//! Breaker: is a container well after its sweep, and may its workload, or this node, be swept again.
//!
//! In: [`Vitals`] (read by `observation`), findings, the time. Out: [`Finding`]s, and a pass or a refusal of level 6.
//! Must never: do I/O, ask for the time, or take a missing signal for a good one.
//!
//! ```text
//! vitals before ─┐
//! vitals now ────┴─ Watch ── Finding ── Board ── one Circuit a workload ── the global one
//! ```
//!
//! The sweep's own breaker (`breakers.sweep.errors`) is a count inside the sweep stage; it needs no memory.

mod board;
mod circuit;
mod health;
mod key;
mod pod_signs;
mod view;

pub use board::{
    Board, BoardSnapshot, GLOBAL, GlobalBreaker, MAX_WORKLOADS, NoSuchBreaker, Pass, Recorded,
    WORKLOAD_PREFIX,
};
pub use circuit::{BreakerState, Change, Circuit, Harm, MAX_HARMS};
pub use health::{
    Finding, MAX_TICK_GAP, PRESSURE_FACTOR, PRESSURE_FLOOR, PRESSURE_RISE, PRESSURE_TICKS, Sign, Vitals,
    Watch, WatchSettings,
};
pub use key::{MAX_KEY_BYTES, workload_key};
pub use pod_signs::PodSigns;
pub use view::BreakerView;
