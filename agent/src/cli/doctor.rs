//! `podsweep doctor`: what this kernel and this node can do.

use serde::Serialize;

use super::args::DoctorArgs;
use super::failure::{Ended, Failure};
use super::output::{Format, Table, json, line};
use super::settings;
use crate::doctor::{Check, Process, examine, processes};

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
    if args.capabilities {
        return capabilities(args.output.output);
    }
    let checks = examine(settings::read_config(&args.config.config).as_ref());
    let can_run = !checks.iter().any(Check::forbids_running);
    match args.output.output {
        Format::Json => json(&Examined { can_run, checks })?,
        Format::Table => show(&checks, can_run)?,
    }
    Ok(Ended::well_if(can_run))
}

fn capabilities(format: Format) -> Result<Ended, Failure> {
    let processes = processes();
    match format {
        Format::Json => json(&processes)?,
        Format::Table => show_processes(&processes)?,
    }
    Ok(Ended::Well)
}

fn show_processes(processes: &[Process]) -> std::io::Result<()> {
    let mut table = Table::new(&["PROCESS", "KEEPS", "HERE", "WHY"]);
    for process in processes {
        let mut name = process.process;
        for kept in &process.keeps {
            table.row([name, &kept.capability, if kept.here { "yes" } else { "no" }, kept.why]);
            name = "";
        }
        for kept in &process.in_reserve {
            let why = format!("in reserve: {}", kept.why);
            table.row(["", &kept.capability, if kept.here { "yes" } else { "no" }, &why]);
        }
        if !process.leaves_to_children.is_empty() {
            let children = format!("for its children: {}", process.leaves_to_children.join(" "));
            table.row(["", "", "", &children]);
        }
        for means in &process.held_by {
            table.row(["", "", "", &format!("held by {means}")]);
        }
    }
    table.keep_first_column();
    table.print()
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
