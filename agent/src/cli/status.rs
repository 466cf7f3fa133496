//! `podsweep status`: the agent at a glance.

use jiff::Timestamp;
use serde::Serialize;

use super::args::StatusArgs;
use super::failure::{Ended, Failure};
use super::figures::{age, count};
use super::output::{Format, Table, json, line};
use crate::control::Client;
use crate::control::view::{ApiWatch, ContainerView, Status};

/// What `-o json` prints.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    status: Status,
    #[serde(rename = "containerList")]
    containers: Vec<ContainerView>,
}

/// Asks the agent, shows.
pub(super) async fn run(args: StatusArgs) -> Result<Ended, Failure> {
    let client = Client::new(args.socket.socket);
    let (status, containers) = (client.status().await?, client.containers().await?);
    match args.output.output {
        Format::Json => json(&Shown { status, containers })?,
        Format::Table => {
            glance(&status, Timestamp::now()).print()?;
            busiest(&containers, args.containers)?;
        }
    }
    Ok(Ended::Well)
}

fn glance(status: &Status, now: Timestamp) -> Table {
    let mut table = Table::plain();
    for (label, value) in lines(status, now) {
        table.row([label, &value]);
    }
    table.keep_first_column();
    table
}

fn lines(status: &Status, now: Timestamp) -> Vec<(&'static str, String)> {
    let up = age(&status.started_at, now);
    let mut lines = vec![
        ("agent", format!("podsweep {} on {}, up {up}", status.version, status.node)),
        ("sweeps", sweeping(status, now)),
        ("counting", format!("tier {}", status.tier)),
    ];
    lines.extend(status.gaps.iter().map(|gap| ("gap", gap.clone())));
    let losses = status.losses.iter().filter(|(_, lost)| **lost > 0);
    lines.extend(losses.map(|(name, lost)| ("loss", format!("{name} {}", count(*lost)))));
    lines.push(("containers", containers(status)));
    lines.extend(status.watches.iter().map(|watch| ("api", api(watch))));
    if let (Some(inodes), Some(bytes)) = (status.inodes_free_percent, status.bytes_free_percent) {
        lines.push(("free", format!("inodes {inodes:.0}%, bytes {bytes:.0}%")));
    }
    let policies = status.policies.iter().map(|policy| {
        format!("{} ({:?}): {} containers", policy.name, policy.mode, count(policy.containers))
    });
    lines.extend(policies.map(|policy| ("policy", policy)));
    lines.extend(status.policy_errors.iter().map(|error| ("bad policy", error.clone())));
    lines.extend(status.sweeps.iter().map(|sweep| {
        let running = age(&sweep.started_at, now);
        let done = count(sweep.removed);
        (
            "sweep",
            format!(
                "{} {}: {:?} for {running}, {done} removed, policy {}",
                sweep.id, sweep.container, sweep.phase, sweep.policy
            ),
        )
    }));
    lines.extend(status.breakers.iter().map(|breaker| {
        let reason = breaker.reason.as_deref().unwrap_or("no reason on record");
        ("breaker", format!("{} is {:?}: {reason}", breaker.name, breaker.state))
    }));
    lines
}

fn sweeping(status: &Status, now: Timestamp) -> String {
    match (&status.paused, status.sweeps_enabled) {
        (_, false) => "disabled by the node's configuration".into(),
        (Some(paused), true) => format!("paused for {}: {}", age(&paused.since, now), paused.reason),
        (None, true) => "enabled".into(),
    }
}

fn api(watch: &ApiWatch) -> String {
    let ApiWatch { resource, objects, .. } = watch;
    match (&watch.stale, watch.silence_seconds) {
        (Some(stale), _) => format!("{resource}: {stale}; no sweep begins"),
        (None, silence) => {
            format!("{resource}: {}, heard {} s ago", count(*objects), silence.unwrap_or_default())
        }
    }
}

fn containers(status: &Status) -> String {
    let skipped = match status.containers_skipped {
        0 => String::new(),
        skipped => format!(", {} over the limit and not watched", count(skipped)),
    };
    format!("{}{skipped}", count(status.containers))
}

fn busiest(containers: &[ContainerView], limit: usize) -> std::io::Result<()> {
    if containers.is_empty() || limit == 0 {
        return Ok(());
    }
    line("")?;
    let mut table = Table::new(&["CONTAINER", "CREATES/S", "CREATES", "REMOVALS", "POLICY", "REFUSED BY"]);
    for container in containers.iter().take(limit) {
        table.row([
            container.name.as_str(),
            &format!("{:.0}", container.creates_per_second),
            &count(container.creates),
            &count(container.removals),
            container.policy.as_deref().unwrap_or("-"),
            container.refusal.as_ref().map_or("-", |refusal| refusal.reason.as_str()),
        ]);
    }
    table.print()
}
