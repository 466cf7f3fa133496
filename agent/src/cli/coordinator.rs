//! `podsweep coordinator`: one replica of a cluster's coordinator.

use tokio_util::sync::CancellationToken;

use super::args::CoordinatorArgs;
use super::failure::{Ended, Failure};
use crate::coordinator::{self, CoordinatorConfig};
use crate::report::log::{self, Format};

/// Threads: one decides, the others write.
const THREADS: usize = 2;

/// Runs until SIGTERM or SIGINT.
pub(super) fn run(args: &CoordinatorArgs) -> Result<Ended, Failure> {
    let mut config = match &args.config {
        Some(path) => CoordinatorConfig::load(path).map_err(Failure::input)?,
        None => CoordinatorConfig::default(),
    };
    if let Some(url) = &args.prometheus_url {
        config.prometheus_url = Some(url.clone());
    }
    log::init(Format::of_stderr()).map_err(anyhow::Error::from)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build()?;
    runtime.block_on(async {
        let shutdown = CancellationToken::new();
        tokio::spawn(super::interrupt::cancel_on_signal(shutdown.clone()));
        coordinator::run(config, shutdown).await
    })?;
    Ok(Ended::Well)
}
