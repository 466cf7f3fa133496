//! Report: metrics, history, audit journal, the record of each sweep.
//!
//! In: what the other stages did. Out: `/metrics`, SQLite, the journal, log lines. Must never: decide anything.

mod record;

pub use record::{Health, Outcome, Phase, Subject, SweepFigures, SweepRecord};
