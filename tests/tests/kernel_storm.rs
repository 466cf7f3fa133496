//! A storm is counted to the last file, or short of it by no more than the agent itself tells. In a binary of its own:
//! while another test hangs its programs on the same functions, calls in flight lose theirs, and nothing tells.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

use podsweep::observe::{Counts, Observer, Tier};
use podsweep_tests::kernel_demands::{filesystems, storm_files, with_each_tier};
use podsweep_tests::kernel_filesystems::Filesystem;
use podsweep_tests::kernel_storm::Storm;
use podsweep_tests::kernel_worker::{Request, Worker};

/// What was counted of a storm.
struct Counted {
    counts: Counts,
    /// Operations that the observer says it may have missed meanwhile.
    bound: u64,
}

fn counted(observer: &mut Observer, worker: &mut Worker, filesystem: Filesystem, storm: Storm) -> Counted {
    // Before the storm: what mounting takes, and a counter slot.
    worker.ask(&Request::Fill(filesystem, "before".into(), 1)).unwrap();
    let (before, bound_before) = read(observer, worker);
    worker.ask(&Request::Storm(filesystem, storm)).unwrap();
    let (after, bound) = read(observer, worker);
    Counted { counts: after.since(&before), bound: bound - bound_before }
}

fn read(observer: &mut Observer, worker: &Worker) -> (Counts, u64) {
    let counts = observer.read().unwrap()[&worker.cgroup.id];
    let loss = observer.loss();
    (counts, loss.recursion_misses + loss.operations_not_counted)
}

#[test]
fn a_storm_of_threads_and_children_is_never_off_by_more_than_the_bound_told() {
    let filesystems = filesystems().unwrap();
    let storm = Storm::of(storm_files().unwrap());
    let made = storm.total();
    with_each_tier(|mut observer| {
        let tier = observer.tier();
        let mut worker =
            Worker::start(env!("CARGO_BIN_EXE_kernel-worker"), &format!("storm-{tier}")).unwrap();
        for &filesystem in &filesystems {
            let Counted { counts, bound } = counted(&mut observer, &mut worker, filesystem, storm);
            let (creates, removals) = (counts.creates(), counts.removals());
            let told = format!(
                "{tier} on {filesystem:?}: {creates} created and {removals} removed of {made}, may miss {bound}"
            );
            eprintln!("{told}");
            assert!(creates <= made && removals <= made, "{told}");
            // Together: a miss is one operation of either kind.
            assert!((made - creates) + (made - removals) <= bound, "{told}");
            if tier == Tier::Lsm {
                assert_eq!(creates, made, "{told}");
            }
        }
    })
    .unwrap();
}
