//! Each operation, on each filesystem, counts exactly what it must, in the tier that this kernel takes.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where something is not as it must be")]

use podsweep::observe::{Counts, GapId, ObserveSettings, Observer, Tier, trial};
use podsweep_tests::kernel_filesystems::Filesystem;
use podsweep_tests::kernel_operations::OPERATIONS;
use podsweep_tests::kernel_worker::{Request, Storm, Worker};

/// Every tier that this kernel accepts; there must be one.
fn tiers() -> Vec<Tier> {
    let tried = trial();
    let accepted: Vec<Tier> =
        tried.iter().filter(|(_, tried)| tried.is_ok()).map(|(tier, _)| *tier).collect();
    assert!(!accepted.is_empty(), "counting needs root and a kernel with BTF: {tried:?}");
    eprintln!("tiers: {tried:?}");
    accepted
}

fn observer(tier: Tier) -> Observer {
    Observer::start_tier(tier, &ObserveSettings::default()).unwrap()
}

fn worker(name: &str) -> Worker {
    Worker::start(env!("CARGO_BIN_EXE_kernel-worker"), name).unwrap()
}

fn totals(observer: &mut Observer, worker: &Worker) -> Counts {
    observer.read().unwrap().get(&worker.cgroup.id).copied().unwrap_or_default()
}

fn every_operation_counts_exactly_on(filesystem: Filesystem) {
    for tier in tiers() {
        let mut observer = observer(tier);
        let mut worker = worker(&format!("{filesystem:?}-{tier}"));
        let wrong: Vec<String> = OPERATIONS
            .iter()
            .enumerate()
            .filter(|(_, operation)| operation.applies_to(filesystem))
            .filter_map(|(index, operation)| {
                let (counted, expected) = measured(&mut observer, &mut worker, index, filesystem);
                (counted != expected)
                    .then(|| format!("{}: expected {expected:?}, counted {counted:?}", operation.name))
            })
            .collect();
        assert!(wrong.is_empty(), "{tier} tier on {filesystem:?}:\n{}", wrong.join("\n"));
    }
}

/// What one operation counted, and what it must have.
fn measured(
    observer: &mut Observer,
    worker: &mut Worker,
    index: usize,
    filesystem: Filesystem,
) -> (Counts, Counts) {
    let name = OPERATIONS[index].name;
    worker.ask(&Request::Prepare(index, filesystem)).unwrap();
    let before = totals(observer, worker);
    let done = worker.ask(&Request::Run(index, filesystem));
    let counted = totals(observer, worker).since(&before);
    match done {
        Ok(()) => (counted, OPERATIONS[index].expected(observer.tier())),
        // Overlayfs of 6.1 has no O_TMPFILE. What the kernel refuses must count nothing.
        Err(error) if error.to_string().contains("os error 95") => {
            eprintln!("{name} on {filesystem:?}: {error}");
            (counted, Counts::default())
        }
        Err(error) => panic!("{name} on {filesystem:?}: {error}"),
    }
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
    for tier in tiers() {
        let mut observer = observer(tier);
        let mut worker = worker(&format!("storm-{tier}"));
        for filesystem in Filesystem::ALL {
            let (before, missed) = (totals(&mut observer, &worker), observer.loss().recursion_misses);
            worker.ask(&Request::Storm(filesystem, storm)).unwrap();
            let counted = totals(&mut observer, &worker).since(&before);
            // On a preemptible kernel some may be skipped: then the kernel says how many at most.
            let missed = observer.loss().recursion_misses - missed;
            let made = storm.total() - if tier == Tier::Lsm { 0 } else { missed };
            let removed = storm.total() - missed;
            assert!((made..=storm.total()).contains(&counted.creates()), "{tier} {filesystem:?} {counted:?}");
            assert!(
                (removed..=storm.total()).contains(&counted.removals()),
                "{tier} {filesystem:?} {counted:?}"
            );
        }
    }
}

#[test]
fn the_best_tier_is_taken_and_what_it_cannot_see_is_said() {
    let observer = Observer::start(&ObserveSettings::default()).unwrap();
    assert_eq!(observer.tier(), tiers()[0]);
    let blind_to_io_uring = observer.gaps().iter().any(|gap| gap.id == GapId::IoUring);
    assert_eq!(blind_to_io_uring, observer.tier() == Tier::SysExit, "{:?}", observer.gaps());
}
