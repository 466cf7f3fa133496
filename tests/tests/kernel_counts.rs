//! Each operation, on each filesystem, counts exactly what it must, in every tier that this kernel takes.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where something is not as it must be")]

use std::collections::BTreeMap;
use std::io;

use podsweep::inventory::CgroupId;
use podsweep::observe::{Counts, ObserveSettings, Observer, Tier};
use podsweep_tests::kernel_cgroup::TestCgroup;
use podsweep_tests::kernel_demands::{absent, filesystems, with_each_tier};
use podsweep_tests::kernel_filesystems::Filesystem;
use podsweep_tests::kernel_operations::{self, Operation};
use podsweep_tests::kernel_worker::{Answer, Request, Worker};

fn worker(name: &str) -> Worker {
    Worker::start(env!("CARGO_BIN_EXE_kernel-worker"), name).unwrap()
}

/// Does every operation, each by the request that `request` makes: `subject` must count what its row says, and
/// `bystander` nothing.
fn every_operation_counts_exactly(
    observer: &mut Observer,
    worker: &mut Worker,
    filesystem: Filesystem,
    request: impl Fn(&Operation) -> Request,
    (subject, bystander): (CgroupId, CgroupId),
) {
    let operations: Vec<_> =
        kernel_operations::all().filter(|operation| operation.applies_to(filesystem)).collect();
    for operation in &operations {
        let prepared = worker.ask(&Request::Prepare(operation.name.to_owned(), filesystem));
        assert_eq!(prepared.map_err(|error| format!("{}: {error}", operation.name)), Ok(Answer::Done));
    }
    let mut wrong = Vec::new();
    let mut before = observer.read().unwrap();
    for operation in operations {
        let answer = worker.ask(&request(operation));
        let after = observer.read().unwrap();
        let counted = [subject, bystander].map(|cgroup| since(&after, &before, cgroup));
        let expected = expected(operation, filesystem, observer.tier(), answer);
        if counted != [expected, Counts::default()] {
            wrong.push(format!("{}: expected {expected:?}, counted {counted:?}", operation.name));
        }
        before = after;
    }
    assert!(wrong.is_empty(), "{} tier on {filesystem:?}:\n{}", observer.tier(), wrong.join("\n"));
}

type Totals = BTreeMap<CgroupId, Counts>;

fn since(after: &Totals, before: &Totals, cgroup: CgroupId) -> Counts {
    let of = |totals: &Totals| totals.get(&cgroup).copied().unwrap_or_default();
    of(after).since(&of(before))
}

fn expected(operation: &Operation, on: Filesystem, tier: Tier, answer: io::Result<Answer>) -> Counts {
    match answer {
        Ok(Answer::Done) => operation.expected(tier),
        // What the kernel refuses must count nothing.
        Ok(Answer::Refused(why)) => {
            say_refused(operation, on, &why);
            Counts::default()
        }
        Err(error) => panic!("{} on {on:?}: {error}", operation.name),
    }
}

fn say_refused(operation: &Operation, filesystem: Filesystem, why: &str) {
    if operation.needs_io_uring() && why.contains("io_uring") {
        absent("io_uring", &format!("{}: {why}", operation.name)).unwrap();
    } else {
        eprintln!("{} on {filesystem:?}: not tried: {why}", operation.name);
    }
}

fn on(filesystem: Filesystem) {
    if !filesystems().unwrap().contains(&filesystem) {
        return;
    }
    with_each_tier(|mut observer| {
        let mut worker = worker(&format!("{filesystem:?}-{}", observer.tier()));
        let request = |operation: &Operation| Request::Run(operation.name.to_owned(), filesystem);
        let other = TestCgroup::new(&format!("idle-{filesystem:?}-{}", observer.tier())).unwrap();
        let cgroups = (worker.cgroup.id, other.id);
        every_operation_counts_exactly(&mut observer, &mut worker, filesystem, request, cgroups);
    })
    .unwrap();
}

#[test]
fn every_operation_counts_exactly_on_ext4() {
    on(Filesystem::Ext4);
}

#[test]
fn every_operation_counts_exactly_on_xfs() {
    on(Filesystem::Xfs);
}

#[test]
fn every_operation_counts_exactly_on_tmpfs() {
    on(Filesystem::Tmpfs);
}

#[test]
fn every_operation_counts_exactly_on_overlayfs() {
    on(Filesystem::Overlay);
}

#[test]
fn a_child_that_moves_to_another_cgroup_counts_there_and_not_for_its_parent() {
    let filesystem = Filesystem::Tmpfs;
    with_each_tier(|mut observer| {
        let mut worker = worker(&format!("parent-{}", observer.tier()));
        let other = TestCgroup::new(&format!("other-{}", observer.tier())).unwrap();
        let elsewhere =
            |operation: &Operation| Request::RunIn(other.path.clone(), operation.name.to_owned(), filesystem);
        let cgroups = (other.id, worker.cgroup.id);
        every_operation_counts_exactly(&mut observer, &mut worker, filesystem, elsewhere, cgroups);
    })
    .unwrap();
}

#[test]
fn the_best_tier_is_taken_and_what_each_cannot_see_is_said() {
    let mut tiers = Vec::new();
    with_each_tier(|observer| {
        tiers.push(observer.tier());
        let gaps = observer.gaps();
        let says = |word: &str| gaps.iter().any(|gap| gap.contains(word));
        let blind = observer.tier() == Tier::SysExit;
        assert!(gaps.iter().all(|gap| !gap.is_empty()));
        // What `Operation::expected` leaves out of a tier's counts.
        assert_eq!(says("operations through io_uring"), blind, "{gaps:?}");
        assert_eq!(says("socketcall"), blind, "{gaps:?}");
        assert_eq!(says("under other credentials"), !blind, "{gaps:?}");
        assert!(says("removed its target"), "{gaps:?}");
    })
    .unwrap();
    assert_eq!(Observer::start(&ObserveSettings::default()).unwrap().tier(), tiers[0]);
}
