//! `podsweep coordinator`: grants slots, runs waves, keeps breakers, for a whole cluster. Several run, one leads.
//!
//! ```text
//! watches ──► known ──► rollout::Index ──► steps ──► write ──► API server
//!                           ▲                          │
//!                           └──── what was written ────┘
//! election    who leads: one Lease
//! lead        the turns of the one that does
//! neighbours  watches of pods, where something is swept
//! guards      queries that policies want to hold; asked of a prometheus
//! serve       /healthz, /readyz, /metrics
//! breakers    listed and closed over a unix socket
//! ```
//!
//! Must never: decide anything by itself (that is `rollout`), keep anything that is not on the API server too, or
//! grant on the strength of what it heard too long ago.

mod breakers;
mod election;
mod guards;
mod known;
mod lead;
mod metrics;
mod neighbours;
mod policies;
mod prometheus;
mod rollouts;
mod serve;
mod settings;
mod write;

use std::sync::Arc;

use anyhow::Context;
use tokio_util::sync::CancellationToken;

use crate::kubernetes::client;
use prometheus::Prometheus;

pub use metrics::CoordinatorMetrics;
pub use settings::{CoordinatorConfig, PROMETHEUS_WITH_QUERY};

/// Runs until `shutdown`.
pub async fn run(config: CoordinatorConfig, shutdown: CancellationToken) -> anyhow::Result<()> {
    let metrics = Arc::new(CoordinatorMetrics::new()?);
    let client = client::connect(config.kubeconfig.as_deref(), metrics.requests()).await?;
    let endpoint = serve::Endpoint::bind(config.listen)
        .await
        .with_context(|| format!("cannot listen on {}", config.listen))?;
    let control = match &config.socket {
        Some(socket) => Some(breakers::Control::bind(socket, client.clone()).await?),
        None => None,
    };
    let served = tokio::spawn(endpoint.serve(Arc::clone(&metrics), shutdown.clone()));
    let controlled = control.map(|control| tokio::spawn(control.serve(shutdown.clone())));
    let prometheus = config.prometheus_url.clone().map(Prometheus::new).transpose();
    let prometheus = prometheus.context(
        "prometheusUrl is https and no root certificates are to be had; install ca-certificates, or name a file with SSL_CERT_FILE",
    )?;
    let (config, prometheus) = (Arc::new(config), prometheus.map(Arc::new));
    let election = election::Election::new(client.clone(), &config);
    election
        .run(&metrics, &shutdown, |term| {
            lead::lead(client.clone(), Arc::clone(&config), prometheus.clone(), Arc::clone(&metrics), term)
        })
        .await;
    if let Some(controlled) = controlled {
        controlled.await.context("control socket")?;
    }
    served.await.context("endpoint")
}
