//! The node agent. Wires the stages in the order of the design's picture and does nothing else.
//!
//! ```text
//! observe -> inventory -> policy      watch.rs    once a tick: counts, containers, decisions
//!         -> admission                admit.rs    who may say no, level by level; a permit
//!         -> scan -> sweep -> breaker operation   one sweep in a task of its own
//!         -> report                   follow.rs   log lines and the live view
//!                                     node.rs     the control endpoint's view of all this
//!                                     refused.rs  who was refused, on record
//!                                     outside.rs  pods' owners and a collector outside
//!                                     history_probe.rs  whether sweeps can be put on record
//! ```

mod admit;
mod follow;
mod history_probe;
mod node;
mod outside;
mod recover;
mod refused;
mod shared;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::confinement::Role;
use crate::control::{self, Endpoints, Listeners};
use crate::inventory::{Inventory, InventorySettings, RuntimePaths};
use crate::kernel::Cgroups;
use crate::observe::{ObserveSettings, Observer};
use crate::operation::Stores;
use crate::report::CloudEvents;

use outside::Outside;
pub(crate) use shared::{Shared, board};
pub use shared::{scan_place, stores};

/// How long running sweeps may take to finish their batch when the agent is asked to end. Kubernetes' default grace
/// period is 30 s; this leaves the rest of it to the record.
const GRACE: Duration = Duration::from_secs(20);

/// An agent that has everything that it needs privileges for, and has given these up.
pub struct Prepared {
    config: Config,
    cgroups: Cgroups,
    stores: Arc<Stores>,
    observer: Observer,
}

/// Opens the state, clears up after an earlier agent, puts the programs into the kernel, and then gives up what was
/// needed for that. Call it before any thread is started: capabilities are a thread's own, and a runtime's threads
/// have what their starter has.
pub fn prepare(config: Config) -> anyhow::Result<Prepared> {
    Role::Start.take_on()?;
    let cgroups = Cgroups::find().context("podsweep counts by cgroup2; mount it")?;
    let stores = stores(&config, cgroups.clone())?;
    recover::leftovers(&stores)?;
    recover::abandon_unfinished(&stores)?;
    let observer = Observer::start(&ObserveSettings::default())?;
    Role::Agent.take_on()?;
    Ok(Prepared { config, cgroups, stores, observer })
}

/// Runs the agent until `shutdown`. Errors are those of the start; once it runs, it keeps running.
pub async fn run(prepared: Prepared, shutdown: CancellationToken) -> anyhow::Result<()> {
    let Prepared { config, cgroups, stores, observer } = prepared;
    let settings = InventorySettings {
        host_paths: config.host_paths.clone(),
        units: config.units,
        ..InventorySettings::default()
    };
    let inventory = Inventory::new(cgroups, Box::new(RuntimePaths::default()), settings);

    let endpoints = Endpoints {
        socket: config.socket.clone(),
        listen: config.listen,
        token_file: config.token_file.clone(),
    };
    let listeners = Listeners::bind(&endpoints).await?;
    let outside = outside(&config, &stores)?;
    let shared = Arc::new(Shared::new(config, stores, inventory, &observer, outside, shutdown.clone())?);
    let served = tokio::spawn(control::serve(node::view(&shared), listeners, shutdown.clone()));

    tokio::spawn(history_probe::run(Arc::clone(&shared)));
    watch::Watch::new(Arc::clone(&shared), observer).run().await;

    shared.tasks.close();
    if tokio::time::timeout(GRACE, shared.tasks.wait()).await.is_err() {
        tracing::warn!(
            seconds = GRACE.as_secs(),
            "sweeps still running at the end; they will be found abandoned"
        );
    }
    shared.outside.end().await;
    served.await.context("control endpoint")
}

/// Those outside the node who are told.
fn outside(config: &Config, stores: &Stores) -> anyhow::Result<Outside> {
    let node = nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let collector = config.cloud_events.as_ref();
    let collector = collector
        .map(|settings| CloudEvents::start(settings, &node, Arc::clone(&stores.metrics)))
        .transpose()?;
    Ok(Outside { collector, ..Outside::default() })
}
