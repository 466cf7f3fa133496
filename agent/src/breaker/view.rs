//! Breakers as people see them. Pure.

use serde::{Deserialize, Serialize};

use super::{BreakerState, GLOBAL, WORKLOAD_PREFIX};

/// One breaker as the control endpoint shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BreakerView {
    /// [`GLOBAL`], or [`WORKLOAD_PREFIX`] and the workload's key.
    pub name: String,
    /// `Closed`, `Open` or `HalfOpen`.
    pub state: String,
    /// What opened it.
    pub reason: Option<String>,
    /// When one probe may try, seconds since 1970; `None` where only a person closes it.
    pub until: Option<u64>,
}

impl BreakerView {
    pub(super) fn global(open_because: Option<&str>) -> Self {
        let state = if open_because.is_some() { "Open" } else { "Closed" };
        Self {
            name: GLOBAL.to_owned(),
            state: state.to_owned(),
            reason: open_because.map(str::to_owned),
            until: None,
        }
    }

    pub(super) fn workload(key: &str, state: &BreakerState) -> Self {
        let (word, reason, until) = match state {
            BreakerState::Closed { .. } => ("Closed", None, None),
            BreakerState::Open { until, reason } => ("Open", Some(reason), Some(until)),
            BreakerState::HalfOpen { next_probe, reason, .. } => ("HalfOpen", Some(reason), Some(next_probe)),
        };
        Self {
            name: format!("{WORKLOAD_PREFIX}{key}"),
            state: word.to_owned(),
            reason: reason.cloned(),
            until: until.map(std::time::Duration::as_secs),
        }
    }
}
