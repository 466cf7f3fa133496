//! Policy: what counts as junk, when to act, how gently, who may say no. Pure: no I/O (but `files`, which reads the
//! folder), time comes in as an argument.
//!
//! In: containers, counts, free space, policies. Out: [`Decision`]s. Must never: touch a file of a container.

mod decision;
mod spec;

pub use decision::{Decision, Fired, Refusal, Verdict};
pub use spec::{
    Action, Breakers, Executor, FileType, JunkRule, Metadata, Mode, NodeFree, Pressure, Retries, Rollout,
    ScanSettings, Select, Spec, StopWhen, SweepBreaker, SweepPolicy, SweepSettings, Trigger, VolumeKind,
    WorkloadBreaker,
};
