//! The agent's standing watches: pods of its node, namespaces, policies.
//!
//! In: a client, the node's name, the index to fill. Out: tasks that end with `stop`. Must never: ask for more than
//! this node needs.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::core::PartialObjectMeta;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::index::Index;
use super::resources::PolicyObject;
use super::watch::{Selection, Watch, WatchCounts};

/// Fills the index until `stop`. Three long requests at a time, each made again every
/// [`super::watch::WATCH_SECONDS`].
pub fn start(
    client: &Client,
    node: &str,
    index: &Index,
    counts: &Arc<dyn WatchCounts>,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) {
    // Whole pods: metadata alone has no restart counts.
    let of_node = Selection { fields: Some(format!("spec.nodeName={node}")), labels: None };
    let pods: Api<Pod> = Api::all(client.clone());
    let pods = Watch::new(pods, of_node, Arc::clone(&index.pods), Arc::clone(counts));

    let namespaces: Api<PartialObjectMeta<Namespace>> = Api::all(client.clone());
    let view = Arc::clone(&index.namespaces);
    let namespaces = Watch::new(namespaces, Selection::default(), view, Arc::clone(counts));

    // Untyped, so that one that cannot be read is an error of its own and not of the whole list.
    let policies: Api<DynamicObject> =
        Api::all_with(client.clone(), &ApiResource::erase::<PolicyObject>(&()));
    let view = Arc::clone(&index.policies);
    let policies = Watch::new(policies, Selection::default(), view, Arc::clone(counts));

    tasks.spawn(pods.run(stop.clone()));
    tasks.spawn(namespaces.run(stop.clone()));
    tasks.spawn(policies.run(stop.clone()));
}
