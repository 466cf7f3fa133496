//! A process with an overlayfs for a root, in a cgroup whose name says nothing.

use std::fs;

use super::super::{
    CgroupEvent, CgroupId, Inventory, Runtime, Target, containers_without_cgroup, still_the_same,
};
use super::stage::{Stage, ids, made, settle_until, wait_for_busybox, wait_until};

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
fn layers_are_found_whatever_their_names() {
    let mut stage = Stage::new();
    let (lower, second, upper) = (stage.path("low:1"), stage.path("low 2"), stage.path("up,3"));
    fs::rename(stage.path("lower"), &lower).unwrap();
    fs::rename(stage.path("upper"), &upper).unwrap();
    fs::create_dir(&second).unwrap();
    let mut inventory = stage.inventory();
    let (id, path) = stage.make("/odd");
    inventory.apply(&made(id, &path));

    let home = stage.path("").display().to_string();
    let options = format!("lowerdir={home}/low\\:1:{home}/low 2,upperdir={home}/up\\,3,workdir={home}/work");
    stage.start_with(&path, &options);
    settle_until(&mut inventory, |inventory| has_layer(inventory, id));
    let layer = inventory.get(id).unwrap().layer.clone().unwrap();
    assert_eq!((layer.upper, layer.lower), (upper, vec![lower, second]));
}

#[test]
fn a_container_stays_one_when_its_process_moves_into_a_nested_cgroup() {
    let mut stage = Stage::new();
    let mut inventory = stage.inventory();
    let (id, path) = stage.make("/systemd");
    inventory.apply(&made(id, &path));
    let pid = stage.start_in_overlay(&path);
    settle_until(&mut inventory, |inventory| has_layer(inventory, id));

    let (inner, inner_path) = stage.make("/systemd/init.scope");
    fs::write(stage.cgroups.directory(&inner_path).join("cgroup.procs"), pid.to_string()).unwrap();
    assert!(!ids(&inventory.rescan().removed).contains(&id));
    assert!(has_layer(&inventory, id));
    assert_eq!(inventory.resolve(inner).map(|container| container.cgroup), Some(id));
}

#[test]
fn a_service_on_the_hosts_root_is_a_unit_and_a_container_in_it_is_its_own() {
    let mut stage = Stage::new();
    let mut inventory = stage.inventory();
    let (unit, unit_path) = stage.make("/agent.service");
    let host = stage.start_on_host_root(&unit_path);
    inventory.apply(&made(unit, &unit_path));
    let found = inventory.get(unit).unwrap();
    assert_eq!(
        (found.runtime, found.id.as_str(), found.first.pid),
        (Runtime::Unit, unit_path.as_str(), host)
    );

    let (inner, inner_path) = stage.make("/agent.service/payload");
    assert_eq!(ids(&inventory.apply(&made(inner, &inner_path)).changed), [unit]);
    stage.start_in_overlay(&inner_path);
    settle_until(&mut inventory, |inventory| has_layer(inventory, inner));
    assert_eq!(inventory.get(inner).unwrap().runtime, Runtime::Other);
    assert!(inventory.get(unit).unwrap().nested.is_empty());
}

#[test]
fn a_container_whose_cgroup_is_left_empty_is_gone() {
    let mut stage = Stage::new();
    let mut inventory = stage.inventory();
    let (id, path) = stage.make("/empty");
    inventory.apply(&made(id, &path));
    let pid = stage.start_in_overlay(&path);
    settle_until(&mut inventory, |inventory| has_layer(inventory, id));
    stage.end(pid);
    let changes = settle_until(&mut inventory, |inventory| inventory.get(id).is_none());
    assert_eq!(ids(&changes.removed), [id]);
}

#[test]
fn a_rescan_finds_what_no_event_told_and_drops_what_went_untold() {
    let mut stage = Stage::new();
    let mut inventory = stage.inventory();
    let (id, path) = stage.make("/quiet");
    let pid = stage.start_in_overlay(&path);
    wait_until("a rescan finds the layer", || {
        inventory.rescan();
        has_layer(&inventory, id)
    });
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

    // One upper directory must not be mounted twice: the second process gets its own.
    for name in ["upper2", "work2"] {
        fs::create_dir(stage.path(name)).unwrap();
    }
    let home = stage.path("").display().to_string();
    let options = format!("lowerdir={home}/lower,upperdir={home}/upper2,workdir={home}/work2");
    let second = stage.start_with(&path, &options);
    wait_for_busybox(second);
    stage.end(first);
    let is_second = |inventory: &Inventory| {
        inventory.get(id).is_some_and(|container| container.first.pid == second && container.layer.is_some())
    };
    let changes = settle_until(&mut inventory, is_second);
    assert!(ids(&changes.changed).contains(&id));
    assert_eq!(still_the_same(&before).unwrap_err().reason, "ContainerGone");
}

#[test]
fn an_event_of_another_hierarchy_is_not_taken_for_ours() {
    let mut stage = Stage::new();
    let mut inventory = stage.inventory();
    let (id, path) = stage.make("/other.service");
    stage.start_on_host_root(&path);
    assert!(inventory.apply(&made(CgroupId(id.0 + 1), &path)).is_empty());
    assert!(inventory.apply(&made(id, "/podsweep-inventory-never-made")).is_empty());
    assert_eq!(ids(&inventory.apply(&made(id, &path)).added), [id]);
}

#[test]
fn before_the_runtime_has_changed_the_root_the_hosts_mounts_are_not_the_containers() {
    let mut stage = Stage::new();
    let mut inventory = stage.inventory();
    let (id, path) = stage.make(&format!("/docker/{}", "ab".repeat(32)));
    stage.start_on_host_root(&path);
    assert_eq!(ids(&inventory.apply(&made(id, &path)).added), [id]);
    let container = inventory.get(id).unwrap();
    assert_eq!(container.runtime, Runtime::Docker);
    assert!(container.layer.is_none() && container.volumes.is_empty() && container.other_mounts.is_empty());
}

#[test]
fn a_container_in_the_root_cgroup_is_not_seen_and_counted_for_doctor() {
    let mut stage = Stage::new();
    let mut inventory = stage.inventory();
    let pid = stage.start_in_overlay("/");
    wait_for_busybox(pid);
    inventory.rescan();
    assert!(inventory.find(&Target::Pid(pid)).is_err());
    assert!(containers_without_cgroup(&stage.cgroups) >= 1);
}
