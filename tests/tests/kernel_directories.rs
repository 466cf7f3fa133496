//! The directories of a burst are named as the container sees them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends where something is not as it must be"
)]

use std::path::PathBuf;

use podsweep::observe::{ObserveSettings, Observer, TopDirectory};
use podsweep_tests::kernel_demands::filesystems;
use podsweep_tests::kernel_filesystems::Filesystem;
use podsweep_tests::kernel_worker::{Request, Worker};

fn started(name: &str, filesystem: Filesystem, settings: ObserveSettings) -> (Observer, Worker) {
    // The worker first: what it makes to set itself up is not to be seen.
    let worker = worker_on(name, filesystem);
    (Observer::start(&settings).expect("counting needs root and a kernel with BTF"), worker)
}

fn worker_on(name: &str, filesystem: Filesystem) -> Worker {
    let mut worker = Worker::start(env!("CARGO_BIN_EXE_kernel-worker"), name).unwrap();
    worker.ask(&Request::Mount(filesystem)).unwrap();
    worker
}

fn fill(worker: &mut Worker, filesystem: Filesystem, folder: &str, files: u32) {
    worker.ask(&Request::Fill(filesystem, PathBuf::from(folder), files)).unwrap();
}

#[test]
fn the_busiest_directories_come_first() {
    for filesystem in filesystems().unwrap() {
        let (mut observer, mut worker) =
            started(&format!("top-{filesystem:?}"), filesystem, ObserveSettings::default());
        fill(&mut worker, filesystem, "app/cache", 30);
        fill(&mut worker, filesystem, "tmp", 20);
        fill(&mut worker, filesystem, "quiet", 1);
        let top = observer.top_directories(&[worker.cgroup.id], 2);
        let expected = [("/app/cache", 30), ("/tmp", 20)]
            .map(|(path, creates)| TopDirectory { path: PathBuf::from(path), creates });
        assert_eq!(top, expected, "{filesystem:?}");
    }
}

#[test]
fn other_cgroups_directories_are_not_shown() {
    let (mut observer, mut worker) = started("shown", Filesystem::Tmpfs, ObserveSettings::default());
    let mut other = worker_on("hidden", Filesystem::Tmpfs);
    fill(&mut worker, Filesystem::Tmpfs, "mine", 3);
    fill(&mut other, Filesystem::Tmpfs, "other", 9);
    let top = observer.top_directories(&[worker.cgroup.id], 10);
    assert_eq!(top, [TopDirectory { path: PathBuf::from("/mine"), creates: 3 }]);
}

#[test]
fn a_directory_deeper_than_told_says_so() {
    let (mut observer, mut worker) = started("deep", Filesystem::Tmpfs, ObserveSettings::default());
    fill(&mut worker, Filesystem::Tmpfs, "1/2/3/4/5/6/7/8/9/10/11/12/13/14", 1);
    let top = observer.top_directories(&[worker.cgroup.id], 1);
    assert_eq!(top[0].path, PathBuf::from("…/3/4/5/6/7/8/9/10/11/12/13/14"));
}

#[test]
fn a_storm_over_new_directories_is_bounded_and_the_rest_counted_as_lost() {
    let (mut observer, mut worker) = started("many", Filesystem::Tmpfs, ObserveSettings::default());
    // More than the 264 that the ring buffer takes between two reads.
    for number in 0..400 {
        fill(&mut worker, Filesystem::Tmpfs, &format!("many/{number}"), 1);
    }
    let named = observer.top_directories(&[worker.cgroup.id], 1000).len();
    assert!((100..400).contains(&named), "{named} named");
    assert!(observer.loss().directories_not_named >= 400 - named as u64);
    // By cgroup, all are counted.
    assert_eq!(observer.read().unwrap()[&worker.cgroup.id].get(podsweep::observe::Kind::Create), 400);
    // And there is room again.
    fill(&mut worker, Filesystem::Tmpfs, "later", 500);
    assert_eq!(observer.top_directories(&[worker.cgroup.id], 1)[0].path, PathBuf::from("/later"));
}

#[test]
fn directories_can_be_left_out() {
    let settings = ObserveSettings { with_directories: false, ..ObserveSettings::default() };
    let (mut observer, mut worker) = started("without", Filesystem::Tmpfs, settings);
    fill(&mut worker, Filesystem::Tmpfs, "tmp", 5);
    assert_eq!(observer.top_directories(&[worker.cgroup.id], 10), []);
    assert_eq!(observer.loss().directories_not_named, 0);
}
