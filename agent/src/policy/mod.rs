//! Policy: what counts as junk, when to act, how gently, who may say no. Pure, time comes in as an argument; only `load`
//! and `files` do I/O: they read policy files.
//!
//! In: containers, counts, free space, policies. Out: [`Decision`]s. Must never: touch a file of a container.

pub mod chain;
mod decision;
pub mod files;
#[cfg(test)]
pub(crate) mod fixtures;
pub mod guard;
pub mod junk;
pub mod limits;
mod load;
mod names;
mod pattern;
mod reason;
#[cfg(test)]
mod reference;
pub mod refusals;
mod schedule;
pub mod select;
mod set;
mod spec;
pub mod trigger;
mod validate;

pub use decision::{Decision, Fired, Refusal, Verdict};
pub use files::{PolicyFolder, load_folder};
pub use guard::{GuardError, NodeGuard};
pub use junk::{FileFacts, Judgement, Junk, JunkError};
pub use limits::EntryLimits;
pub use load::{PolicyError, load_file, parse};
pub use names::{NameError, NameGlob};
pub use pattern::{Pattern, PatternError};
pub use reason::Reason;
pub use schedule::{Schedule, ScheduleError};
pub use select::{SelectError, Selector};
pub use set::{Choice, PolicySet, choose};
pub use spec::{
    Action, Breakers, Executor, Exhaustion, FileType, Guard, JunkRule, LabelExpression, LabelOperator,
    Metadata, Mode, NodeFree, Pressure, Retries, Rollout, ScanSettings, Select, SerialBy, Spec, StopWhen,
    SweepBreaker, SweepPolicy, SweepSettings, Trigger, VolumeKind, WorkloadBreaker,
};
pub use trigger::{Held, Triggers};
pub use validate::validate;
