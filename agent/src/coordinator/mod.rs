//! `podsweep coordinator`: grants slots, runs waves, keeps breakers, for a whole cluster. Several run, one leads.
//!
//! ```text
//! watches ──► known ──► rollout::Index ──► steps ──► write ──► API server
//!                           ▲                          │
//!                           └──── what was written ────┘
//! election    who leads: one Lease
//! lead        the turns of the one that does
//! neighbours  watches of pods, where something is swept
//! serve       /healthz, /readyz, /metrics
//! ```
//!
//! Must never: decide anything by itself (that is `rollout`), keep anything that is not on the API server too, or
//! grant on the strength of what it heard too long ago.

mod election;
mod known;
mod lead;
mod metrics;
mod neighbours;
mod policies;
mod rollouts;
mod serve;
mod settings;
mod write;

use std::sync::Arc;

use anyhow::Context;
use tokio_util::sync::CancellationToken;

use crate::kubernetes::client;

pub use metrics::CoordinatorMetrics;
pub use settings::CoordinatorConfig;

/// Runs until `shutdown`.
pub async fn run(config: CoordinatorConfig, shutdown: CancellationToken) -> anyhow::Result<()> {
    let metrics = Arc::new(CoordinatorMetrics::new()?);
    let client = client::connect(config.kubeconfig.as_deref(), metrics.requests()).await?;
    let endpoint = serve::Endpoint::bind(config.listen)
        .await
        .with_context(|| format!("cannot listen on {}", config.listen))?;
    let served = tokio::spawn(endpoint.serve(Arc::clone(&metrics), shutdown.clone()));
    let config = Arc::new(config);
    let election = election::Election::new(client.clone(), &config);
    election
        .run(&metrics, &shutdown, |term| {
            lead::lead(client.clone(), Arc::clone(&config), Arc::clone(&metrics), term)
        })
        .await;
    served.await.context("endpoint")
}
