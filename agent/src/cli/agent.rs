//! `podsweep agent`: the node daemon.

use super::args::AgentArgs;
use super::failure::{Ended, Failure};
use super::{pending, settings};

/// Runs until SIGTERM.
pub(super) fn run(args: &AgentArgs) -> Result<Ended, Failure> {
    let config = settings::config(&args.config.config)?;
    pending::run_agent(config)?;
    Ok(Ended::Well)
}
