//! A container in a pod's cgroup gets the names that the Kubernetes API tells, when it tells them.

use std::sync::Arc;

use super::super::{Inventory, InventorySettings, RuntimePaths};
use super::stage::{Stage, ids};
use crate::kubernetes::fixtures::{ID, UID, cart, listed};
use crate::kubernetes::{Index, PodNames};

#[test]
fn names_are_asked_again_of_pods_that_were_touched_and_of_no_others() {
    let mut stage = Stage::new();
    let index = Arc::new(Index::default());
    let names = PodNames::new(Arc::clone(&index), RuntimePaths::below(stage.path("")));
    let mut inventory = Inventory::new(stage.cgroups.clone(), Box::new(names), InventorySettings::default());
    let (id, path) = stage.make(&format!("/pod{UID}/{ID}"));
    stage.start_on_host_root(&path);
    inventory.rescan();
    let names = |inventory: &Inventory| inventory.get(id).unwrap().names.clone();
    assert_eq!((names(&inventory).pod_uid.as_deref(), names(&inventory).pod), (Some(UID), None));

    listed(&index, vec![cart()]);
    assert!(inventory.ask_names(|_| false).is_empty());
    let touched = index.take_touched();
    let changes = inventory.ask_names(|uid| touched.has(uid));
    assert_eq!(ids(&changes.changed), [id]);
    let now = names(&inventory);
    assert_eq!((now.container.as_deref(), now.workload.as_deref()), (Some("app"), Some("Deployment/cart")));
    assert!(inventory.ask_names(|_| true).is_empty(), "the same names are no change");
}
