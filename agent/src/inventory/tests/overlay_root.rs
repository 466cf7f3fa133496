//! A process with an overlayfs for a root, in a cgroup whose name says nothing.

use std::fs;

use super::super::{CgroupEvent, CgroupId, Inventory, Runtime, Target, still_the_same};
use super::stage::{Stage, ids, made, settle_until};

fn has_layer(inventory: &Inventory, id: CgroupId) -> bool {
    inventory.get(id).is_some_and(|container| container.layer.is_some())
}

#[test]
fn a_cgroup_becomes_a_container_when_its_process_has_its_own_root_and_goes_with_it() {
    let mut stage = Stage::new();
    let mut inventory = stage.inventory();
    let (id, path) = stage.make("/web");
    assert!(inventory.apply(&made(id, &path)).is_empty(), "no process yet: no container");

    let pid = stage.start_in_overlay(&path);
    let changes = settle_until(&mut inventory, |inventory| has_layer(inventory, id));
    assert_eq!(ids(&changes.added), [id]);
    let container = inventory.get(id).unwrap().clone();
    assert_eq!((container.runtime, container.id.as_str(), container.first.pid), (Runtime::Other, "web", pid));
    assert_eq!(container.cgroup_path, path);
    let layer = container.layer.as_ref().unwrap();
    assert_eq!(layer.upper, stage.path("upper"));
    assert_eq!(layer.lower, [stage.path("lower")]);
    assert_eq!(still_the_same(&container), Ok(()));
    for target in [Target::Pid(pid), Target::Cgroup(path.clone())] {
        assert_eq!(inventory.find(&target).unwrap().cgroup, id);
    }

    stage.end(pid);
    assert!(still_the_same(&container).is_err());
    fs::remove_dir(stage.cgroups.directory(&path)).unwrap();
    assert_eq!(ids(&inventory.apply(&CgroupEvent::Removed { id }).removed), [id]);
    assert!(inventory.get(id).is_none());
}

#[test]
fn a_rescan_finds_what_no_event_told_and_drops_what_went_untold() {
    let mut stage = Stage::new();
    let mut inventory = stage.inventory();
    let (id, path) = stage.make("/quiet");
    let pid = stage.start_in_overlay(&path);
    while !has_layer(&inventory, id) {
        inventory.rescan();
    }
    assert_eq!(inventory.rescan().removed.iter().filter(|gone| gone.cgroup == id).count(), 0);

    stage.end(pid);
    fs::remove_dir(stage.cgroups.directory(&path)).unwrap();
    assert!(ids(&inventory.rescan().removed).contains(&id));
}

#[test]
fn a_nested_cgroup_is_rolled_up_from_the_moment_it_is_made() {
    let mut stage = Stage::new();
    let mut inventory = stage.inventory();
    let (id, path) = stage.make("/outer");
    inventory.apply(&made(id, &path));
    stage.start_in_overlay(&path);
    settle_until(&mut inventory, |inventory| has_layer(inventory, id));

    let (nested, nested_path) = stage.make("/outer/container");
    assert_eq!(ids(&inventory.apply(&made(nested, &nested_path)).changed), [id]);
    assert_eq!(inventory.resolve(nested).map(|container| container.cgroup), Some(id));
    inventory.rescan();
    assert_eq!(inventory.get(id).unwrap().nested, [nested]);

    fs::remove_dir(stage.cgroups.directory(&nested_path)).unwrap();
    assert_eq!(ids(&inventory.apply(&CgroupEvent::Removed { id: nested }).changed), [id]);
    assert!(inventory.resolve(nested).is_none());
}

#[test]
fn a_first_process_that_ended_is_followed_by_the_next() {
    let mut stage = Stage::new();
    let mut inventory = stage.inventory();
    let (id, path) = stage.make("/again");
    inventory.apply(&made(id, &path));
    let first = stage.start_in_overlay(&path);
    settle_until(&mut inventory, |inventory| has_layer(inventory, id));
    let before = inventory.get(id).unwrap().clone();

    // Overlayfs refuses a second mount of one upper directory in use on some kernels: end the first one first.
    stage.end(first);
    let second = stage.start_in_overlay(&path);
    let is_second = |inventory: &Inventory| {
        inventory.get(id).is_some_and(|container| container.first.pid == second && container.layer.is_some())
    };
    let changes = settle_until(&mut inventory, is_second);
    assert!(ids(&changes.changed).contains(&id));
    assert_eq!(still_the_same(&before).unwrap_err().reason, "ContainerGone");
}

#[test]
fn an_event_of_another_hierarchy_is_not_taken_for_ours() {
    let stage = Stage::new();
    let mut inventory = stage.inventory();
    let (id, path) = stage.make("/other");
    assert!(inventory.apply(&made(CgroupId(id.0 + 1), &path)).is_empty());
    assert!(inventory.apply(&made(id, "/podsweep-inventory-never-made")).is_empty());
    assert_eq!(inventory.loss(), super::super::InventoryLoss::default());
}
