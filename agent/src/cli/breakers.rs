//! `podsweep breakers`: list them, close one.

use jiff::Timestamp;

use super::args::{BreakersAction, BreakersArgs};
use super::failure::{Ended, Failure};
use super::figures::time_to;
use super::output::{Format, Table, json};
use crate::control::Client;
use crate::control::view::BreakerView;

/// Closes the breaker that is named, if one is; then shows them all.
pub(super) async fn run(args: BreakersArgs) -> Result<Ended, Failure> {
    let client = Client::new(args.socket.socket);
    if let Some(BreakersAction::Reset { name }) = &args.action {
        client.reset_breaker(name).await?;
    }
    let breakers = client.breakers().await?;
    match args.output.output {
        Format::Json => json(&breakers)?,
        Format::Table => table(&breakers, Timestamp::now()).print()?,
    }
    Ok(Ended::Well)
}

fn table(breakers: &[BreakerView], now: Timestamp) -> Table {
    let mut table = Table::new(&["NAME", "STATE", "REASON", "PROBE IN"]);
    for breaker in breakers {
        table.row([
            breaker.name.clone(),
            format!("{:?}", breaker.state),
            breaker.reason.clone().unwrap_or_else(|| "-".into()),
            breaker.until.as_deref().map_or_else(|| "-".into(), |until| time_to(until, now)),
        ]);
    }
    table.keep_first_column();
    table
}
