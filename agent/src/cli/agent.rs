//! `podsweep agent`: the node daemon.

use tokio_util::sync::CancellationToken;

use super::args::AgentArgs;
use super::failure::{Ended, Failure};
use super::settings;
use crate::agent;
use crate::report::log::{self, Format};

/// Threads for the loop, the sweeps and the control endpoint. Blocking work has its own.
const THREADS: usize = 2;

/// Runs until SIGTERM or SIGINT.
pub(super) fn run(args: &AgentArgs) -> Result<Ended, Failure> {
    let config = settings::config(&args.config.config)?;
    log::init(Format::of_stderr()).map_err(anyhow::Error::from)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build()?;
    runtime.block_on(async {
        let shutdown = CancellationToken::new();
        tokio::spawn(super::interrupt::cancel_on_signal(shutdown.clone()));
        agent::run(config, shutdown).await
    })?;
    Ok(Ended::Well)
}
