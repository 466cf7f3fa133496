//! `podsweep sweep`: one sweep now. The agent does it where one runs, so that its breakers, cool-downs and slots
//! hold; else this process does, with the guards of the configuration.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::args::SweepArgs;
use super::failure::{Ended, Failure};
use super::output::{Format, json};
use super::progress::Progress;
use super::{interrupt, settings, summary};
use crate::control::view::SweepRequest;
use crate::control::{Client, ClientError};
use crate::inventory::Target;
use crate::one_shot;
use crate::operation::Follow;
use crate::policy::Mode;
use crate::report::{Phase, SweepRecord};
use crate::sweep;

/// How often a sweep of the agent's is looked at.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(500);

/// The hidden command: the process that removes.
pub(super) fn deleter() -> Result<Ended, Failure> {
    sweep::deleter::run().map_err(anyhow::Error::from)?;
    Ok(Ended::Well)
}

/// Sweeps, shows the record.
pub(super) async fn run(args: SweepArgs) -> Result<Ended, Failure> {
    let policy = settings::policy(&args.policy)?;
    let mode = args.mode.map_or(policy.spec.mode, Mode::from);
    if mode == Mode::Observe {
        let remedy = "this policy is in mode Observe, which never scans; add --mode DryRun or --mode Enforce";
        return Err(Failure::input(anyhow::anyhow!(remedy)));
    }
    let client = Client::new(args.socket.socket);
    let request = SweepRequest {
        target: args.target.to_string(),
        policy: None,
        policy_spec: Some(Box::new(policy.clone())),
        mode: Some(mode),
    };
    // A plain directory is nothing the agent watches over.
    let asked = if matches!(args.target, Target::Dir(_)) { None } else { asked(&client, &request).await? };
    let record = if let Some(id) = asked {
        follow(&client, &id).await?
    } else {
        let config = settings::config(&args.config.config)?;
        let (progress, stop) = (Progress::start(), interrupt::stop_on_signal()?);
        let subject = one_shot::find(&args.target, &policy, &config)?;
        one_shot::sweep(subject, Arc::new(policy), mode, &config, &progress, &stop).await?
    };
    match args.output.output {
        Format::Json => json(&record)?,
        Format::Table => summary::table(&record).print()?,
    }
    Ok(Ended::well_if(summary::is_good(&record)))
}

async fn asked(client: &Client, request: &SweepRequest) -> Result<Option<String>, ClientError> {
    match client.request_sweep(request).await {
        Ok(id) => Ok(Some(id)),
        Err(ClientError::NoAgent { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn follow(client: &Client, id: &str) -> Result<SweepRecord, Failure> {
    let stop = interrupt::stop_on_signal()?;
    let progress = Progress::start();
    let mut cancelled = false;
    loop {
        let record = client.sweep(id).await?;
        progress.phase(&record);
        if record.phase == Phase::Ended {
            return Ok(record);
        }
        if stop.is_cancelled() && !cancelled {
            cancelled = true;
            cancel(client, id).await?;
        }
        pause(&stop, cancelled).await;
    }
}

async fn cancel(client: &Client, id: &str) -> Result<(), ClientError> {
    match client.cancel_sweep(id).await {
        // It has ended in the meantime: the next look shows how.
        Err(ClientError::Problem(problem)) if problem.status == 409 => Ok(()),
        other => other,
    }
}

async fn pause(stop: &CancellationToken, cancelled: bool) {
    if cancelled {
        tokio::time::sleep(FOLLOW_INTERVAL).await;
    } else {
        let _ = tokio::time::timeout(FOLLOW_INTERVAL, stop.cancelled()).await;
    }
}
