//! `podsweep explain`: everybody who may say no asked about one file, and the one whose word decides.

use std::sync::Arc;

use super::args::ExplainArgs;
use super::failure::{Ended, Failure};
use super::output::{Format, Table, json};
use super::settings;
use crate::config::Config;
use crate::control::{Client, ClientError, ExplainRequest};
use crate::gate::Standing;
use crate::inventory::Container;
use crate::one_shot;
use crate::policy::SweepPolicy;
use crate::policy::chain::Step;

/// Asks, shows.
pub(super) async fn run(args: ExplainArgs) -> Result<Ended, Failure> {
    if !args.path.is_absolute() {
        let remedy = "PATH is the file as the container sees it, from its root: begin it with a slash";
        return Err(Failure::input(anyhow::anyhow!(remedy)));
    }
    let policy = args.policy.as_deref().map(settings::policy).transpose()?.map(Arc::new);
    let config = settings::config(&args.config.config)?;
    let container = one_shot::container(&args.container, &config)?;
    let client = Client::new(args.socket.socket);
    let standing = standing(&client, &config, &container, policy.as_ref()).await?;
    let steps = one_shot::explain(&container, &args.path, standing).await?;
    match args.output.output {
        Format::Json => json(&steps)?,
        Format::Table => table(&steps).print()?,
    }
    Ok(Ended::Well)
}

/// By the node's agent, which knows its own pause, cool-downs, breakers and slots; else by what lies on the disk.
async fn standing(
    client: &Client,
    config: &Config,
    container: &Container,
    policy: Option<&Arc<SweepPolicy>>,
) -> Result<Standing, Failure> {
    let request = ExplainRequest {
        target: container.cgroup_path.clone(),
        policy: None,
        policy_spec: policy.map(|policy| Box::new((**policy).clone())),
    };
    match client.explain(&request).await {
        Ok(standing) => Ok(standing),
        Err(ClientError::NoAgent { .. }) => Ok(one_shot::standing(config, container, policy)?),
        Err(error) => Err(error.into()),
    }
}

fn table(steps: &[Step]) -> Table {
    let mut table = Table::new(&["LEVEL", "QUESTION", "ANSWER", "REASON", ""]);
    for step in steps {
        let mark = if step.deciding { "<- decides" } else { "" };
        let reason = step.reason.as_deref().unwrap_or_default();
        table.row([&step.level.to_string(), &step.question, &step.answer, reason, mark]);
    }
    table
}
