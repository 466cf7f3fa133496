//! Each operation, on each filesystem, counts exactly what it must, in the tier that this kernel takes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends where something is not as it must be"
)]

use podsweep::observe::{Counts, ObserveSettings, Observer, Tier};
use podsweep_tests::kernel_filesystems::Filesystem;
use podsweep_tests::kernel_operations::OPERATIONS;
use podsweep_tests::kernel_worker::{Request, Storm, Worker};

fn observer() -> Observer {
    Observer::start(&ObserveSettings::default()).expect("counting needs root and a kernel with BTF")
}

fn worker(name: &str) -> Worker {
    Worker::start(env!("CARGO_BIN_EXE_kernel-worker"), name).unwrap()
}

fn totals(observer: &mut Observer, worker: &Worker) -> Counts {
    observer.read().unwrap().get(&worker.cgroup.id).copied().unwrap_or_default()
}

fn every_operation_counts_exactly_on(filesystem: Filesystem) {
    let mut observer = observer();
    let mut worker = worker(&format!("{filesystem:?}"));
    let mut wrong = Vec::new();
    for (index, operation) in OPERATIONS.iter().enumerate().filter(|(_, one)| one.applies_to(filesystem)) {
        let describe = |error| format!("{} on {filesystem:?}: {error}", operation.name);
        worker.ask(&Request::Prepare(index, filesystem)).map_err(describe).unwrap();
        let before = totals(&mut observer, &worker);
        worker.ask(&Request::Run(index, filesystem)).map_err(describe).unwrap();
        let counted = totals(&mut observer, &worker).since(&before);
        let expected = operation.expected(observer.tier());
        if counted != expected {
            wrong.push(format!("{}: expected {expected:?}, counted {counted:?}", operation.name));
        }
    }
    assert!(wrong.is_empty(), "{} tier on {filesystem:?}:\n{}", observer.tier(), wrong.join("\n"));
}

#[test]
fn every_operation_counts_exactly_on_ext4() {
    every_operation_counts_exactly_on(Filesystem::Ext4);
}

#[test]
fn every_operation_counts_exactly_on_tmpfs() {
    every_operation_counts_exactly_on(Filesystem::Tmpfs);
}

#[test]
fn every_operation_counts_exactly_on_overlayfs() {
    every_operation_counts_exactly_on(Filesystem::Overlay);
}

#[test]
fn threads_and_short_lived_children_at_once_lose_nothing() {
    let storm = Storm { threads: 4, children: 5, files: 500 };
    for filesystem in Filesystem::ALL {
        let mut observer = observer();
        let mut worker = worker(&format!("storm-{filesystem:?}"));
        let before = totals(&mut observer, &worker);
        worker.ask(&Request::Storm(filesystem, storm)).unwrap();
        let counted = totals(&mut observer, &worker).since(&before);
        let missed = observer.loss().recursion_misses;
        let (made, removed) = (counted.creates(), counted.removals());
        // The kernel's own bound: on a preemptible kernel it may have skipped some, and says how many.
        let bound = if observer.tier() == Tier::Lsm { 0 } else { missed };
        assert!(made <= storm.total() && made + bound >= storm.total(), "{made} of {} made", storm.total());
        assert!(removed <= storm.total() && removed + missed >= storm.total(), "{removed} removed");
    }
}

#[test]
fn what_a_tier_cannot_see_is_said() {
    let observer = observer();
    assert!(observer.gaps().iter().all(|gap| !gap.is_empty()));
    if observer.tier() == Tier::SysExit {
        assert!(observer.gaps().iter().any(|gap| gap.contains("io_uring")), "{:?}", observer.gaps());
    }
}
