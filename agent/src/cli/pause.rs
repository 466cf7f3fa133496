//! `podsweep pause` and `podsweep resume`.

use super::args::{PauseArgs, ResumeArgs};
use super::failure::{Ended, Failure};
use super::output::line;
use crate::control::Client;

/// No new sweeps.
pub(super) async fn pause(args: PauseArgs) -> Result<Ended, Failure> {
    Client::new(args.socket.socket).pause(&args.reason).await?;
    line("paused; `podsweep resume` lets sweeps start again")?;
    Ok(Ended::Well)
}

/// Sweeps again.
pub(super) async fn resume(args: ResumeArgs) -> Result<Ended, Failure> {
    Client::new(args.socket.socket).resume().await?;
    line("resumed")?;
    Ok(Ended::Well)
}
