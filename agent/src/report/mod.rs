//! Report: metrics, history, audit journal, the record of each sweep, CloudEvents.
//!
//! In: what the other stages did. Out: `/metrics`, SQLite, the journal, log lines, CloudEvents over HTTP. Must never: decide anything.

mod record;
mod state_dir;

#[cfg(test)]
mod small_disk;

pub mod cloud_events;
pub mod history;
pub mod journal;
pub mod log;
pub mod metrics;

pub use cloud_events::CloudEvents;
pub use history::{History, HistoryError, HistoryLimits};
pub use journal::{Journal, JournalLimits};
pub use metrics::Metrics;
pub use record::{Health, Outcome, Phase, Subject, SweepFigures, SweepRecord};
pub use state_dir::{StateDirError, StateLock, check_state_folder, state_holder};
