//! The node's part in a cluster: asks for slots, and carries out what was granted.
//!
//! ```text
//! wish ──► ask ──► Sweep object ──► coordinator ──► slot, phase Admitted
//!                                                        │
//!            sweeps (a watch of this node's) ◄───────────┘
//!               │
//!            order ──► slot taken and renewed ──► levels 0 to 7 once more ──► operation ──► status, slot freed
//! ```
//!
//! Must never: sweep without a slot in the sweep's own name, or go on for longer than the slot lasts.

mod ask;
mod order;
mod status;
mod sweeps;
mod urgency;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::Client;
use kube::api::Api;
use tokio_util::sync::CancellationToken;

use self::ask::OnTheirWay;
use self::sweeps::NodeSweeps;
use super::Shared;
use super::shared::lock;
use crate::config::KubernetesConfig;
use crate::kubernetes::client::request;
use crate::kubernetes::slot::SlotLeases;
use crate::kubernetes::{Selection, View, Watch, labels};
use crate::rollout::SweepKey;

/// The well-known label of a node's zone.
const ZONE: &str = "topology.kubernetes.io/zone";
/// Until the node's object is asked for again, twice as long each time: a thousand agents without the right to read it
/// must not be seen at the API server.
const ZONE_RETRY: Duration = Duration::from_mins(1);
/// At most.
const LONGEST_ZONE_RETRY: Duration = Duration::from_hours(1);

/// What this agent knows of its cluster, besides pods and policies.
pub(in crate::agent) struct Cluster {
    client: Client,
    node: String,
    /// Told by the node's object, some time after the start.
    zone: Mutex<Option<String>>,
    slots: SlotLeases,
    sweeps: Arc<View<NodeSweeps>>,
    on_their_way: Mutex<OnTheirWay>,
    /// Sweeps that this agent carries out. Bounded by the slots of the node.
    running: Mutex<BTreeMap<SweepKey, CancellationToken>>,
}

impl Cluster {
    /// Knows nothing yet.
    pub(in crate::agent) fn new(client: Client, node: String, settings: &KubernetesConfig) -> Arc<Self> {
        Arc::new(Self {
            slots: SlotLeases::new(client.clone(), &settings.namespace),
            client,
            node,
            zone: Mutex::default(),
            sweeps: Arc::default(),
            on_their_way: Mutex::default(),
            running: Mutex::default(),
        })
    }

    pub(in crate::agent) fn client(&self) -> &Client {
        &self.client
    }

    pub(in crate::agent) fn node(&self) -> &str {
        &self.node
    }

    /// Watches this node's Sweeps and carries out what is granted, in tasks of `shared`.
    pub(in crate::agent) fn start(self: &Arc<Self>, shared: &Arc<Shared>) {
        let of_node = format!("{}={}", labels::NODE, labels::short(&self.node));
        let selection = Selection { labels: Some(of_node), ..Selection::default() };
        let api = Api::all(self.client.clone());
        let watch = Watch::new(api, selection, Arc::clone(&self.sweeps), shared.stores.metrics.clone());
        shared.tasks.spawn(watch.run(shared.shutdown.clone()));
        shared.tasks.spawn(order::run(Arc::clone(shared), Arc::clone(self)));
        let (cluster, shutdown) = (Arc::clone(self), shared.shutdown.clone());
        shared.tasks.spawn(async move {
            shutdown.run_until_cancelled(cluster.learn_zone()).await;
        });
    }

    /// Asks until it is told; sweeps of a node whose zone is not known count as being in one zone with all others such.
    async fn learn_zone(&self) {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let mut wait = ZONE_RETRY;
        loop {
            match request(|| format!("read Node {}", self.node), nodes.get(&self.node)).await {
                Ok(node) => {
                    *lock(&self.zone) = node.metadata.labels.and_then(|mut labels| labels.remove(ZONE));
                    return;
                }
                Err(error) => tracing::warn!(%error, "the node's zone is not known; asks again"),
            }
            tokio::time::sleep(wait).await;
            wait = (2 * wait).min(LONGEST_ZONE_RETRY);
        }
    }
}
