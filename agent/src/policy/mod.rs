//! Policy: what counts as junk, when to act, how gently, who may say no. Pure: no I/O (but `files`, which reads the
//! folder), time comes in as an argument.
//!
//! In: containers, counts, free space, policies. Out: [`Decision`]s. Must never: touch a file of a container.

mod decision;
pub mod junk;
mod load;
mod names;
mod pattern;
mod schedule;
mod spec;
mod validate;

pub use decision::{Decision, Fired, Refusal, Verdict};
pub use junk::{FileFacts, Judgement, Junk, JunkError};
pub use load::{PolicyError, load_file, parse};
pub use names::{NameError, NameGlob};
pub use pattern::{Pattern, PatternError};
pub use schedule::{Schedule, ScheduleError};
pub use spec::{
    Action, Breakers, Executor, Exhaustion, FileType, JunkRule, LabelExpression, LabelOperator, Metadata,
    Mode, NodeFree, Pressure, Retries, Rollout, ScanSettings, Select, SerialBy, Spec, StopWhen, SweepBreaker,
    SweepPolicy, SweepSettings, Trigger, VolumeKind, WorkloadBreaker,
};
pub use validate::validate;
