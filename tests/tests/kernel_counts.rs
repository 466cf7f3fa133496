//! Each operation, on each filesystem, counts exactly what it must, in every tier that this kernel takes.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where something is not as it must be")]

use std::collections::BTreeMap;
use std::io;

use podsweep::inventory::CgroupId;
use podsweep::observe::{Counts, GapId, ObserveSettings, Observer, Tier};
use podsweep_tests::kernel_cgroup::TestCgroup;
use podsweep_tests::kernel_demands::{IO_URING, absent, filesystems, with_each_tier};
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
    if operation.needs_io_uring() && why.contains(IO_URING) {
        absent(IO_URING, &format!("{}: {why}", operation.name)).unwrap();
    } else {
        eprintln!("{} on {filesystem:?}: not tried: {why}", operation.name);
    }
}

// One test for all filesystems: in a guest, attaching a tier takes longer than trying every operation.
#[test]
fn every_operation_counts_exactly_on_every_filesystem() {
    let filesystems = filesystems().unwrap();
    with_each_tier(|mut observer| {
        for &filesystem in &filesystems {
            let mut worker = worker(&format!("{filesystem:?}-{}", observer.tier()));
            let idle = TestCgroup::new(&format!("idle-{filesystem:?}-{}", observer.tier())).unwrap();
            let request = |operation: &Operation| Request::Run(operation.name.to_owned(), filesystem);
            let cgroups = (worker.cgroup.id, idle.id);
            every_operation_counts_exactly(&mut observer, &mut worker, filesystem, request, cgroups);
        }
        blind_spots_are_said(&observer);
    })
    .unwrap();
}

/// Those that `Operation::expected` leaves out of a tier's counts.
fn blind_spots_are_said(observer: &Observer) {
    let gaps = observer.gaps();
    let says = |id: GapId| gaps.iter().any(|gap| gap.id == id);
    let blind = observer.tier() == Tier::SysExit;
    assert_eq!(says(GapId::IoUring), blind, "{gaps:?}");
    assert_eq!(says(GapId::Socketcall), blind, "{gaps:?}");
    assert_eq!(says(GapId::RenameOver), blind, "{gaps:?}");
    assert_eq!(says(GapId::RenameOverUnderOthers), !blind, "{gaps:?}");
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
fn the_best_tier_is_taken() {
    let settings = ObserveSettings::default();
    let taken = Observer::start(&settings).unwrap().tier();
    for better in Tier::ALL.into_iter().take_while(|tier| *tier != taken) {
        assert!(Observer::start_tier(better, &settings).is_err(), "{better} runs, {taken} was taken");
    }
}
