//! `podsweep doctor`: what this kernel and this node can do.

use serde::Serialize;

use super::args::DoctorArgs;
use super::failure::{Ended, Failure};
use super::output::{Format, Table, json, line};
use super::settings;
use crate::doctor::{Check, examine};

/// Everything that was looked at.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Examined {
    /// Whether the agent can run here at all.
    can_run: bool,
    checks: Vec<Check>,
}

/// Looks, shows.
pub(super) fn run(args: &DoctorArgs) -> Result<Ended, Failure> {
    let checks = examine(settings::read_config(&args.config.config).as_ref());
    let can_run = !checks.iter().any(Check::forbids_running);
    match args.output.output {
        Format::Json => json(&Examined { can_run, checks })?,
        Format::Table => show(&checks, can_run)?,
    }
    Ok(Ended::well_if(can_run))
}

fn show(checks: &[Check], can_run: bool) -> std::io::Result<()> {
    let mut table = Table::new(&["CHECK", "STATE", "DETAIL"]);
    for check in checks {
        table.row([&check.name, &check.state.to_string(), &check.detail]);
        if let Some(remedy) = &check.remedy {
            table.row(["", "", &format!("-> {remedy}")]);
        }
    }
    table.keep_first_column();
    table.print()?;
    line("")?;
    line(if can_run {
        "The agent can run here."
    } else {
        "The agent cannot run here: see the required checks that are missing."
    })
}
