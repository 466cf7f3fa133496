//! `podsweep history`: the sweeps on record.

use jiff::Timestamp;

use super::args::HistoryArgs;
use super::failure::{Ended, Failure};
use super::figures::{age, bytes, count};
use super::output::{Format, Table, json};
use super::{audit, settings, summary};
use crate::control::Client;
use crate::control::view::SweepsQuery;
use crate::policy::Mode;
use crate::report::SweepRecord;

/// Asks the agent, shows.
pub(super) async fn run(args: HistoryArgs) -> Result<Ended, Failure> {
    if let Some(id) = args.id.as_deref().filter(|_| args.files) {
        return audit::run(id, &settings::config(&args.config.config)?, args.output.output);
    }
    let client = Client::new(args.socket.socket);
    if let Some(id) = args.id {
        let record = client.sweep(&id).await?;
        match args.output.output {
            Format::Json => json(&record)?,
            Format::Table => summary::table(&record).print()?,
        }
        return Ok(Ended::Well);
    }
    let query = SweepsQuery { limit: Some(args.limit), container: args.container, before: args.before };
    let records = client.sweeps(&query).await?;
    match args.output.output {
        Format::Json => json(&records)?,
        Format::Table => table(&records, Timestamp::now()).print()?,
    }
    Ok(Ended::Well)
}

fn table(records: &[SweepRecord], now: Timestamp) -> Table {
    let mut table =
        Table::new(&["ID", "AGE", "CONTAINER", "POLICY", "OUTCOME", "REMOVED", "FREED", "HEALTH"]);
    for record in records {
        table.row([
            record.id.clone(),
            age(&record.started_at, now),
            record.container.name.clone(),
            record.policy.clone(),
            summary::outcome(record),
            removed(record),
            bytes(record.sweep.removed_bytes),
            record.health.map_or_else(|| "-".into(), |health| format!("{health:?}")),
        ]);
    }
    table.keep_first_column();
    table
}

// A dry run removes nothing: what would go stands in brackets.
fn removed(record: &SweepRecord) -> String {
    match (&record.scan, record.mode) {
        (Some(_), Mode::DryRun) => format!("({})", count(record.sweep.would_remove)),
        _ => count(record.sweep.removed),
    }
}
