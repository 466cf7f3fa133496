//! `podsweep explain`: every guard asked about one file, and the one that decides.

use super::args::ExplainArgs;
use super::failure::{Ended, Failure};
use super::output::{Format, Table, json};
use super::settings;
use crate::one_shot;

/// Asks, shows.
pub(super) fn run(args: &ExplainArgs) -> Result<Ended, Failure> {
    if !args.path.is_absolute() {
        let remedy = "PATH is the file as the container sees it, from its root: begin it with a slash";
        return Err(Failure::input(anyhow::anyhow!(remedy)));
    }
    let policy = args.policy.as_deref().map(settings::policy).transpose()?;
    let config = settings::config(&args.config.config)?;
    let steps = one_shot::explain(&config, &args.container, &args.path, policy)?;
    if args.output.output == Format::Json {
        json(&steps)?;
        return Ok(Ended::Well);
    }
    let mut table = Table::new(&["LEVEL", "QUESTION", "ANSWER", ""]);
    for step in &steps {
        let mark = if step.deciding { "<- decides" } else { "" };
        table.row([&step.level.to_string(), &step.question, &step.answer, mark]);
    }
    table.print()?;
    Ok(Ended::Well)
}
