//! Doctor: what this kernel and this node can do, and what is missing.
//!
//! In: the agent's configuration, the kernel's files, trial calls. Out: [`Check`]s. Must never: change anything, but
//! for a file of its own in the state directory that it removes at once, and observe programs that it unloads again.

mod capabilities;
mod cgroups;
mod kernel;
mod node;
mod privileges;

pub use capabilities::{Keeps, Process, processes, reference};

use std::fmt;

use serde::Serialize;

use crate::config::Config;
use crate::document::FileError;
use crate::scan::DEFAULT_PARENT;

/// What a check found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// All there.
    Ok,
    /// There, with less than everything; `detail` says what is lost.
    Limited,
    /// Not there.
    Missing,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "ok",
            Self::Limited => "limited",
            Self::Missing => "missing",
        })
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// What.
    pub name: String,
    /// How it is.
    pub state: State,
    /// What was found, in a sentence.
    pub detail: String,
    /// What would help; none where nothing needs to.
    pub remedy: Option<String>,
    /// Whether the agent cannot run without it.
    pub required: bool,
}

impl Check {
    /// Whether the agent cannot run because of this.
    pub fn forbids_running(&self) -> bool {
        self.required && self.state == State::Missing
    }

    fn ok(name: &str, detail: impl Into<String>) -> Self {
        Self { name: name.into(), state: State::Ok, detail: detail.into(), remedy: None, required: false }
    }

    fn limited(name: &str, detail: impl Into<String>, remedy: &str) -> Self {
        Self { state: State::Limited, remedy: Some(remedy.into()), ..Self::ok(name, detail) }
    }

    fn missing(name: &str, detail: impl Into<String>, remedy: &str) -> Self {
        Self { state: State::Missing, remedy: Some(remedy.into()), ..Self::ok(name, detail) }
    }

    /// Found, or not.
    fn of(name: &str, result: Result<String, String>, remedy: &str) -> Self {
        match result {
            Ok(detail) => Self::ok(name, detail),
            Err(detail) => Self::missing(name, detail, remedy),
        }
    }

    /// The agent cannot run without it.
    fn required(self) -> Self {
        Self { required: true, ..self }
    }
}

/// Looks at everything. The configuration as far as it could be read.
pub fn examine(config: Result<&Config, &FileError>) -> Vec<Check> {
    let mut checks = kernel::checks();
    checks.extend(cgroups::checks(config.map_or(DEFAULT_PARENT, |config| &config.scan_cgroup)));
    checks.extend(privileges::checks());
    checks.extend(node::checks(config));
    checks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_required_check_that_is_missing_forbids_running() {
        assert!(Check::missing("a", "b", "c").required().forbids_running());
        assert!(!Check::missing("a", "b", "c").forbids_running());
        assert!(!Check::limited("a", "b", "c").required().forbids_running());
        assert!(!Check::ok("a", "b").required().forbids_running());
    }

    #[test]
    fn whatever_is_not_well_has_a_remedy() {
        for check in examine(Ok(&Config::default())) {
            assert_eq!(check.remedy.is_some(), check.state != State::Ok, "{check:?}");
            assert!(!check.detail.is_empty(), "{check:?}");
        }
    }
}
