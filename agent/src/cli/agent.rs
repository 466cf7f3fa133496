//! `podsweep agent`: the node daemon.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::args::AgentArgs;
use super::failure::{Ended, Failure};
use super::settings;
use crate::agent;
use crate::report::log::{self, Format};

/// Threads for the loop, the sweeps and the control endpoint. Blocking work has its own.
const THREADS: usize = 2;

/// For threads that still wait for a disk when everything else has ended.
const LAST_WAIT: Duration = Duration::from_secs(5);

/// Runs until SIGTERM or SIGINT.
pub(super) fn run(args: &AgentArgs) -> Result<Ended, Failure> {
    let config = settings::config(&args.config.config)?;
    log::init(Format::of_stderr()).map_err(anyhow::Error::from)?;
    let prepared = agent::prepare(config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build()?;
    let ended = runtime.block_on(async {
        let shutdown = CancellationToken::new();
        tokio::spawn(super::interrupt::cancel_on_signal(shutdown.clone()));
        agent::run(prepared, shutdown).await
    });
    // A thread that waits for a disk that hangs would otherwise keep the process for ever.
    runtime.shutdown_timeout(LAST_WAIT);
    ended?;
    Ok(Ended::Well)
}
