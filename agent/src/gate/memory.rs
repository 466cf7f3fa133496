//! What levels 1, 5 and 6 remember from before this process: the pause, the cool-downs, the breakers.
//!
//! In: the history, as its owner or, where no agent runs, as a reader. Out: [`Memory`]. Must never: change it.

use std::path::Path;

use anyhow::Context;
use serde_json::Value;

use crate::control::view::Paused;
use crate::operation::BREAKERS;
use crate::report::history::{self, Reader};
use crate::report::{History, HistoryError, SweepRecord, state_holder};

/// History rows looked at for cool-downs, all that history lists at once. The default six sweeps a minute fill it in
/// close to three hours; the default cool-down is five minutes.
const COOL_DOWN_ROWS: usize = history::MAX_LIST;

/// Key of the pause in the history's state.
pub(super) const PAUSED: &str = "paused";

/// What outlives a process.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Sweeps on record, newest first.
    pub(super) records: Vec<SweepRecord>,
    /// The pause.
    pub(super) paused: Option<Paused>,
    /// The breakers, as history keeps them.
    pub(super) breakers: Option<Value>,
}

impl Memory {
    /// As the agent has it.
    pub(super) fn of(history: &History) -> anyhow::Result<Self> {
        let paused = history.state(PAUSED)?;
        Self::new(history.list(COOL_DOWN_ROWS, None, None)?, paused, history.state(BREAKERS)?)
    }

    /// As it lies in the state folder, with nobody at work there.
    pub(super) fn read(folder: &Path) -> anyhow::Result<Self> {
        if let Some(pid) = state_holder(folder)? {
            anyhow::bail!(
                "process {pid} is at work in {}; name its socket with --socket to ask it",
                folder.display()
            );
        }
        let Some(reader) = Reader::open(folder)? else { return Ok(Self::default()) };
        let paused = reader.state(PAUSED)?;
        Self::new(reader.list(COOL_DOWN_ROWS)?, paused, reader.state(BREAKERS)?)
    }

    fn new(
        records: Vec<SweepRecord>,
        paused: Option<Value>,
        breakers: Option<Value>,
    ) -> anyhow::Result<Self> {
        let paused = paused.map(serde_json::from_value).transpose();
        let paused = paused.context("the state \"paused\" in the history database")?;
        Ok(Self { records, paused: paused.flatten(), breakers })
    }
}

/// The pause, on record.
pub(super) fn keep_pause(history: &History, paused: Option<&Paused>) -> Result<(), HistoryError> {
    history.put_state(PAUSED, &serde_json::json!(paused))
}
