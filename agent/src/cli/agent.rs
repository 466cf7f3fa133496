//! `podsweep agent`: the node daemon.

use super::args::AgentArgs;
use super::failure::{Ended, Failure};
use super::pending;

/// Runs until SIGTERM.
pub(super) fn run(args: &AgentArgs) -> Result<Ended, Failure> {
    pending::run_agent(&args.config.config)?;
    Ok(Ended::Well)
}
